"""A caller's own rules: they may end the map, and one that breaks its promise is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pytest
from support import laws

from keras_downswap import BrokenPromise, swap_downsampling
from keras_downswap.ir.facts import LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import (
    KEEP,
    Make,
    MakeActivation,
    MakeConv,
    MakeFlatten,
    MakeGlobalPool,
    MakeReshape,
    MakeResize,
    Replacement,
)
from keras_downswap.rulekit.fixed_kernels import FixedKernel, fixed_depthwise
from keras_downswap.rulekit.rule import Promise, Rule, require

TARGET = "own"


def is_global_mean(call: Call) -> bool:
    return call.role is Role.GLOBAL_POOL and call.class_name == "GlobalAveragePooling2D"


def means(shape: tuple[int, ...]) -> Any:
    return np.full(shape, 1 / prod(shape[:2]), np.float32)


def over_the_whole_map(graph: Graph, pool: Call) -> MakeConv:
    windows = [Window(length or 0) for length in graph.sizes(pool)]
    kernel = FixedKernel(f"{pool.name}_conv", windows, means)
    return fixed_depthwise(pool, kernel, depth=4)


def global_mean_into_conv(graph: Graph, pool: Call, to: str) -> Replacement:
    """Global average pooling is a depthwise convolution over the whole map, then a Reshape."""
    require(None not in graph.sizes(pool), f"{pool.label} has a map of unknown size")
    shape = tuple(n or 0 for n in graph.output_shape(pool)[1:])
    end = MakeReshape(pool.name, pool.layer, LayerKind.RESHAPE, shape)
    return Replacement((pool.index,), {pool.index: (over_the_whole_map(graph, pool), end)})


def global_mean_into_conv_and_flatten(graph: Graph, pool: Call, to: str) -> Replacement:
    """The same with a Flatten layer."""
    end = MakeFlatten(pool.name, pool.layer, LayerKind.FLATTEN)
    return Replacement((pool.index,), {pool.index: (over_the_whole_map(graph, pool), end)})


def conv_into_global_mean(graph: Graph, conv: Call, to: str) -> Replacement:
    """A depthwise convolution of means over the whole map, flattened, is a global average."""
    flat = graph.sole_consumer(conv)
    require(flat is not None, f"{conv.label} has several consumers")
    assert flat is not None
    name = f"{conv.name}_mean"
    kind = LayerKind.GLOBAL_AVERAGE_POOLING
    pool = MakeGlobalPool(name, conv.layer, kind, axes=2, channels_last=conv.channels_last)
    return Replacement((conv.index, flat.index), {conv.index: (pool,), flat.index: ()})


def own(apply: Callable[..., Replacement], anchors: Any = is_global_mean, **facts: Any) -> Rule:
    options: dict[str, Any] = {"promise": Promise.EXACT} | facts
    name = getattr(apply, "__name__", "own")
    return Rule(name, frozenset({TARGET}), anchors=anchors, apply=apply, summary="own", **options)


def swapped(model: Any, rule: Rule) -> tuple[Any, Any]:
    new, report = swap_downsampling(model, to=TARGET, rules=[rule], return_report=True)
    return new, report


def model_with_a_global_mean(K: Any, size: Any = (6, 5), **options: Any) -> Any:
    image = K.Input((*size, 3), name="image")
    x = K.layers.Conv2D(4, 3, padding="same", activation="relu", name="conv")(image)
    x = K.layers.GlobalAveragePooling2D(name="mean", **options)(x)
    return K.Model(image, x if options else K.layers.Dense(2, name="logits")(x))


@pytest.mark.parametrize("rule", [global_mean_into_conv, global_mean_into_conv_and_flatten])
def test_a_global_pool_becomes_a_convolution_over_the_whole_map(K: Any, rule: Any) -> None:
    old = model_with_a_global_mean(K)
    new, report = swapped(old, own(rule))
    assert [site.rule for site in report.sites] == [rule.__name__]
    assert {"shape", "length", "values"} <= {check.what for check in report.checks}
    names = [type(layer).__name__ for layer in new.layers]
    assert "DepthwiseConv2D" in names
    assert "GlobalAveragePooling2D" not in names
    laws.assert_same_boundary(old, new)
    laws.assert_same_values(old, new, laws.sample_for(old), rtol=1e-5)


def test_a_wrong_convolution_over_the_whole_map_is_found_out(K: Any) -> None:
    def sums(graph: Graph, pool: Call, to: str) -> Replacement:
        answer = global_mean_into_conv(graph, pool, to)
        conv, end = answer.steps[pool.index]
        assert isinstance(conv, MakeConv)
        return Replacement(answer.chain, {pool.index: (replace(conv, fixed=np.ones), end)})

    with pytest.raises(BrokenPromise, match="the rule sums broke its promise: mean: exact values"):
        swapped(model_with_a_global_mean(K), own(sums))


def test_a_convolution_over_the_whole_map_becomes_a_global_pool(K: Any) -> None:
    image = K.Input((6, 5, 3), name="image")
    conv = K.layers.DepthwiseConv2D((6, 5), use_bias=False, name="conv")
    x = K.layers.Flatten(name="flat")(conv(image))
    old = K.Model(image, K.layers.Dense(2, name="logits")(x))
    conv.set_weights([means((6, 5, 3, 1))])
    rule = own(conv_into_global_mean, lambda call: call.name == "conv")
    new, report = swapped(old, rule)
    assert [type(layer).__name__ for layer in new.layers][1] == "GlobalAveragePooling2D"
    assert "values" in {check.what for check in report.checks}
    laws.assert_same_values(old, new, laws.sample_for(old), rtol=1e-5)


def test_a_convolution_needs_a_map_of_known_size(K: Any) -> None:
    def of_some_size(graph: Graph, pool: Call, to: str) -> Replacement:
        kernel = FixedKernel("c", [Window(4), Window(4)], means)
        conv = fixed_depthwise(pool, kernel, depth=4)
        end = MakeReshape(pool.name, pool.layer, LayerKind.RESHAPE, (4,))
        return Replacement((pool.index,), {pool.index: (conv, end)})

    with pytest.raises(BrokenPromise, match=r"of_some_size .* expected known lengths, got \(None"):
        swapped(model_with_a_global_mean(K, (None, None)), own(of_some_size))


# Answers that the engine cannot carry out


def answer(steps: Any, chain: Any = None) -> Callable[..., Replacement]:
    def broken(graph: Graph, pool: Call, to: str) -> Replacement:
        places = (pool.index,) if chain is None else chain
        return Replacement(places, {pool.index: steps(pool)})

    return broken


def failing(*args: Any) -> Any:
    raise ValueError("no kernel today")


@dataclass(frozen=True)
class MakeMedianPool(Make):
    """A layer of a kind that no Keras has."""


def made(kind: type[Make], *facts: Any) -> Callable[[Call], tuple[Make, ...]]:
    return lambda pool: (kind("made", pool.layer, *facts),)


def conv_of(fixed: Any) -> Callable[[Call], tuple[Make, ...]]:
    windows = [Window(2, 2), Window(2, 2)]
    kernel = FixedKernel("made", windows, fixed)
    return lambda pool: (fixed_depthwise(pool, kernel, depth=3),)


def not_an_answer(graph: Graph, pool: Call, to: str) -> Any:
    return None


def fails(graph: Graph, pool: Call, to: str) -> Any:
    raise KeyError("filters")


BROKEN: dict[str, tuple[Callable[..., Any], str]] = {
    "no answer": (not_an_answer, "expected a Replacement, received None"),
    "an error of its own": (fails, "expected an answer or a refusal, received KeyError: 'filters'"),
    "an unknown call": (
        answer(lambda pool: (KEEP,), (0, 99)),
        r"by indices below 4, received \(0, 99\)",
    ),
    "steps for another call": (
        answer(lambda pool: (KEEP,), (0,)),
        r"expected steps for calls of its chain \(0,\), received steps for call 2",
    ),
    "a step that is none": (
        answer(lambda pool: ("MaxPooling2D",)),
        "expected steps that are a Make or KEEP, received 'MaxPooling2D'",
    ),
    "a padding without its amount": (
        answer(made(MakeResize, LayerKind.ZERO_PADDING, ())),
        "expected layers that can follow each other, received ValueError",
    ),
    "a kind that Keras has not": (
        answer(made(MakeMedianPool, LayerKind.MAX_POOLING)),
        "can be made and called in the place of MaxPooling2D 'pool', received TypeError",
    ),
    "an activation that Keras has not": (
        answer(made(MakeActivation, LayerKind.ACTIVATION, "strongest")),
        "can be made and called in the place of MaxPooling2D 'pool', received",
    ),
    "a kernel function that fails": (
        answer(conv_of(failing)),
        "received ValueError: no kernel today",
    ),
    "a kernel of another shape": (
        answer(conv_of(lambda shape: np.zeros((1, 2, 3), np.float32))),
        "can be made and called in the place of MaxPooling2D 'pool', received",
    ),
    "no map any more": (
        answer(made(MakeFlatten, LayerKind.FLATTEN)),
        r"pool: expected \(None, 4, 4, 3\) float32, got \(None, 192\) float32",
    ),
    "another size": (
        answer(lambda pool: ()),
        r"pool: expected \(None, 4, 4, 3\) float32, got \(None, 8, 8, 3\) float32",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("promise", [Promise.EXACT, Promise.APPROXIMATE])
def test_a_broken_answer_names_its_rule(K: Any, kind: str, promise: Promise) -> None:
    apply, words = BROKEN[kind]
    image = K.Input((8, 8, 3), name="image")
    x = K.layers.ReLU(name="relu")(image)
    x = K.layers.MaxPooling2D(2, name="pool")(x)
    old = K.Model(image, K.layers.Conv2D(2, 3, name="conv")(x))
    before = laws.snapshot_of(old)
    rule = own(apply, lambda call: call.name == "pool", promise=promise)
    with pytest.raises(BrokenPromise, match=f"(?s)the rule {rule.name} broke its promise.*{words}"):
        swapped(old, rule)
    laws.assert_untouched(before, old)
