"""Every target, in one table: README, help texts and error sentences are made from it."""

from __future__ import annotations

from collections.abc import Iterable

from keras_downswap.ir.graph import Call
from keras_downswap.ir.walks import convs_upstream
from keras_downswap.planning.targets.first_rule import FirstRule
from keras_downswap.planning.targets.most_saved import MostSaved
from keras_downswap.planning.targets.target import Target
from keras_downswap.rulekit.rule import Rule


def _is_one_already(name: str, call: Call) -> str:
    return f"{call.label} already is a strided convolution"


def _is_a_pool(name: str, call: Call) -> str:
    return f"to='{name}' concerns strided convolutions only, and {call.label} is a pool"


STRIDED_CONV = Target(
    "strided_conv",
    "A pool is merged into the convolution before or after it. A lone average pool "
    "becomes a depthwise convolution.",
    "exact for average pools and pools of size 1, otherwise approximate",
    site_layers=convs_upstream,
    why_not=_is_one_already,
)
SUBSAMPLE = Target(
    "subsample",
    "A strided convolution becomes one of stride 1 and a pool of size 1. Before a 1x1 "
    "convolution the pool comes first.",
    "exact, same kernel",
    why_not=_is_a_pool,
)
MAX_POOL = Target(
    "max_pool",
    "A strided convolution becomes one of stride 1 and a max pool. For a 1x1 convolution "
    "the pool comes first (ResNet-D). An average pool becomes a max pool.",
    "approximate, same kernel",
)
AVERAGE_POOL = Target(
    "average_pool",
    "A strided convolution becomes one of stride 1 and an average pool. For a 1x1 "
    "convolution the pool comes first (ResNet-D). A max pool becomes an average pool.",
    "approximate, same kernel",
)
CHEAPEST = Target(
    "cheapest",
    "Average pools move before their convolution or into it. Consecutive pools become "
    "one. Pools move before activations. The form with the fewest multiplications is "
    "used.",
    "exact",
    strategy=MostSaved(),
    site_layers=convs_upstream,
)
CONV_RELU = Target(
    "conv_relu",
    "A max pool becomes strided depthwise and 1x1 convolutions with ReLUs between them. "
    "An average pool becomes convolutions.",
    "exact",
    site_layers=convs_upstream,
)
EXTRA_CONV = Target(
    "extra_conv",
    "A pool becomes a trainable strided convolution that starts as the mean (the All-CNN form).",
    "exact for average pools, otherwise approximate",
)
BLUR_POOL = Target(
    "blur_pool",
    "A pool or a stride gets a fixed binomial blur before it subsamples (Zhang 2019).",
    "approximate, same kernel",
)
SPACE_TO_DEPTH = Target(
    "space_to_depth",
    "A strided convolution becomes Reshape, Permute and a convolution of stride 1.",
    "exact",
)
IDENTITY_SHORTCUT = Target(
    "identity_shortcut",
    "A strided 1x1 convolution on a shortcut becomes a max pool (FishNet).",
    "approximate",
)
ODD_KERNEL = Target(
    "odd_kernel",
    "An even kernel becomes an odd one.",
    "exact",
)
SMALL_POOL = Target(
    "small_pool",
    "A pool becomes consecutive pools with prime windows: a max pool of 3 with stride 2 "
    "becomes two pools of 2.",
    "exact",
)

TARGETS: tuple[Target, ...] = (
    STRIDED_CONV,
    SUBSAMPLE,
    MAX_POOL,
    AVERAGE_POOL,
    CHEAPEST,
    CONV_RELU,
    EXTRA_CONV,
    BLUR_POOL,
    SPACE_TO_DEPTH,
    IDENTITY_SHORTCUT,
    ODD_KERNEL,
    SMALL_POOL,
)
"""Every target of the package, in the order in which people are shown them."""

FIRST_RULE = FirstRule()
"""The strategy of a target that names none."""


def names_of_targets(rules: Iterable[Rule] = ()) -> list[str]:
    """Return the names of all targets, and of those that only some further rules serve."""
    names = [target.name for target in TARGETS]
    for rule in rules:
        names += [name for name in sorted(rule.targets) if name not in names]
    return names


def target_named(name: str, rules: Iterable[Rule]) -> Target | None:
    """Return a target by its name; None where there is none and no rule serves it."""
    for target in TARGETS:
        if target.name == name:
            return target
    served = any(name in rule.targets for rule in rules)
    return Target(name) if served else None
