"""Which tensors of a swapped model stand for which of the old one, and which layers a closed form
can fit to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from support.graphs import Sketch

from keras_downswap import swap_downsampling
from keras_downswap.calibration.closed_form.im2col import (
    extract_patches,
    move_channels_last,
    values_at,
)
from keras_downswap.calibration.closed_form.normal_equations import grouped_product
from keras_downswap.calibration.distillation.terms import distillation_terms
from keras_downswap.calibration.execution.interpreter import Interpreter
from keras_downswap.calibration.pairing.pairs import TensorRef, pair_tensors
from keras_downswap.calibration.pairing.targets import (
    KernelTarget,
    affected_calls,
    find_kernel_targets,
    run_order,
)
from keras_downswap.calibration.pairing.trainable import TrainableSet
from keras_downswap.dialects import read_model
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Graph

pytestmark = pytest.mark.filterwarnings("ignore::keras_downswap.NothingSwapped")
SIZE = (12, 12, 3)


@dataclass
class Both:
    """A model and what a swap made of it."""

    old: Reading
    new: Reading

    @cached_property
    def pairs(self) -> Any:
        return pair_tensors(self.old.graph, self.new.graph)

    def met(self) -> Both:
        """The same, without the pairs that come out in different shapes."""
        movable = TrainableSet.of(self.old, self.new, True, self.drawn)
        both = Both(self.old, self.new)
        both.pairs = movable.pairs
        return both

    @property
    def named(self) -> dict[str, str]:
        """Whose output of the new model stands for whose of the old one, by the names of layers,
        inputs left out.
        """
        names = {
            name_of(self.new.graph, a): name_of(self.old.graph, b)
            for a, b in self.pairs.tensors.items()
        }
        return {one: other for one, other in names.items() if "image" not in one}

    @property
    def sites(self) -> list[str]:
        return list(self.pairs.sites.values())

    @property
    def targets(self) -> dict[str, KernelTarget]:
        found, _ = find_kernel_targets(self.new.graph, self.pairs)
        names = [target.name for target in found]
        assert len(set(names)) == len(names)
        places = [target.call_ref for target in found]
        assert places == [
            call.ref for call in affected_calls(self.new.graph, self.pairs) if call.ref in places
        ]
        return dict(zip(names, found, strict=True))

    @property
    def reasons(self) -> dict[str, str]:
        return find_kernel_targets(self.new.graph, self.pairs)[1]

    @property
    def goals(self) -> dict[str, tuple[list[str], str, str]]:
        """For each target what stands between, what is compared, and to what."""
        return {
            name: (
                [c.name for c in t.following],
                name_of(self.new.graph, t.end),
                name_of(self.old.graph, t.goal),
            )
            for name, t in self.targets.items()
        }

    @cached_property
    def drawn(self) -> list[Any]:
        rng = np.random.default_rng(0)
        shapes = [self.old.graph.tensors[t].shape[1:] for t in self.old.graph.inputs]
        sizes = [(2, *(n or 12 for n in shape)) for shape in shapes]
        return [
            self.old.dialect.to_tensor(rng.normal(size=size).astype(np.float32)) for size in sizes
        ]

    @cached_property
    def values(self) -> dict[TensorRef, tuple[Any, Any]]:
        """The values of each pair on the same random inputs, the old one's first."""
        pairs = self.pairs.tensors
        runs = [
            Interpreter(reading, keep=set(places)).run(self.drawn)
            for reading, places in ((self.old, pairs.values()), (self.new, pairs))
        ]
        assert [len(run) for run in runs] == [len(set(pairs.values())), len(pairs)]
        result = self.old.dialect.to_array
        return {
            mine: (result(runs[0][other]), result(runs[1][mine])) for mine, other in pairs.items()
        }

    def assert_shapes_agree(self) -> None:
        assert self.values
        for mine, (old, new) in self.values.items():
            assert new.shape == old.shape, name_of(self.new.graph, mine)

    def assert_values_agree(self) -> None:
        self.assert_shapes_agree()
        for mine, (old, new) in self.values.items():
            assert np.abs(old - new).max() < 1e-4 * max(1, np.abs(old).max()), name_of(
                self.new.graph, mine
            )

    def assert_targets_make_what_the_model_makes(self) -> None:
        """Sums of a target, and what other branches bring, give what stands at its end, at every
        position.
        """
        targets = self.targets.values()
        keep = {place for t in targets for place in (t.end, *t.side_tensors)}
        kept: dict[TensorRef, Any] = {}
        run = Interpreter(self.new, keep, {t.call_ref for t in targets}).start(self.drawn, kept)
        inputs = dict(run)
        assert targets
        for target in targets:
            kernel, last = target.live_kernel(self.new), target.call.channels_last
            result = self.new.dialect.to_array
            taken, end = (
                move_channels_last(result(v), last)
                for v in (inputs[target.call_ref], kept[target.end])
            )
            lengths = end.shape[1:-1]
            cells = np.array(list(np.ndindex(*lengths)), int).reshape(-1, len(lengths))
            positions = np.broadcast_to(cells, (len(end), *cells.shape))
            windows = target.call.windows or (Window(1),) * len(lengths)
            sums = (
                grouped_product(
                    kernel.design_matrix(extract_patches(taken, windows, positions)),
                    kernel.weights(),
                )
                + kernel.offset()
            )
            others = [
                values_at(move_channels_last(result(kept[place]), last), positions)
                for place in target.side_tensors
            ]
            made = kernel.apply_activation(sums.astype(np.float32), *others)
            np.testing.assert_allclose(
                made, kernel.own_channels(values_at(end, positions)), atol=1e-4, err_msg=target.name
            )


