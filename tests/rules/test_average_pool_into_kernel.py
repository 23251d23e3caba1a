"""One strided convolution with the composed kernel: where it stands in, and where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.graphs import (
    Sketch,
    arguments,
    averages,
    close,
    convolved,
    emitted,
    made,
    named,
    pair,
    placed,
)

from keras_downswap.ir.graph import Graph
from keras_downswap.ir.replacement import MakeResize, Replacement
from keras_downswap.rulekit.rule import Promise, Refused
from keras_downswap.rules.average_pool_into_kernel import average_pool_into_kernel

RULE = average_pool_into_kernel

AVERAGE = {"kind": "Average"}


def apply(graph: Graph, pool: str = "pool") -> Replacement:
    return RULE.apply(graph, named(graph, pool), "strided_conv")


def refusal(graph: Graph) -> str:
    with pytest.raises(Refused) as refused:
        apply(graph)
    return str(refused.value)


def test_it_promises_values_with_a_new_kernel() -> None:
    assert (RULE.promise, RULE.verbatim, RULE.targets) == (
        Promise.EXACT,
        False,
        frozenset({"strided_conv", "conv_relu", "cheapest"}),
    )


def test_the_articles_pair_becomes_one_convolution() -> None:
    graph = pair(32, 32, pool=AVERAGE)
    answer = apply(graph)
    (conv,) = made(answer)
    assert answer.chain == (1, 2)
    assert answer.steps[2] == ()
    assert (conv.kind, conv.rank, conv.name, conv.like) == (
        "Conv",
        2,
        "conv",
        named(graph, "conv").layer,
    )
    assert arguments(conv) == {
        "kernel_size": (4, 4), "strides": (2, 2), "dilation_rate": (1, 1), "padding": "valid"
    }  # fmt: skip


def test_affine_calls_may_stand_between_and_stay() -> None:
    answer = apply(pair(32, 32, between=["batch_norm", "dropout"], pool=AVERAGE))
    assert answer.chain == (1, 2, 3, 4)
    assert set(answer.steps) == {1, 4}


def test_an_unknown_length_needs_layers_before() -> None:
    pad, conv = made(apply(pair(None, conv={"padding": "same"}, pool=AVERAGE)))
    assert isinstance(pad, MakeResize)
    assert (pad.kind, pad.name) == ("ZeroPadding", "conv_pad")
    assert arguments(pad) == {"padding": (1, 1), "data_format": "channels_last"}
    assert (arguments(conv)["kernel_size"], arguments(conv)["padding"]) == ((4,), "valid")


def test_a_dilated_convolution_is_written_out() -> None:
    (conv,) = made(apply(pair(32, conv={"dilation": 3}, pool=AVERAGE)))
    assert arguments(conv)["kernel_size"] == (8,)
    assert arguments(conv)["dilation_rate"] == (1,)
    assert conv.kernel is not None
    kernel: Any = conv.kernel(np.array([1.0, 2.0, 4.0])[:, None, None])
    assert kernel[:, 0, 0].tolist() == [0.5, 0.5, 0, 1, 1, 0, 2, 2]


def test_a_causal_convolution_may_stay_causal() -> None:
    (conv,) = made(
        apply(
            pair(
                None,
                conv={"kernel": 1, "padding": "causal"},
                pool={**AVERAGE, "size": 1, "stride": 2},
            )
        )
    )
    assert arguments(conv)["padding"] == "causal"


def test_the_name_of_one_of_several_outputs_survives() -> None:
    sketch = Sketch()
    x = sketch.input(32)
    first = sketch.pool(sketch.conv(x), kind="Average")
    graph = sketch.graph(first, sketch.conv(x, name="other"))
    answer = apply(graph)
    identity = made(answer)[-1]
    assert (identity.kind, identity.name, arguments(identity)) == (
        "Activation",
        "pool",
        {"activation": "linear"},
    )
    assert answer.steps[2] == (identity,)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"pool": {"kind": "Max"}}, "'pool' computes maxima"),
        ({"conv": {"activation": "relu"}, "pool": AVERAGE}, "'conv' has the activation relu"),
        ({"between": ["relu"], "pool": AVERAGE}, "ReLU 'relu0' stands between and is not linear"),
        ({"between": ["batch_norm", "relu"], "pool": AVERAGE}, "'relu1' stands between"),
        (
            {"pool": {**AVERAGE, "padding": "same", "size": 3, "stride": 2}},
            "pads .padding='same' over length 30",
        ),
        ({"pool": {**AVERAGE, "size": 40}}, "covers its whole 30 map"),
        ({"conv": {"kind": "ConvLSTM"}, "pool": AVERAGE}, "ConvLSTM1D 'conv' is no ordinary"),
        ({"conv": {"obstacle": "is quantized"}, "pool": AVERAGE}, "Conv1D 'conv' is quantized"),
        ({"pool": {**AVERAGE, "obstacle": "is odd"}}, "AveragePooling1D 'pool' is odd"),
        ({"pool": {**AVERAGE, "dtype": "float16"}}, "turns float32 into float16"),
        ({"pool": {**AVERAGE, "channels_last": False}}, "differ in data_format"),
        (
            {"conv": {"padding_layers": frozenset(), "padding": "causal"}, "pool": AVERAGE},
            "'conv' would need ZeroPadding1D",
        ),
    ],
)
def test_refusals(facts: dict[str, Any], words: str) -> None:
    graph = pair(32, **facts)
    with pytest.raises(Refused, match=words):
        apply(graph)


def test_an_unknown_length_refuses_what_depends_on_it() -> None:
    words = refusal(pair(None, conv={"padding": "same", "stride": 2}, pool=AVERAGE))
    assert "padding='same' and stride 2 over an unknown length (spatial axis 0)" in words
    words = refusal(pair(None, pool={**AVERAGE, "padding": "same"}))
    assert "padding='same' over an unknown length" in words
    assert made(apply(pair(None, conv={"kernel": 1, "padding": "same", "stride": 2}, pool=AVERAGE)))


def test_frozen_training_is_no_fixed_map() -> None:
    sketch = Sketch()
    x = sketch.batch_norm(sketch.conv(sketch.input(32)), frozen_training=True)
    sketch.pool(x, kind="Average")
    assert "'bn' is called with training=True" in refusal(sketch.graph())


def test_a_normalisation_along_space_stands_in_the_way() -> None:
    sketch = Sketch()
    sketch.pool(sketch.batch_norm(sketch.conv(sketch.input(32)), axis=1), kind="Average")
    assert "no convolution is upstream of" in refusal(sketch.graph())
    assert "upstream is BatchNormalization 'bn'" in refusal(sketch.graph())


def test_a_second_consumer_would_see_the_change() -> None:
    sketch = Sketch()
    x = sketch.conv(sketch.input(32))
    y = sketch.pool(x, kind="Average")
    graph = sketch.graph(y, sketch.relu(x))
    assert "output of Conv1D 'conv' has a second consumer, ReLU 'relu'" in refusal(graph)


def test_an_output_of_the_model_must_stay() -> None:
    sketch = Sketch()
    x = sketch.conv(sketch.input(32))
    assert "'conv' is also an output of the model" in refusal(
        sketch.graph(sketch.pool(x, kind="Average"), x)
    )


axis = st.tuples(
    *(
        st.integers(1, 4),
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(4, 15),
    )
)
padding = st.sampled_from(("valid", "same"))


@given(st.lists(axis, min_size=2, max_size=3), padding, padding, st.integers(1, 2))
def test_axes_of_their_own_geometry_keep_the_values(
    axes: list[tuple[int, ...]], padding: str, pool_padding: str, dilation: int
) -> None:
    k, s, p, q, n = zip(*axes, strict=True)
    s = s if dilation == 1 else (1,) * len(s)
    pools = list(zip(p, q, [pool_padding] * len(p), strict=True))
    lengths = zip(n, k, s, strict=True)
    between = [
        placed(m, dilation * (taps - 1) + 1, stride, padding)[1] for m, taps, stride in lengths
    ]
    assume(all(m > 0 and placed(m, *pool)[1] > 0 for m, pool in zip(between, pools, strict=True)))
    conv = {"kernel": k, "stride": s, "padding": padding, "dilation": dilation}
    graph = pair(*n, conv=conv, pool={**AVERAGE, "size": p, "stride": q, "padding": pool_padding})
    covers = (
        all(1 <= m <= size for m, (size, _, _) in zip(between, pools, strict=True)) and max(p) > 1
    )
    pads = [placed(m, *pool) for m, pool in zip(between, pools, strict=True)]
    if covers or any(
        (out - 1) * t + size > m
        for m, (size, t, _), (_, out) in zip(between, pools, pads, strict=True)
    ):
        with pytest.raises(
            Refused, match="covers its whole" if covers else "its divisor changes at the border"
        ):
            apply(graph)
        return
    answer = apply(graph)
    x = np.random.default_rng(0).standard_normal((*n, 2))
    kernel = np.random.default_rng(1).standard_normal((*k, 2, 3))
    old = averages(convolved(x, kernel, [(stride, dilation, padding) for stride in s]), pools)
    assert close(emitted(x, made(answer), kernel), old)
