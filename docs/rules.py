"""Writes docs/rules.md: every rule with its law, an example before and after, its promise, errors and MACs.

    python docs/rules.py > docs/rules.md

The examples of a rule are its test grid: each is swapped and run, in float32 and float64, and the
first is drawn.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import product
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_downswap import NothingSwapped, plan_swaps
from keras_downswap.dialects import read_model
from keras_downswap.ir.graph import Graph
from keras_downswap.planning.cost import site_cost
from keras_downswap.rulekit.rule import Rule
from keras_downswap.rules import RULES

L = keras.layers
MAP, ODD = (16, 16, 4), (17, 15, 4)
Layers = Callable[[], list[Any]]


def conv(filters: int = 4, size: Any = 3, **facts: Any) -> Any:
    facts.setdefault("bias_initializer", "random_normal")
    return L.Conv2D(filters, size, **{"padding": "same", "name": "conv", **facts})


def pool(kind: str, size: Any = 2, strides: Any = None, **facts: Any) -> Any:
    return getattr(L, f"{kind}Pooling2D")(size, strides, **{"name": "pool", **facts})


def norm() -> Any:
    return L.BatchNormalization(
        name="bn", moving_mean_initializer="random_normal", gamma_initializer="random_normal"
    )


EXAMPLES: dict[str, tuple[str, tuple[tuple[Sequence[int | None], Layers], ...]]] = {
    "pool_of_one_into_stride": ("strided_conv", (
        (MAP, lambda: [conv(), L.ReLU(), pool("Max", 1, 2)]), (ODD, lambda: [conv(size=5), pool("Average", 1, 3)]),
    )),
    "average_pool_into_kernel": ("strided_conv", (
        (MAP, lambda: [conv(), norm(), pool("Average")]), (ODD, lambda: [conv(size=(2, 5)), pool("Average", 3, 2)]),
        (ODD, lambda: [conv(strides=2), pool("Average")]), (MAP, lambda: [conv(dilation_rate=2), pool("Average", 4)]),
    )),
    "pool_of_one_into_next_stride": ("strided_conv", (
        (MAP, lambda: [pool("Max", 1, 2), conv(size=1)]), (ODD, lambda: [pool("Max", 1, 3), conv(size=1, strides=2)]),
    )),
    "average_pool_into_next_kernel": ("strided_conv", (
        (MAP, lambda: [pool("Average"), conv()]), (ODD, lambda: [pool("Average"), norm(), conv(strides=2)]),
        (ODD, lambda: [pool("Average", 3, 2), conv(padding="valid")]),
    )),
    "average_pool_into_depthwise": ("strided_conv", (
        (MAP, lambda: [L.ReLU(), pool("Average")]), (ODD, lambda: [L.ReLU(), pool("Average", 3, 2)]),
        (ODD, lambda: [L.ReLU(), pool("Average", (2, 3), (1, 2))]),
    )),
    "pool_into_cover": ("strided_conv", ((MAP, lambda: [conv(activation="relu"), pool("Max")]),)),
    "pool_into_wide": ("strided_conv", ((MAP, lambda: [conv(activation="relu"), pool("Max")]),)),
    "pool_into_stride": ("strided_conv", ((MAP, lambda: [conv(activation="relu"), pool("Max")]),)),
    "pool_into_next_stride": ("strided_conv", ((MAP, lambda: [pool("Max"), conv()]),)),
    "stride_before_pointwise": ("subsample", (
        (MAP, lambda: [conv(size=1, strides=2)]), (ODD, lambda: [conv(size=1, strides=3, activation="relu")]),
    )),
    "stride_into_subsample": ("subsample", (
        (MAP, lambda: [conv(strides=2)]), (ODD, lambda: [conv(size=7, strides=2)]),
        (ODD, lambda: [conv(size=4, strides=3, padding="valid")]),
    )),
    "stride_into_pool": ("max_pool", ((MAP, lambda: [conv(strides=2), L.ReLU()]),)),
    "stride_into_pool_before_pointwise": ("average_pool", ((MAP, lambda: [conv(size=1, strides=2)]),)),
    "pool_into_pool": ("average_pool", ((MAP, lambda: [pool("Max")]),)),
    "pool_of_one_into_pool": ("average_pool", (
        (MAP, lambda: [pool("Max", 1, 2)]), (ODD, lambda: [pool("Max", 1, 3)]),
    )),
    "average_pool_into_extra_conv": ("extra_conv", (
        (MAP, lambda: [pool("Average")]), (ODD, lambda: [pool("Average", 3, 2)]),
    )),
    "pool_into_extra_conv": ("extra_conv", ((MAP, lambda: [pool("Max")]),)),
    "max_pool_into_relus": ("conv_relu", (
        (MAP, lambda: [L.ReLU(), pool("Max")]), (ODD, lambda: [pool("Max", 3, 2)]),
        (ODD, lambda: [L.ReLU(), pool("Max", 3, 2, padding="same")]), (ODD, lambda: [pool("Max", (2, 3))]),
    )),
    "average_pool_into_polyphase": ("conv_relu", (
        (MAP, lambda: [conv(), L.ReLU(), pool("Average")]),
        (ODD, lambda: [conv(activation="gelu"), pool("Average", 3)]),
        (ODD, lambda: [conv(size=2, strides=2, activation="tanh"), pool("Average")]),
    )),
    "average_pool_before_pointwise": ("cheapest", (
        (MAP, lambda: [conv(size=1), pool("Average")]),
        (ODD, lambda: [conv(size=1), norm(), pool("Average", padding="same")]),
    )),
    "average_pool_before_conv": ("cheapest", (
        (MAP, lambda: [conv(), pool("Average")]), (ODD, lambda: [conv(size=5), norm(), pool("Average", 3, 2)]),
    )),
    "pools_into_one": ("cheapest", (
        (MAP, lambda: [pool("Max", name="a"), pool("Max", 3, 2, name="b")]),
        (ODD, lambda: [pool("Average", name="a"), pool("Average", 3, 2, name="b")]),
    )),
    "pool_into_smaller": ("small_pool", (
        (MAP, lambda: [pool("Max", 3, 2)]), (ODD, lambda: [pool("Max", (5, 4), 4)]),
        (MAP, lambda: [pool("Average", 4)]),
    )),
    "pool_before_elementwise": ("cheapest", (
        (MAP, lambda: [L.ReLU(), pool("Max", 3, 2)]), (ODD, lambda: [norm(), pool("Average", padding="same")]),
    )),
    "pool_into_blur": ("blur_pool", ((MAP, lambda: [pool("Max")]),)),
    "stride_into_blur": ("blur_pool", ((MAP, lambda: [conv(strides=2), L.ReLU()]),)),
    "stride_into_depth": ("space_to_depth", (
        (MAP, lambda: [conv(strides=2)]), (ODD, lambda: [conv(size=7, strides=3)]),
    )),
    "shortcut_into_pool": ("identity_shortcut", ((MAP, lambda: [conv(size=1, strides=2), "add"]),)),
    "kernel_into_larger": ("odd_kernel", (
        (MAP, lambda: [conv(size=4)]), (ODD, lambda: [conv(size=(2, 3), strides=2)]),
    )),
}  # fmt: skip
"""For each rule the target that calls it, and models: an input shape and a chain of layers."""
FORMS: dict[str, dict[str, Any]] = {"cover": {"kernel": "cover"}, "wide": {"method": "wide"}}
"""By what a rule of a form is asked for."""


def built(shape: Sequence[int | None], layers: Layers, dtype: str) -> Any:
    keras.utils.set_random_seed(1)
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        image = x = keras.Input(tuple(shape), name="image", dtype=dtype)
        for layer in layers():
            x = L.Add(name="add")([x, pool("Max")(image)]) if layer == "add" else layer(x)
        return keras.Model(image, x)
    finally:
        keras.config.set_dtype_policy(usual)


def drawn(graph: Graph) -> str:
    lines = [line for line in str(graph).splitlines() if "InputLayer" not in line]
    return "\n".join(f"    {line}" for line in lines)


def largest_difference(old: Any, new: Any, dtype: str) -> float:
    shape = (2, *old.input_shape[1:])
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(dtype)
    a, b = (np.asarray(model(x, training=False)) for model in (old, new))
    return float(np.abs(a - b).max() / np.abs(a).max())


def bound(value: float) -> str:
    """Return a difference as the next power of ten above it."""
    return "0" if value == 0 else f"< 1e{int(np.ceil(np.log10(value)))}"


def section(rule: Rule) -> str:
    to, examples = EXAMPLES[rule.name]
    worst = {"float32": 0.0, "float64": 0.0}
    first: Any = None
    for (shape, layers), dtype in product(examples, worst):
        old = built(shape, layers, dtype)
        plan = plan_swaps(old, to, **FORMS.get(rule.form, {}))
        site = next((s for s in plan.swaps if rule.name in str(s.rule).split(" + ")), None)
        if site is None:
            raise AssertionError(f"{rule.name} does not take its example:\n{plan}")
        new, graph = plan.apply(), plan.graph_of(site)
        worst[dtype] = max(worst[dtype], largest_difference(old, new, dtype))
        first = first or (
            drawn(graph),
            drawn(read_model(new).graph),
            site_cost(graph, site),
        )
    before, after, cost = first
    law = import_module(rule.apply.__module__).__doc__.strip()
    exact = rule.promise.value == "exact"
    errors = ", ".join(f"{bound(error)} in {dtype}" for dtype, error in worst.items())
    facts = [
        f"serves: {', '.join(f'`{t}`' for t in sorted(rule.targets))}",
        *(f'asked for with `{key}="{value}"`' for key, value in FORMS.get(rule.form, {}).items()),
        f"promise: {rule.promise.value}" + ("; weights move verbatim" if rule.verbatim else ""),
        f"MACs of the example: {_ratio(cost.before.macs, cost.after.macs)}",
    ]
    if exact:
        facts.append(
            f"largest difference over {len(examples)} models, relative to the largest output: {errors}"
        )
    listed = "\n".join(f"* {fact}" for fact in facts)
    return f"## {rule.name}\n\n{rule.summary}\n\n{listed}\n\n{law}\n\nBefore:\n\n{before}\n\nAfter:\n\n{after}\n"


def _ratio(before: int | None, after: int | None) -> str:
    if not before or after is None:
        return f"{before or 0:,} -> {after or 0:,}"
    return f"{before:,} -> {after:,} ({after / before:.2f})"


def page() -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingSwapped)
        own = [rule for rule in RULES if rule.apply.__module__.startswith("keras_downswap.")]
        sections = [section(rule) for rule in own]
    head = (
        "# Every rule\n\n"
        "Written by `python docs/rules.py > docs/rules.md` from the rules themselves and from models that it swaps\n"
        "and runs; a test holds it to the code. Rules of a target are asked in this order, and the first that does\n"
        "not refuse takes the call; `cheapest` and profiles ask all and take the one that saves most\n"
        "multiplications. Pools are counted as costing none.\n"
    )
    index = "\n".join(
        f"| [{rule.name}](#{rule.name}) | {rule.promise.value} | {rule.summary} |" for rule in own
    )
    return "\n".join(
        [head, f"| rule | promise | what it does |\n| --- | --- | --- |\n{index}\n", *sections]
    )


if __name__ == "__main__":
    print(page(), end="")