def name_of(graph: Graph, place: TensorRef) -> str:
    """Return the name of the layer that makes a tensor, as `outer/inner`."""
    path, tensor = place
    prefix = ""
    for index in path:
        prefix += f"{graph.calls[index].name}/"
        inner = graph.calls[index].nested_graph
        assert inner is not None
        graph = inner
    return prefix + graph.calls[graph.tensors[tensor].producer].path


def swapped(model: Any, to: str = "strided_conv", method: Any = "auto", rule: str = "") -> Both:
    """Return a model beside its swap, for which the rule that is named is taken."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights(
                [rng.uniform(0.5, 1.5, tuple(w.shape)).astype(np.float32) for w in layer.weights]
            )
    new, report = swap_downsampling(model, to=to, method=method, return_report=True)
    taken = {str(site.rule) for site in report.sites if site.status == "swapped"}
    assert taken == ({rule} if rule else set()), str(report)
    return Both(read_model(model), read_model(new))


def image(K: Any, name: str = "image", size: Sequence[int | None] = SIZE) -> Any:
    return K.Input(size, name=name)


def block(L: Any, x: Any, number: int | str = "", **conv: Any) -> Any:
    """Convolution, BatchNormalization, ReLU."""
    x = L.Conv2D(4, 3, padding="same", name=f"conv{number}", **conv)(x)
    return L.ReLU(name=f"relu{number}")(L.BatchNormalization(name=f"bn{number}")(x))


# A pool goes


def test_a_pool_after_a_block_stands_for_the_end_of_the_block(K: Any) -> None:
    L, x = K.layers, image(K)
    model = K.Model(x, L.Conv2D(2, 1, name="head")(L.MaxPooling2D(2, name="pool")(block(L, x))))
    both = swapped(model, rule="pool_into_stride")
    assert both.named == {"relu": "pool", "head": "head"}
    assert both.sites == ["conv"]
    assert both.goals == {"conv": (["bn", "relu"], "relu", "pool"), "head": ([], "head", "head")}
    assert [t.site for t in both.targets.values()] == [True, False]
    assert both.reasons == {}
    both.assert_shapes_agree()


def test_it_does_where_sizes_are_unknown(K: Any) -> None:
    """Whether an added padding changes a length is seen where it runs."""
    L, x = K.layers, image(K, size=(None, None, 3))
    both = swapped(
        K.Model(x, L.MaxPooling2D(2, name="pool")(block(L, x))), rule="pool_into_stride"
    ).met()
    assert both.named == {"relu": "pool"}
    both.assert_shapes_agree()


def test_two_sites_in_a_row(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.MaxPooling2D(2, name="pool1")(block(L, x, 1))
    y = L.MaxPooling2D(2, name="pool2")(block(L, y, 2))
    both = swapped(
        K.Model(x, L.Dense(3, name="dense")(L.Flatten(name="flat")(y))), rule="pool_into_stride"
    )
    assert both.named == {"relu1": "pool1", "relu2": "pool2", "flat": "flat", "dense": "dense"}
    assert both.sites == ["conv1", "conv2"]
    assert {name: goal for name, (_, _, goal) in both.goals.items()} == {
        "conv1": "pool1", "conv2": "pool2", "dense": "dense",
    }  # fmt: skip
    assert [t.rank for t in both.targets.values()] == [2, 2, 0]
    both.assert_shapes_agree()


@pytest.mark.parametrize("method", ["copy", "auto"])
def test_a_pool_before_a_convolution(K: Any, method: str) -> None:
    L, x = K.layers, image(K)
    y = L.ReLU(name="relu")(L.Conv2D(4, 3, name="conv")(L.MaxPooling2D(2, name="pool")(x)))
    both = swapped(K.Model(x, y), method=method, rule="pool_into_next_stride")
    assert both.named == {"conv": "conv", "relu": "relu"}
    assert both.sites == ["conv"]
    assert both.goals == {"conv": (["relu"], "relu", "relu")}
    both.assert_shapes_agree()


@pytest.mark.parametrize("method", ["copy", "auto"])
def test_between_two_convolutions_the_pool_belongs_to_the_one_that_took_it(
    K: Any, method: str
) -> None:
    L, x = K.layers, image(K)
    y = L.MaxPooling2D(2, name="pool")(L.Conv2D(4, 3, name="one")(x))
    both = swapped(
        K.Model(x, L.Conv2D(4, 3, name="two")(y)), method=method, rule="pool_into_stride"
    )
    assert both.named == {"one": "pool", "two": "two"}
    assert both.sites == ["one"]
    both.assert_shapes_agree()


def test_what_comes_before_a_pool_whose_next_convolution_took_it_stays_paired(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.Conv2D(4, 3, strides=2, padding="same", name="one")(x)
    side = L.Flatten(name="side")(y)
    y = L.Conv2D(4, 3, padding="same", name="two")(
        L.ReLU(name="relu")(L.MaxPooling2D(2, name="pool")(y))
    )
    both = swapped(K.Model(x, [y, side]), rule="pool_into_next_stride")
    assert both.named == {"one": "one", "side": "side", "two": "two"}
    assert both.sites == ["two"]
    both.assert_shapes_agree()
    by_name = {name_of(both.new.graph, mine): pair for mine, pair in both.values.items()}
    for name in ("one", "side"):
        np.testing.assert_array_equal(*by_name[name])


@pytest.mark.parametrize("method", ["copy", "auto"])
def test_a_pool_of_stride_one_that_goes(K: Any, method: str) -> None:
    L, x = K.layers, image(K)
    y = L.MaxPooling2D(3, 1, padding="same", name="pool")(block(L, x))
    both = swapped(
        K.Model(x, L.Conv2D(2, 1, name="head")(y)), method=method, rule="pool_into_stride"
    )
    assert both.named == {"relu": "pool", "head": "head"}
    assert both.sites == ["conv"]
    assert both.goals["conv"] == (["bn", "relu"], "relu", "pool")
    both.assert_shapes_agree()


def test_after_two_convolutions_the_join_stands_for_the_pool(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.Concatenate(name="join")([block(L, x, 1), L.Conv2D(2, 1, name="conv2")(x)])
    both = swapped(
        K.Model(x, L.ReLU(name="end")(L.MaxPooling2D(2, name="pool")(y))), rule="pool_into_stride"
    )
    assert both.named == {"join": "pool", "end": "end"}
    assert both.sites == ["conv1", "conv2"]
    assert both.goals == {
        "conv1": (["bn1", "relu1", "join", "end"], "end", "end"),
        "conv2": (["join", "end"], "end", "end"),
    }
    assert both.reasons == {}
    both.assert_shapes_agree()
    both.assert_targets_make_what_the_model_makes()


def test_after_a_shortcut_only_the_two_ends_are_apart(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.Conv2D(4, 3, padding="same", name="conv2")(block(L, x, 1))
    y = L.Add(name="add")([y, L.Conv2D(4, 1, name="short")(x)])
    both = swapped(K.Model(x, L.MaxPooling2D(2, name="pool")(y)), rule="pool_into_stride")
    assert both.named == {"conv1": "conv1", "bn1": "bn1", "relu1": "relu1", "add": "pool"}
    assert both.sites == ["conv2", "short"]
    assert both.goals == {"short": (["add"], "add", "pool")}, (
        "what runs last takes up what the other gets wrong"
    )
    assert both.reasons == {
        "conv2": "Conv2D 'conv2' meets branches in Add 'add' that run later, "
        "and these take up what it gets wrong"
    }
    both.assert_shapes_agree()
    both.assert_targets_make_what_the_model_makes()


# A pool comes


@pytest.mark.parametrize("to", ["max_pool", "average_pool"])
def test_an_added_pool_stands_for_the_end_of_the_block(K: Any, to: str) -> None:
    L, x = K.layers, image(K)
    model = K.Model(x, L.Conv2D(2, 1, name="head")(block(L, x, strides=2)))
    both = swapped(model, to, rule="stride_into_pool")
    assert both.named == {"conv_pool": "relu", "head": "head"}
    assert both.sites == ["conv"]
    assert list(both.targets) == ["head"]
    assert list(both.reasons) == ["conv"]
    both.assert_shapes_agree()


def test_an_added_pool_right_after_stands_for_the_strided_convolution(K: Any) -> None:
    L, x = K.layers, image(K)
    model = K.Model(
        x, L.Conv2D(2, 1, name="head")(L.Conv2D(4, 3, strides=2, padding="same", name="conv")(x))
    )
    for to, rule in (("max_pool", "stride_into_pool"), ("average_pool", "stride_into_pool")):
        both = swapped(model, to, rule=rule)
        assert both.named == {"conv_pool": "conv", "head": "head"}
        both.assert_shapes_agree()


def test_what_subsamples_makes_the_same_values(K: Any) -> None:
    L, x = K.layers, image(K)
    model = K.Model(x, L.Conv2D(2, 1, name="head")(block(L, x, strides=2)))
    both = swapped(model, "subsample", rule="stride_into_subsample")
    assert both.named == {"conv_pool": "conv", "bn": "bn", "relu": "relu", "head": "head"}
    assert both.sites == ["conv"]
    both.assert_values_agree()


# Exact swaps


def test_a_composed_kernel_makes_the_same_values(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.BatchNormalization(name="bn")(L.Conv2D(4, 3, name="conv")(x))
    model = K.Model(x, L.Conv2D(2, 1, name="head")(L.AveragePooling2D(2, name="pool")(y)))
    both = swapped(model, rule="average_pool_into_kernel")
    assert both.named == {"bn": "pool", "head": "head"}
    assert both.sites == ["conv"]
    assert both.goals["conv"] == (["bn"], "bn", "pool")
    both.assert_values_agree()


def test_a_composed_kernel_after_a_pool_makes_the_same_values(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.Conv2D(4, 3, name="conv")(L.AveragePooling2D(2, name="pool")(x))
    both = swapped(K.Model(x, L.ReLU(name="relu")(y)), rule="average_pool_into_next_kernel")
    assert both.named == {"conv": "conv", "relu": "relu"}
    both.assert_values_agree()


def test_a_model_of_many_kinds_of_exact_swaps_makes_the_same_values(K: Any) -> None:
    L, x = K.layers, image(K, size=(24, 24, 3))
    y = L.AveragePooling2D(2, name="pool1")(L.Conv2D(4, 3, padding="same", name="conv1")(x))
    y = L.MaxPooling2D(1, 2, name="pool2")(block(L, L.Activation("tanh", name="tanh")(y), 2))
    y = L.Conv2D(4, 3, name="conv3")(
        L.AveragePooling2D(2, name="pool3")(L.Activation("elu", name="elu")(y))
    )
    model = K.Model(x, L.Dense(2, name="dense")(L.GlobalAveragePooling2D(name="gap")(y)))
    new, report = swap_downsampling(model, method="exact", return_report=True)
    assert sum(site.status == "swapped" for site in report.sites) == 3
    both = Both(read_model(model), read_model(new))
    assert both.named == {"conv1": "pool1", "relu2": "pool2"} | {
        name: name for name in ("tanh", "elu", "conv3", "gap", "dense")
    }
    both.assert_values_agree()


# Models in models


def nested(K: Any, *size: int | None) -> Any:
    L, x = K.layers, K.Input(size or SIZE, name="inner_image")
    return K.Model(x, L.MaxPooling2D(2, name="pool")(block(L, x)), name="inner")


@pytest.mark.parametrize("size", [(), (None, None, 3)])
def test_a_site_in_a_nested_model(K: Any, size: tuple[int | None, ...]) -> None:
    L, x = K.layers, image(K)
    both = swapped(
        K.Model(x, L.Conv2D(2, 1, name="head")(nested(K, *size)(x))), rule="pool_into_stride"
    ).met()
    assert both.named == {"inner": "inner", "head": "head", "inner/relu": "inner/pool"}
    assert "inner/inner_image" in {name_of(both.new.graph, place) for place in both.pairs.tensors}
    assert both.sites == ["inner/conv"]
    assert both.goals == {
        "inner/conv": (["bn", "relu"], "inner/relu", "inner/pool"),
        "head": ([], "head", "head"),
    }
    assert [call.name for call in affected_calls(both.new.graph, both.pairs)] == [
        "inner/conv", "inner/bn", "inner/relu", "head",
    ]  # fmt: skip
    both.assert_shapes_agree()


def test_a_site_two_models_deep(K: Any) -> None:
    L, x, middle = K.layers, image(K), K.Input(SIZE, name="middle_image")
    outer = K.Model(middle, L.ReLU(name="end")(nested(K)(middle)), name="outer")
    both = swapped(K.Model(x, outer(x)), rule="pool_into_stride")
    assert both.sites == ["outer/inner/conv"]
    assert both.named["outer/inner/relu"] == "outer/inner/pool"
    assert list(both.targets) == ["outer/inner/conv"]
    both.assert_shapes_agree()


def test_each_call_of_a_nested_model_has_pairs_of_its_own(K: Any) -> None:
    L, x, y = K.layers, image(K), image(K, "image2")
    inner = nested(K)
    both = swapped(
        K.Model([x, y], L.Add(name="add")([inner(x), inner(y)])), rule="pool_into_stride"
    )
    deep = [(mine[0], other[0]) for mine, other in both.pairs.tensors.items() if mine[0]]
    assert len(deep) == 4
    assert len(set(deep)) == 2
    both.assert_shapes_agree()


# Nothing else


def test_a_model_and_itself_have_every_tensor_and_no_site(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.MaxPooling2D(2, name="pool2")(block(L, nested(K)(x), 2, strides=2))
    model = K.Model(x, [L.Flatten(name="flat")(y), L.GlobalMaxPooling2D(name="gap")(y)])
    reading = read_model(model)
    both = Both(reading, reading)
    assert both.sites == []
    assert all(mine == other for mine, other in both.pairs.tensors.items())
    inside = reading.graph.calls[1]
    assert inside.nested_graph is not None
    everything = {((), t) for t in range(len(reading.graph.tensors))}
    everything |= {((inside.index,), t) for t in range(len(inside.nested_graph.tensors))}
    assert both.pairs.tensors.keys() == everything
    assert (both.targets, both.reasons, affected_calls(reading.graph, both.pairs)) == ({}, {}, [])


def test_a_swap_that_swaps_nothing_likewise(K: Any) -> None:
    L, x = K.layers, image(K)
    both = swapped(K.Model(x, L.Flatten(name="flat")(block(L, x))))
    assert both.sites == []
    assert len(both.pairs.tensors) == len(both.new.graph.tensors)
    both.assert_values_agree()


def test_a_pool_that_became_another_is_the_site(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.MaxPooling2D(2, name="pool")(block(L, x))
    both = swapped(
        K.Model(x, L.Conv2D(2, 1, name="head")(y)), "average_pool", rule="pool_into_pool"
    )
    assert both.named == {name: name for name in ("conv", "bn", "relu", "pool", "head")}
    assert both.sites == ["pool"]
    assert both.goals == {"head": ([], "head", "head")}
    assert both.reasons == {}
    both.assert_shapes_agree()


def test_what_stands_before_the_first_site_is_no_target(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.MaxPooling2D(2, name="pool")(block(L, L.Conv2D(3, 3, name="first")(x)))
    y = L.Add(name="add")([L.Conv2D(4, 1, name="behind")(y), L.Conv2D(4, 3, 2, name="beside")(x)])
    both = swapped(K.Model(x, y), rule="pool_into_stride")
    assert list(both.targets) == ["conv", "behind"]
    by_name = {name_of(both.new.graph, mine): pair for mine, pair in both.values.items()}
    for name in ("first", "beside"):
        np.testing.assert_array_equal(*by_name[name])


def test_a_fit_is_compared_at_the_last_tensor_that_has_its_like(K: Any) -> None:
    """Behind a layer that is no site everything elementwise counts, up to where something else
    takes it.
    """
    L, x = K.layers, image(K)
    y = L.MaxPooling2D(2, name="pool")(block(L, x))
    y = block(L, y, 2)
    both = swapped(
        K.Model(x, L.Add(name="add")([y, L.Activation("tanh", name="tanh")(y)])),
        rule="pool_into_stride",
    )
    assert both.goals["conv2"] == (["bn2", "relu2"], "relu2", "relu2")


# Layers that no closed form fits


def test_a_layer_with_several_calls_is_no_target_and_is_reported(K: Any) -> None:
    L, x, y = K.layers, image(K), image(K, "image2")
    conv = L.Conv2D(4, 3, padding="same", name="conv")
    ends = [L.MaxPooling2D(2, name=name)(conv(z)) for name, z in (("one", x), ("two", y))]
    both = swapped(K.Model([x, y], L.Add(name="add")(ends)), rule="pool_into_stride")
    names = [
        (name_of(both.new.graph, a), name_of(both.old.graph, b))
        for a, b in both.pairs.tensors.items()
    ]
    assert {pair for pair in names if pair[0] == "conv"} == {("conv", "one"), ("conv", "two")}
    assert both.sites == ["conv", "conv"]
    assert both.targets == {}
    assert list(both.reasons) == ["conv"]
    assert "called in 2 places" in both.reasons["conv"]
    both.assert_shapes_agree()


def test_a_dense_layer_with_several_calls_is_no_target_either(K: Any) -> None:
    L, x = K.layers, image(K)
    y, dense = L.MaxPooling2D(2, name="pool")(block(L, x)), L.Dense(4, name="dense")
    both = swapped(
        K.Model(x, L.Add(name="add")([dense(y), dense(dense(y))])), rule="pool_into_stride"
    )
    assert list(both.targets) == ["conv"]
    assert both.reasons == {}


def test_a_dropout_before_a_pool_is_walked_through(K: Any) -> None:
    L, x = K.layers, image(K)
    y = L.Dropout(0.5, name="dropout")(L.ReLU(name="relu")(L.Conv2D(4, 3, name="conv")(x)))
    both = swapped(
        K.Model(x, L.Dense(2, name="last")(L.MaxPooling2D(2, name="pool")(y))),
        rule="pool_into_stride",
    )
    assert list(both.targets) == ["conv", "last"]
    assert both.reasons == {}


def in_time(K: Any, size: tuple[int, ...] = SIZE, **facts: Any) -> Any:
    L, video = K.layers, K.Input((3, *size), name="image")
    y = L.TimeDistributed(L.Conv2D(4, 3, name="conv", **facts), name="each")(video)
    y = L.TimeDistributed(L.MaxPooling2D(2, name="pool", **facts), name="pools")(y)
    y = L.TimeDistributed(L.Dense(2, name="inside"), name="dense")(
        L.TimeDistributed(L.Flatten(), name="flat")(y)
    )
    return swapped(K.Model(video, L.Dense(2, name="last")(y)), rule="pool_into_stride")


def test_a_convolution_inside_time_distributed_is_a_target(K: Any) -> None:
    both = in_time(K)
    assert both.named["each/conv"] == "pools/pool"
    assert both.sites == ["each/conv"]
    assert list(both.targets) == ["each/conv", "last"]
    assert both.reasons == {}
    both.assert_shapes_agree()


def test_a_convolution_inside_time_distributed_with_its_channels_first_is_none_and_is_reported(
    K: Any,
) -> None:
    both = in_time(K, (2, 12, 12), data_format="channels_first")
    assert both.sites == ["each/conv"]
    assert list(both.targets) == ["last"]
    assert "inside a TimeDistributed layer with its channels first" in both.reasons["each/conv"]


# By hand


def drawing(stride: int, pool: bool, **pool_facts: Any) -> Graph:
    sketch = Sketch()
    x = sketch.relu(sketch.conv(sketch.input(8, 8), 3, stride, "same", name="conv"), name="relu")
    if pool:
        x = sketch.pool(x, 2, **pool_facts)
    sketch.conv(x, 1, name="head")
    return sketch.graph()


def test_pairs_need_no_framework() -> None:
    old, new = drawing(1, True), drawing(2, False)
    pairs = pair_tensors(old, new)
    assert {name_of(new, a): name_of(old, b) for a, b in pairs.tensors.items()} == {
        "input": "input", "relu": "pool", "head": "head",
    }  # fmt: skip
    assert list(pairs.sites.values()) == ["conv"]
    back = pair_tensors(new, old)
    assert {name_of(old, a): name_of(new, b) for a, b in back.tensors.items()} == {
        "input": "input", "pool": "relu", "head": "head",
    }  # fmt: skip


def test_tensors_of_different_shapes_are_not_paired() -> None:
    old, new = drawing(1, True), drawing(4, False)
    pairs = pair_tensors(old, new)
    assert {name_of(new, a) for a in pairs.tensors} == {"input"}


def test_a_call_of_its_own_kind_is_no_target_and_is_reported() -> None:
    def graph(stride: int) -> Graph:
        sketch = Sketch()
        x = sketch.conv(sketch.input(8, 8), 3, stride, "same", name="one", frozen_training=True)
        if stride == 1:
            x = sketch.pool(x, 2)
        sketch.conv(x, name="two", frozen_training=True)
        return sketch.graph()

    new = graph(2)
    found, reasons = find_kernel_targets(new, pair_tensors(graph(1), new))
    assert found == []
    assert list(reasons) == ["one"]
    assert "in a way of its own" in reasons["one"]


def test_a_layer_after_whose_weight_another_holds_too_is_no_target() -> None:
    def graph(stride: int) -> Graph:
        sketch = Sketch()
        x = sketch.conv(sketch.input(8, 8), 3, stride, "same", name="one")
        x = sketch.pool(x, 2) if stride == 1 else x
        x = sketch.conv(x, name="two", obstacle="holds a weight that another layer holds too")
        sketch.conv(x, name="three")
        return sketch.graph()

    new = graph(2)
    found, _ = find_kernel_targets(new, pair_tensors(graph(1), new))
    assert [target.name for target in found] == ["one", "three"]


def test_a_model_called_twice_has_no_layer_to_itself(K: Any) -> None:
    L = K.layers
    i = K.Input((12, 12, 3))
    inner = K.Model(
        i,
        L.MaxPooling2D(2)(L.BatchNormalization(name="bn")(L.Conv2D(4, 3, name="conv")(i))),
        name="inner",
    )
    a, b = K.Input((12, 12, 3)), K.Input((12, 12, 3))
    old = K.Model([a, b], L.Concatenate()([inner(a), inner(b)]))
    new = swap_downsampling(old)
    graphs = [read_model(model).graph for model in (old, new)]
    found, reasons = find_kernel_targets(graphs[1], pair_tensors(*graphs))
    assert found == []
    assert "called in 2 places" in reasons["inner/conv"]


def test_a_pool_whose_input_others_read_too_is_not_taken_for_the_work_of_the_convolution_before(
    K: Any,
) -> None:
    """In a U-Net each convolution takes over the pool in front of it, and makes what it made."""
    L, i = K.layers, image(K)
    x = first = L.Conv2D(4, 3, padding="same", name="conv0")(i)
    x = second = L.Conv2D(4, 3, padding="same", name="conv1")(L.MaxPooling2D(2, name="pool0")(x))
    x = L.Conv2D(4, 3, padding="same", name="conv2")(L.MaxPooling2D(2, name="pool1")(x))
    x = L.Concatenate(name="up1")([L.UpSampling2D(2)(x), second])
    both = swapped(
        K.Model(i, L.Concatenate(name="up0")([L.UpSampling2D(2)(x), first])),
        rule="pool_into_next_stride",
    )
    assert both.sites == ["conv1", "conv2"]
    assert {name: end for name, (_, end, _) in both.goals.items()} == {
        "conv1": "conv1",
        "conv2": "conv2",
    }
    assert both.reasons == {}
    both.assert_shapes_agree()


def test_a_padded_pool_after_is_not_taken_for_the_work_of_the_convolution_before() -> None:
    def graph(pools: bool) -> Graph:
        sketch = Sketch()
        x = sketch.input(12, 12)
        x = sketch.pool(x, 2, name="pool0") if pools else x
        x = sketch.relu(sketch.conv(x, 3, 1 if pools else 2, "same", name="conv"), name="relu")
        if pools:
            x = sketch.pool(sketch.pad(x, (1, 1), (1, 1)), 3, 2, name="pool1")
        sketch.conv(x, 3, 1 if pools else 2, "same", name="head")
        return sketch.graph()

    old, new = graph(True), graph(False)
    ends = {name_of(new, a): name_of(old, b) for a, b in pair_tensors(old, new).tensors.items()}
    assert ends == {"input": "input", "conv": "conv", "relu": "relu", "head": "head"}


@pytest.mark.parametrize("size", [12, None])
def test_a_convolution_between_two_pools_does_the_work_of_one(K: Any, size: int | None) -> None:
    L = K.layers
    x = i = image(K, size=(size, size, 3))
    x = L.Conv2D(4, 3, padding="same", name="conv")(L.MaxPooling2D(2, name="pool0")(x))
    x = L.Conv2D(2, 1, name="head")(L.MaxPooling2D(2, name="pool1")(x))
    model = K.Model(i, x)
    new, report = swap_downsampling(model, include=["pool0"], method="copy", return_report=True)
    assert [site.status for site in report.sites] == ["swapped", "kept"]
    both = Both(read_model(model), read_model(new)).met()
    assert both.goals == {"conv": ([], "conv", "conv"), "head": ([], "head", "head")}


def test_what_sites_after_a_join_make_together_is_an_end(K: Any) -> None:
    L, i = K.layers, image(K)
    y = L.Add(name="add")([L.Conv2D(4, 1, name="beside")(i), block(L, i)])
    y = L.MaxPooling2D(2, name="pool")(L.ReLU(name="last")(y))
    both = swapped(K.Model(i, L.Conv2D(2, 1, name="head")(y)), rule="pool_into_stride")
    assert [name_of(both.new.graph, end) for end in both.pairs.ends] == ["last"]
    assert both.named["last"] == "pool"
    assert list(both.reasons) == ["beside"]
    assert both.goals["conv"] == (["bn", "relu", "add", "last"], "last", "pool")
    movable = TrainableSet.of(both.old, both.new, True, both.drawn)
    assert [
        name_of(both.new.graph, term.new)
        for term in distillation_terms(movable, both.drawn)
        if term.is_intermediate
    ] == ["last"]


@pytest.mark.parametrize(
    "join", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Concatenate", "function"]
)
def test_a_layer_is_compared_after_a_join(K: Any, join: str) -> None:
    """Whatever other branches bring, and on whichever side."""
    L, i = K.layers, image(K)
    for turned in (False, True):
        x = L.MaxPooling2D(2, name="pool")(block(L, i, "0"))
        y = L.BatchNormalization(name="bn")(L.Conv2D(4, 3, padding="same", name="conv")(x))
        both_sides = [y, x] if turned else [x, y]
        z = both_sides[0] + both_sides[1] if join == "function" else getattr(L, join)()(both_sides)
        z = L.Activation("tanh", name="end")(L.BatchNormalization(name="bn2")(z))
        both = swapped(K.Model(i, L.Conv2D(2, 1, name="head")(z)), rule="pool_into_stride")
        chain, end, goal = both.goals["conv"]
        assert (len(chain), chain[-1], end, goal) == (4, "end", "end", "end")
        both.assert_targets_make_what_the_model_makes()


def test_joins_of_joins(K: Any) -> None:
    """Channels side by side, added to others, and side by side again."""
    L, i = K.layers, image(K)
    x = L.MaxPooling2D(2, name="pool")(block(L, i, "0"))
    one = L.Concatenate(name="cat")(
        [L.Conv2D(2, 1, name="a")(x), L.Conv2D(2, 3, padding="same", name="b")(x)]
    )
    two = L.Concatenate(name="cat2")([x, L.ReLU(name="r")(L.Add(name="add")([x, one]))])
    both = swapped(K.Model(i, L.Conv2D(2, 1, name="head")(two)), rule="pool_into_stride")
    ends = {name: end for name, (_, end, _) in both.goals.items()}
    assert ends == {"conv0": "relu0", "a": "cat2", "b": "cat2", "head": "head"}
    both.assert_targets_make_what_the_model_makes()


def test_a_join_that_spreads_a_channel_over_others_ends_the_walk(K: Any) -> None:
    L, i = K.layers, image(K)
    x = L.MaxPooling2D(2, name="pool")(block(L, i, "0"))
    gate = L.Conv2D(1, 1, activation="sigmoid", name="gate")(x)
    both = swapped(
        K.Model(i, L.Conv2D(2, 1, name="head")(L.Multiply(name="mul")([x, gate]))),
        rule="pool_into_stride",
    )
    assert both.goals["gate"] == ([], "gate", "gate")
    both.assert_targets_make_what_the_model_makes()


def test_a_map_that_mixes_channels_ends_the_walk_where_something_in_front_can_be_compared(
    K: Any,
) -> None:
    L = K.layers
    x = i = K.Input((12, 12, 3))
    for number, mixing in enumerate(
        (L.LayerNormalization(name="mix0"), L.Softmax(name="mix1"), L.PReLU(name="mix2"))
    ):
        x = mixing(
            L.Conv2D(4, 1, name=f"conv{number}")(
                x if number else L.MaxPooling2D(2)(L.Conv2D(4, 3)(x))
            )
        )
    old = K.Model(i, L.Activation("softmax", name="mix3")(L.Dense(3, name="dense")(x)))
    new = swap_downsampling(old)
    graphs = [read_model(model).graph for model in (old, new)]
    found, _ = find_kernel_targets(graphs[1], pair_tensors(*graphs))
    ends = {target.name: name_of(graphs[1], target.end) for target in found[1:]}
    assert ends == {"conv0": "conv0", "conv1": "conv1", "conv2": "conv2", "dense": "dense"}
    shared = K.Model(
        i,
        L.PReLU(shared_axes=[1, 2], name="mix")(L.Conv2D(4, 1, name="conv0")(old.layers[2].output)),
    )
    graphs = [read_model(model).graph for model in (shared, swap_downsampling(shared))]
    found, _ = find_kernel_targets(graphs[1], pair_tensors(*graphs))
    assert name_of(graphs[1], found[-1].end) == "mix", "a slope for each channel mixes nothing"


def test_the_order_in_which_calls_run_is_that_of_the_interpreter(K: Any) -> None:
    i, j = K.Input(SIZE), K.Input(SIZE)
    middle = K.Model(i, K.layers.Conv2D(5, 1)(nested(K)(K.layers.Conv2D(3, 1)(i))), name="middle")
    model = K.Model(j, K.layers.Dense(2)(middle(K.layers.ReLU()(j))))
    reading = read_model(model)
    order = [place for place in run_order(reading.graph) if place[1] or place[0]]
    run = Interpreter(reading, stops=set(order)).start(
        [reading.dialect.to_tensor(np.zeros((1, *SIZE), np.float32))]
    )
    met = [place for place, _ in run]
    assert met == [place for place in order if place in met]
    assert len(met) > 8


def test_what_runs_in_training_mode_ends_the_walk(K: Any) -> None:
    L = K.layers
    i = K.Input((12, 12, 3))
    y = L.BatchNormalization(name="bn")(L.Conv2D(4, 3, name="conv")(i), training=True)
    old = K.Model(i, L.Conv2D(2, 1, name="head")(L.MaxPooling2D(2)(L.ReLU()(y))))
    new = swap_downsampling(old, method="copy")
    graphs = [read_model(model).graph for model in (old, new)]
    found, _ = find_kernel_targets(graphs[1], pair_tensors(*graphs))
    assert [target.name for target in found] == ["head"]


def test_padding_before_the_next_site_is_seen_through(K: Any) -> None:
    L = K.layers
    y = i = K.Input((None, None, 3))
    for number in (1, 2):
        y = L.ReLU(name=f"relu{number}")(L.Conv2D(4, 3, padding="same", name=f"conv{number}")(y))
        y = L.MaxPooling2D(2, name=f"pool{number}")(y)
    old = K.Model(i, L.Conv2D(2, 1, name="head")(y))
    new = swap_downsampling(old)
    graphs = [read_model(model).graph for model in (old, new)]
    found, reasons = find_kernel_targets(graphs[1], pair_tensors(*graphs))
    assert [target.name for target in found] == ["conv1", "conv2", "head"]
    assert not reasons


def test_frozen_convolutions_that_a_swap_adds_are_not_fitted(K: Any) -> None:
    L = K.layers
    i = K.Input((12, 12, 3))
    old = K.Model(
        i, L.Dense(2)(L.ReLU()(L.Conv2D(4, 3, strides=2, padding="same", name="conv")(i)))
    )
    new = swap_downsampling(old, to="blur_pool")
    readings = [read_model(model) for model in (old, new)]
    x = [tf.random.uniform((2, 12, 12, 3))]
    movable = TrainableSet.of(*readings, True, x)
    assert any("_blur" in layer.name for layer in new.layers)
    assert not any("_blur" in target.name for target in movable.targets)
