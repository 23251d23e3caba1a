"""The pool's stride moved into the convolution with its kernel as it is."""

from __future__ import annotations

from typing import Any

import pytest
from support.graphs import Sketch, arguments, made, named, pair

from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import MakeResize, Replacement
from keras_downswap.rulekit.rule import Promise, Refused
from keras_downswap.rules.pool_into_stride import pool_into_stride

RULE = pool_into_stride


def apply(graph: Graph, pool: str = "pool") -> Replacement:
    return RULE.apply(graph, named(graph, pool), "strided_conv")


def refusal(graph: Graph) -> str:
    with pytest.raises(Refused) as refused:
        apply(graph)
    return str(refused.value)


def test_it_promises_shapes_with_the_same_weights() -> None:
    assert (RULE.promise, RULE.verbatim, RULE.targets) == (
        Promise.APPROXIMATE,
        True,
        frozenset({"strided_conv"}),
    )


def test_the_articles_swap() -> None:
    graph = pair(32, 32, conv={"activation": "relu"})
    answer = apply(graph)
    (conv,) = made(answer)
    assert answer.chain == (1, 2)
    assert answer.steps[2] == ()
    assert arguments(conv) == {
        "kernel_size": (3, 3), "strides": (2, 2), "dilation_rate": (1, 1), "padding": "valid"
    }  # fmt: skip
    assert (conv.kernel, conv.like, conv.name) == (None, named(graph, "conv").layer, "conv")


@pytest.mark.parametrize(
    ("n", "conv", "pool", "layers"),
    [
        (32, "valid", 2, ["Conv valid"]),
        (33, "valid", 2, ["Cropping (0, 1)", "Conv valid"]),
        (None, "valid", 2, ["Cropping (0, 1)", "Conv valid"]),
        (32, "same", 2, ["Conv same"]),
        (33, "same", 2, ["Conv valid"]),
        (None, "same", 2, ["ZeroPadding (1, 0)", "Conv valid"]),
        (32, "causal", 2, ["Conv causal"]),
        (33, "causal", 2, ["Conv valid"]),
        (None, "causal", 2, ["ZeroPadding (1, 0)", "Conv valid"]),
        (30, "valid", 3, ["Cropping (1, 1)", "Conv valid"]),
    ],
)
def test_layers_are_added_before_only_where_plain_padding_has_another_length(
    n: int | None, conv: str, pool: int, layers: list[str]
) -> None:
    steps = made(apply(pair(n, conv={"padding": conv}, pool={"size": pool})))
    shown = [
        f"{s.kind} {arguments(s)['cropping' if s.kind == 'Cropping' else 'padding']}" for s in steps
    ]
    assert shown == layers


@pytest.mark.parametrize("last", [True, False])
def test_one_axis_may_be_padded_and_another_cropped(last: bool) -> None:
    pad, crop, conv = made(
        apply(pair(None, None, conv={"kernel": (3, 1), "padding": "same"}, last=last))
    )
    form = {"data_format": "channels_last" if last else "channels_first"}
    assert (pad.kind, pad.name, arguments(pad)) == (
        "ZeroPadding",
        "conv_pad",
        {"padding": ((1, 0), (0, 0)), **form},
    )
    assert (crop.kind, crop.name, arguments(crop)) == (
        "Cropping",
        "conv_crop",
        {"cropping": ((0, 0), (0, 1)), **form},
    )
    assert arguments(conv)["padding"] == "valid"
    assert isinstance(pad, MakeResize)
    assert isinstance(crop, MakeResize)


def test_axes_that_need_different_paddings_are_padded_by_a_layer() -> None:
    """`same` would do for the even axis and `valid` for the odd one, but a convolution has one
    padding.
    """
    pad, conv = made(apply(pair(32, 33, conv={"padding": "same"})))
    assert arguments(pad)["padding"] == ((1, 0), (1, 0))
    assert arguments(conv)["padding"] == "valid"


def test_elementwise_calls_stay_between() -> None:
    answer = apply(pair(32, between=["batch_norm", "relu", "dropout"], pool={"kind": "Average"}))
    assert answer.chain == (1, 2, 3, 4, 5)
    assert set(answer.steps) == {1, 5}


def test_an_unknown_length_is_no_obstacle_to_shapes() -> None:
    assert made(apply(pair(None, conv={"padding": "same", "stride": 2})))


