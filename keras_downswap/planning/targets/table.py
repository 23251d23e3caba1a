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


TARGETS: tuple[Target, ...] = (
    Target(
        "strided_conv",
        "a pool goes into the convolution before or after it; an average pool by itself becomes a "
        "depthwise one",
        "exact for averages and subsampling, else the same kernel with the pool's stride, "
        "approximate",
        site_layers=convs_upstream,
        why_not=_is_one_already,
    ),
    Target(
        "subsample",
        "a strided convolution becomes one of stride 1 and a pool of size 1 (before a 1x1 "
        "convolution)",
        "exact, same kernel",
        why_not=_is_a_pool,
    ),
    Target(
        "max_pool",
        "a strided convolution becomes one of stride 1 and a max pool; a 1x1 one a pool and "
        "itself (ResNet-D); an average pool becomes a max pool",
        "approximate, same kernel",
    ),
    Target(
        "average_pool",
        "the same with average pools; a max pool becomes an average pool",
        "approximate, same kernel",
    ),
    Target(
        "cheapest",
        "an average pool moves before its convolution or into it, pools in a row become one, "
        "pools move before activations: whatever needs fewest multiplications",
        "exact",
        strategy=MostSaved(),
        site_layers=convs_upstream,
    ),
    Target(
        "conv_relu",
        "a max pool becomes strided depthwise and 1x1 convolutions with ReLU between them, an "
        "average pool convolutions",
        "exact",
        site_layers=convs_upstream,
    ),
    Target(
        "extra_conv",
        "a pool becomes a strided convolution that starts at the mean, open to training (the "
        "All-CNN form)",
        "exact for averages",
    ),
    Target(
        "blur_pool",
        "a pool or stride gets a fixed binomial blur before its subsampling (Zhang 2019)",
        "approximate, same kernel",
    ),
    Target(
        "space_to_depth",
        "a strided convolution becomes Reshape, Permute and a convolution of stride 1",
        "exact",
    ),
    Target(
        "identity_shortcut",
        "a strided 1x1 convolution on a shortcut becomes a max pool (FishNet's form)",
        "approximate",
    ),
    Target(
        "odd_kernel",
        "an even kernel becomes an odd one",
        "exact",
    ),
    Target(
        "small_pool",
        "a pool becomes pools of prime windows in a row: maxima over 3 with stride 2 are two "
        "over 2",
        "exact",
    ),
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
