"""Subsampling behind a convolution, moved into its stride: where it is exact, and where it must not
be.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.graphs import Sketch, arguments, made, named, pair

from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.rule import Promise, Refused
from keras_downswap.rules.pool_of_one_into_stride import pool_of_one_into_stride

RULE = pool_of_one_into_stride

ONE: dict[str, Any] = {"size": 1, "stride": 2}


def apply(graph: Graph) -> Replacement:
    return RULE.apply(graph, named(graph, "pool"), "strided_conv")


def test_it_promises_values_with_the_same_weights() -> None:
    assert (RULE.promise, RULE.verbatim, RULE.targets) == (
        Promise.EXACT,
        True,
        frozenset({"strided_conv", "cheapest"}),
    )


@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_the_stride_moves_into_the_convolution(kind: str) -> None:
    answer = apply(
        pair(
            33,
            conv={"stride": 2, "activation": "relu"},
            between=["relu"],
            pool={**ONE, "kind": kind},
        )
    )
    (conv,) = made(answer)
    assert answer.chain == (1, 2, 3)
    assert set(answer.steps) == {1, 3}
    assert arguments(conv)["strides"] == (4,)
    assert conv.kernel is None


def test_same_padding_is_held_where_the_larger_stride_would_start_elsewhere() -> None:
    pad, conv = made(apply(pair(32, conv={"padding": "same"}, pool=ONE)))
    assert (pad.kind, arguments(pad)["padding"]) == ("ZeroPadding", (1, 1))
    assert arguments(conv)["padding"] == "valid"
    (conv,) = made(apply(pair(33, conv={"padding": "same"}, pool=ONE)))
    assert arguments(conv)["padding"] == "same"


def test_a_dilated_convolution_may_stay_where_nothing_strides() -> None:
    (conv,) = made(apply(pair(32, conv={"dilation": 2}, pool={"size": 1, "stride": 1})))
    assert arguments(conv)["dilation_rate"] == (2,)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"pool": {}}, "'pool' has a window above 1, so it does not only subsample"),
        (
            {"conv": {"dilation": 2}, "pool": ONE},
            "'conv' has dilation_rate .2,., and Keras has no convolution with",
        ),
        ({"conv": {"kind": "ConvLSTM"}, "pool": ONE}, "ConvLSTM1D 'conv' is no ordinary"),
        ({"conv": {"obstacle": "has LoRA enabled"}, "pool": ONE}, "Conv1D 'conv' has LoRA enabled"),
        ({"pool": {**ONE, "dtype": "float16"}}, "turns float32 into float16"),
    ],
)
def test_refusals(facts: dict[str, Any], words: str) -> None:
    graph = pair(32, **facts)
    with pytest.raises(Refused, match=words):
        apply(graph)


def test_every_axis_must_be_of_one_cell() -> None:
    with pytest.raises(Refused, match="'pool' has a window above 1"):
        apply(pair(32, 32, pool={"size": (1, 2)}))
    assert made(apply(pair(32, 32, pool={"size": 1, "stride": (1, 2)})))


def test_an_unknown_length_refuses_what_depends_on_it() -> None:
    graph = pair(None, conv={"padding": "same", "stride": 2}, pool=ONE)
    with pytest.raises(Refused, match="where its first tap lies depends on that length"):
        apply(graph)


def test_batch_statistics_see_which_positions_are_left() -> None:
    """A normalisation frozen into training takes its mean over all positions, so it does not
    commute.
    """
    sketch = Sketch()
    x = sketch.batch_norm(sketch.conv(sketch.input(32)), frozen_training=True)
    sketch.pool(x, **ONE)
    with pytest.raises(Refused, match="training=True"):
        apply(sketch.graph())


@pytest.mark.parametrize("activation", ["softmax", "log_softmax"])
def test_an_activation_along_a_spatial_axis_does_not_commute(activation: str) -> None:
    """Keras takes softmax along the last axis, which is the width where channels come first."""
    graph = pair(32, 32, conv={"activation": activation}, pool=ONE, last=False)
    with pytest.raises(Refused, match=activation):
        apply(graph)
    assert made(apply(pair(32, 32, conv={"activation": activation}, pool=ONE)))
