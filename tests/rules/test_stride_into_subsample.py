"""A strided convolution as the stride-1 convolution, subsampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.graphs import Sketch, arguments, close, convolved, emitted, made, named, placed

from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.rule import Promise, Refused
from keras_downswap.rules.stride_into_subsample import stride_into_subsample

RULE = stride_into_subsample


def apply(graph: Graph) -> Replacement:
    return RULE.apply(graph, named(graph, "conv"), "subsample")


def strided(*sizes: int | None, last: bool = True, **facts: Any) -> Graph:
    sketch = Sketch(channels_last=last)
    sketch.conv(sketch.input(*sizes), **{"stride": 2, **facts})
    return sketch.graph()


def test_it_promises_values_with_the_same_weights() -> None:
    assert (RULE.promise, RULE.verbatim, RULE.targets) == (
        Promise.EXACT,
        True,
        frozenset({"subsample"}),
    )


@pytest.mark.parametrize("last", [True, False])
def test_a_valid_convolution_is_subsampled(last: bool) -> None:
    graph = strided(33, None, kernel=1, stride=(2, 3), last=last, activation="relu")
    answer = apply(graph)
    conv, pool = made(answer)
    assert answer.steps == {1: (conv, pool)}
    assert (arguments(conv)["strides"], arguments(conv)["padding"], conv.kernel) == (
        (1, 1),
        "valid",
        None,
    )
    assert (pool.kind, pool.name) == ("MaxPooling", "conv_pool")
    assert arguments(pool) == {
        "pool_size": (1, 1), "strides": (2, 3), "padding": "valid",
        "data_format": "channels_last" if last else "channels_first",
    }  # fmt: skip


def test_the_strided_lead_is_held() -> None:
    """For even lengths `same` with stride 2 starts at cell 0, where the stride-1 convolution would
    start one before.
    """
    pad, conv, _ = made(apply(strided(32, padding="same")))
    assert arguments(pad)["padding"] == (0, 2)
    assert arguments(conv)["padding"] == "valid"
    conv, _ = made(apply(strided(33, padding="same")))
    assert arguments(conv)["padding"] == "same"


def test_it_stands_directly_after_the_convolution() -> None:
    sketch = Sketch()
    sketch.relu(sketch.conv(sketch.input(32), stride=2))
    assert apply(sketch.graph()).chain == (1,)


def test_one_of_several_outputs_keeps_its_name() -> None:
    sketch = Sketch()
    x = sketch.conv(sketch.input(32), stride=2)
    graph = sketch.graph(x, sketch.relu(x))
    with pytest.raises(
        Refused, match="the output of Conv1D 'conv' is one of several outputs of the model"
    ):
        apply(graph)


@pytest.mark.parametrize(
    ("sizes", "facts", "words"),
    [
        ((32,), {"kind": "ConvLSTM"}, "ConvLSTM1D 'conv' is no ordinary"),
        ((32,), {"obstacle": "is quantized"}, "Conv1D 'conv' is quantized"),
        (
            (32, None),
            {"padding": "same"},
            "padding='same' and stride 2 over an unknown length .spatial axis 1.",
        ),
        (
            (32,),
            {"padding": "same", "padding_layers": frozenset()},
            "'conv' would need ZeroPadding1D",
        ),
    ],
)
def test_refusals(sizes: tuple[int | None, ...], facts: dict[str, Any], words: str) -> None:
    graph = strided(*sizes, **facts)
    with pytest.raises(Refused, match=words):
        apply(graph)


def test_an_activation_along_a_spatial_axis_does_not_commute() -> None:
    """Keras takes softmax along the last axis, which is the width where channels come first."""
    with pytest.raises(Refused, match="softmax"):
        apply(strided(33, 33, activation="softmax", last=False))
    assert made(apply(strided(33, 33, activation="softmax")))


axis = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(3, 15))


@given(st.lists(axis, min_size=2, max_size=3), st.sampled_from(("valid", "same")))
def test_axes_of_their_own_geometry_keep_the_values(
    axes: list[tuple[int, ...]], padding: str
) -> None:
    k, s, n = zip(*axes, strict=True)
    assume(all(placed(m, taps, stride, padding)[1] > 0 for taps, stride, m in axes))
    steps = made(apply(strided(*n, kernel=k, stride=s, padding=padding)))
    x = np.random.default_rng(0).standard_normal((*n, 2))
    kernel = np.random.default_rng(1).standard_normal((*k, 2, 3))
    assert close(
        emitted(x, steps, kernel), convolved(x, kernel, [(stride, 1, padding) for stride in s])
    )
