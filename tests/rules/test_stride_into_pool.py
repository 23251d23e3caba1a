"""A convolution's stride moved into a pool behind it and its elementwise followers."""

from __future__ import annotations

from typing import Any

import pytest
from support.graphs import Sketch, arguments, made, named

from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import KEEP, MakePool, Replacement
from keras_downswap.rulekit.rule import Promise, Refused
from keras_downswap.rules.stride_into_pool import stride_into_pool

RULE = stride_into_pool


def apply(graph: Graph, to: str = "max_pool") -> Replacement:
    return RULE.apply(graph, named(graph, "conv"), to)


def strided(*sizes: int | None, last: bool = True, **facts: Any) -> Graph:
    sketch = Sketch(channels_last=last)
    sketch.conv(sketch.input(*sizes), **{"stride": 2, **facts})
    return sketch.graph()


def test_it_promises_shapes_with_the_same_weights() -> None:
    assert (RULE.promise, RULE.verbatim, RULE.targets) == (
        Promise.APPROXIMATE,
        True,
        frozenset({"max_pool", "average_pool"}),
    )


@pytest.mark.parametrize(
    ("to", "kind"), [("max_pool", "MaxPooling"), ("average_pool", "AveragePooling")]
)
@pytest.mark.parametrize("last", [True, False])
def test_the_stride_becomes_a_pool(to: str, kind: str, last: bool) -> None:
    graph = strided(33, 33, stride=(2, 3), padding="same", last=last)
    answer = apply(graph, to)
    conv, pool = made(answer)
    assert answer.steps == {1: (conv, pool)}
    assert arguments(conv) == {
        "kernel_size": (3, 3), "strides": (1, 1), "dilation_rate": (1, 1), "padding": "same"
    }  # fmt: skip
    assert (conv.kernel, conv.like) == (None, named(graph, "conv").layer)
    assert isinstance(pool, MakePool)
    assert (pool.kind, pool.rank, pool.name) == (kind, 2, "conv_pool")
    assert arguments(pool) == {
        "pool_size": (2, 3), "strides": (2, 3), "padding": "same",
        "data_format": "channels_last" if last else "channels_first",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("n", "conv", "pool"),
    [
        (32, "same", "valid"), (33, "same", "same"), (None, "same", "same"),
        (32, "valid", "valid"), (33, "valid", "same"), (None, "valid", "same"),
        (32, "causal", "valid"), (None, "causal", "same"),
    ],
)  # fmt: skip
def test_the_pool_is_valid_where_that_has_the_same_length(
    n: int | None, conv: str, pool: str
) -> None:
    assert arguments(made(apply(strided(n, padding=conv)))[1])["padding"] == pool


def test_elementwise_followers_come_before_the_pool() -> None:
    sketch = Sketch()
    x = sketch.relu(sketch.batch_norm(sketch.conv(sketch.input(32), stride=2)))
    sketch.conv(x, name="next")
    answer = apply(sketch.graph())
    conv, pool = made(answer)
    assert answer.chain == (1, 2, 3)
    assert answer.steps == {1: (conv,), 3: (KEEP, pool)}


def test_followers_end_where_another_consumer_looks() -> None:
    sketch = Sketch()
    x = sketch.batch_norm(sketch.conv(sketch.input(32), stride=2))
    graph = sketch.graph(sketch.relu(x), sketch.relu(x, name="twin"))
    assert apply(graph).chain == (1, 2)


def test_followers_along_a_spatial_axis_stay_after_the_pool() -> None:
    sketch = Sketch()
    sketch.batch_norm(sketch.conv(sketch.input(32), stride=2), axis=1)
    assert apply(sketch.graph()).chain == (1,)


def test_the_pool_takes_the_dtype_of_the_layer_that_it_follows() -> None:
    """Mixed precision ends in a float32 activation; a pool behind it with the convolution's policy
    would undo that.
    """
    sketch = Sketch()
    sketch.cast(sketch.conv(sketch.input(32), stride=2, dtype="float16"), "float32")
    graph = sketch.graph()
    assert made(apply(graph))[1].beside == named(graph, "cast").layer


def test_one_of_several_outputs_keeps_its_name() -> None:
    sketch = Sketch()
    x = sketch.conv(sketch.input(32), stride=2)
    named_output, other = sketch.relu(x), sketch.conv(sketch.inputs[0], name="other")
    assert apply(sketch.graph(named_output, other)).chain == (1,)
    assert apply(sketch.graph(named_output)).chain == (1, 2)
    with pytest.raises(
        Refused,
        match="'conv' is one of several outputs of the model: a layer after it would rename",
    ):
        apply(sketch.graph(x, other))
    assert apply(sketch.graph(x)).chain == (1,)
    sketch.scope = 1
    assert apply(sketch.graph(x, other)).chain == (1,)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"kind": "ConvLSTM"},
            "ConvLSTM1D 'conv' is no ordinary, depthwise or separable convolution",
        ),
        (
            {"obstacle": "has LoRA enabled: merge its weights first"},
            "Conv1D 'conv' has LoRA enabled",
        ),
    ],
)
def test_refusals(facts: dict[str, Any], words: str) -> None:
    graph = strided(32, **facts)
    with pytest.raises(Refused, match=words):
        apply(graph)