def test_a_pool_of_stride_one_leaves_a_dilated_convolution() -> None:
    conv = made(apply(pair(32, conv={"dilation": 2}, pool={"stride": 1})))[-1]
    assert (arguments(conv)["dilation_rate"], arguments(conv)["strides"]) == ((2,), (1,))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"conv": {"dilation": 2}},
            "'conv' has dilation_rate .2,., and Keras has no convolution with stride and dil",
        ),
        (
            {"conv": {"kind": "ConvLSTM"}},
            "ConvLSTM1D 'conv' is no ordinary, depthwise or separable convolution",
        ),
        ({"conv": {"obstacle": "is quantized (int8)"}}, "Conv1D 'conv' is quantized"),
        ({"pool": {"obstacle": "is adaptive pooling"}}, "MaxPooling1D 'pool' is adaptive pooling"),
        ({"pool": {"size": 30}}, "MaxPooling1D 'pool' covers its whole 30 map: global pooling"),
        (
            {"pool": {"dtype": "bfloat16"}},
            "'pool' turns float32 into bfloat16, which a swap would lose",
        ),
        (
            {"pool": {"channels_last": False}},
            "Conv1D 'conv' and MaxPooling1D 'pool' differ in data_format",
        ),
        (
            {"conv": {"kernel": 4, "padding_layers": frozenset({"ZeroPadding"})}},
            "'conv' would need Cropping1D, which this Keras",
        ),
    ],
)
def test_refusals(facts: dict[str, Any], words: str) -> None:
    graph = pair(32, **facts)
    with pytest.raises(Refused, match=words):
        apply(graph)


def test_global_pooling_is_no_site() -> None:
    sketch = Sketch()
    sketch.global_pool(sketch.conv(sketch.input(32)), name="pool")
    assert "GlobalAveragePooling1D 'pool' is global pooling, not a downsampling site" in refusal(
        sketch.graph()
    )


def test_a_map_is_covered_only_if_every_axis_is() -> None:
    assert "covers its whole 5x30 map" in refusal(pair(7, 32, pool={"size": (5, 30)}))
    assert made(apply(pair(7, 32, pool={"size": (5, 29)})))
    assert made(apply(pair(None, 32, pool={"size": (5, 30)})))


@pytest.mark.parametrize("upstream", ["input", "batch_norm", "pool", "opaque"])
def test_something_else_upstream(upstream: str) -> None:
    sketch = Sketch()
    x = sketch.input(32)
    if upstream == "batch_norm":
        x = sketch.batch_norm(sketch.conv(x), axis=1)
    elif upstream != "input":
        x = getattr(sketch, upstream)(sketch.conv(x), name="before")
    found = sketch.calls[-1].label
    sketch.pool(x)
    assert (
        refusal(sketch.graph())
        == f"no convolution is upstream of MaxPooling1D 'pool': upstream is {found}"
    )


def test_a_second_consumer_anywhere_between() -> None:
    for at in range(3):
        sketch = Sketch()
        chain = [sketch.conv(sketch.input(32))]
        chain.append(sketch.relu(chain[-1]))
        chain.append(sketch.dropout(chain[-1]))
        sketch.pool(chain[-1])
        sketch.opaque(chain[at], name="spy")
        owner = sketch.calls[sketch.tensors[chain[at]].producer].label
        assert (
            refusal(sketch.graph()) == f"the output of {owner} has a second consumer, Opaque 'spy'"
        )


def test_an_output_anywhere_between() -> None:
    for at in range(2):
        sketch = Sketch()
        chain = [sketch.conv(sketch.input(32))]
        chain.append(sketch.relu(chain[-1]))
        last = sketch.pool(chain[-1])
        owner = sketch.calls[sketch.tensors[chain[at]].producer].label
        assert (
            refusal(sketch.graph(chain[at], last))
            == f"the output of {owner} is also an output of the model"
        )


def test_a_dtype_between_does_not_matter_where_the_pool_keeps_it() -> None:
    sketch = Sketch()
    sketch.pool(sketch.cast(sketch.conv(sketch.input(32), dtype="float16"), "float32"))
    assert made(apply(sketch.graph()))


def test_removed_pools_leave_an_identity_only_where_they_name_an_output() -> None:
    sketch = Sketch()
    x = sketch.input(32)
    inner, outer = sketch.pool(sketch.conv(x)), sketch.pool(sketch.conv(x, name="b"), name="outer")
    assert [step.kind for step in made(apply(sketch.graph(outer)))] == ["Conv"]
    assert [step.kind for step in made(apply(sketch.graph(outer), "outer"))] == ["Conv"]
    assert [step.kind for step in made(apply(sketch.graph(inner, outer)))] == ["Conv", "Activation"]
    sketch.scope = 1
    assert [step.kind for step in made(apply(sketch.graph(inner, outer)))] == ["Conv"]
