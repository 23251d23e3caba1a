"""Random whole models keep every law under every target and method; see `random_models` for what is
drawn.
"""

from __future__ import annotations

import gc
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from support import laws
from support.random_layers import Layer
from support.random_models import models
from support.random_recipe import Recipe

from keras_downswap import NothingSwapped, Report, plan_swaps, swap_downsampling
from keras_downswap.planning.limits import profiles
from keras_downswap.planning.targets import names_of_targets

BOUNDED = tuple(
    f"profile:{name}" for name in profiles() if name != "no_max_pool"
)  # whose limits are those of `verified`
ALL = tuple(dict.fromkeys(("strided_conv", *sorted(names_of_targets()), *BOUNDED)))
WAYS: tuple[dict[str, Any], ...] = (
    {}, {"method": "exact"}, {"method": "copy"}, {"mixed": True},
    *({"form": "cover"}, {"form": "wide"}) * 3,
)  # fmt: skip
"""Options of a swap; `mixed` gives each approximate site a form of its own.

Few pairs can take these forms, so they are drawn more often.
"""
FORMS = ("wide", "kept", "cover", "same")
MODELS = int(
    os.environ.get(
        "RANDOM_MODELS", (4 if laws.BACKEND == "tensorflow" else 1) * settings().max_examples
    )
)
"""Models per Keras: 240 in the profile `ci` (60 on JAX), always the same; HYPOTHESIS_PROFILE=long
draws others.
"""
TOLERANCE = {"float64": 1e-9, "float32": 1e-4, "float16": 5e-2}
"""By the coarsest dtype of the model, of the largest output: many layers enlarge what one exact
swap rounds.
"""


def coarsest(recipe: Recipe) -> str:
    """Return the coarsest dtype in which a model computes."""
    found = {
        step.layer.arguments.get("dtype")
        for _, step in recipe.flat()
        if isinstance(step.layer, Layer)
    }
    if found and found <= {"float64"}:
        return "float64"
    return "float16" if "mixed_float16" in found else "float32"


def swapped(old: Any, to: str, way: dict[str, Any]) -> tuple[Any, Report]:
    """Swap in one of the ways; return the new model and its report."""
    if "mixed" not in way:
        new, report = swap_downsampling(old, to=to, return_report=True, **way)
        return new, report
    plan = plan_swaps(old, to=to)
    near = [site for site in plan.swaps if site.promise == "approximate"]
    forms = {
        (site.scope, call): FORMS[n % len(FORMS)]
        for n, site in enumerate(near)
        for call in site.calls
    }
    made, mixed = plan.in_forms(forms).apply(return_report=True)
    return made, mixed


def assert_holds(
    K: Any,
    old: Any,
    recipe: Recipe,
    way: dict[str, Any],
    folder: Path | None,
    targets: Sequence[str] = ALL,
) -> list[Report]:
    """Assert every law of one model for some targets; return the reports."""
    samples = recipe.samples(old)
    reports = []
    for to in targets:
        before = laws.snapshot_of(old)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NothingSwapped)
            new, report = swapped(old, to, way)
        note(str(report))
        reports.append(report)
        laws.assert_untouched(before, old)
        laws.assert_same_boundary(old, new)
        laws.assert_nothing_shared(old, new)
        laws.assert_accounted(old, report)
        laws.assert_weights_kept(old, new, laws.composed(old, new, report))
        wanted, made = (
            [laws.values(model, x) for x in samples] for model in (old, new)
        )  # may move statistics alike
        assert [[y.shape for y in ys] for ys in made] == [[y.shape for y in ys] for ys in wanted]
        promises = {site.promise for site in report.sites if site.status == "swapped"}
        if promises <= {"exact"}:
            for olds, news in zip(wanted, made, strict=True):
                laws.assert_close(olds, news, TOLERANCE[coarsest(recipe)] if promises else 0)
        if "mixed" not in way:
            laws.assert_idempotent(new, to, **way)
        if folder is not None and to == targets[len(recipe.steps) % len(targets)]:
            laws.assert_survives_as_the_original_does(old, new, folder)
    return reports


def seen_in(recipe: Recipe, reports: list[Report]) -> Counter[str]:
    """Count what a model has, and what the swaps made of it."""
    sites = [site for report in reports for site in report.sites]
    seen = Counter(str(site.promise or site.status) for site in sites)
    seen.update(rule for site in sites if site.rule for rule in {*site.rule.split(" + ")})
    joins = re.compile(r"(add|subtract|multiply|maximum|minimum|average|concatenate)(_\d+)?")
    seen["swaps through joins"] = sum(
        any(joins.fullmatch(name.split("/")[-1]) for name in site.layers)
        for site in sites
        if site.status == "swapped"
    )
    seen["pools behind pools"] = sum(" + " in str(site.rule) for site in sites)
    calls = Counter((depth, step.key) for depth, step in recipe.flat())
    swapped = {
        name.split("/")[-1] for site in sites if site.status == "swapped" for name in site.layers
    }
    seen["swaps inside nested models"] = sum(
        "/" in site.layers[0] for site in sites if site.status == "swapped"
    )
    seen["swapped models with shared layers"] = bool(swapped) and any(n > 1 for n in calls.values())
    seen["nested models"] = any(isinstance(step.layer, Recipe) for _, step in recipe.flat())
    seen["models in nested models"] = any(
        depth and isinstance(step.layer, Recipe) and not step.layer.cut
        for depth, step in recipe.flat()
    )
    seen["several outputs"] = len(recipe.outputs) > 1
    seen["joins"] = any(len(step.on) > 1 for _, step in recipe.flat())
    seen["unknown sizes"] = any(not spec.known for spec in recipe.inputs)
    seen["models"] = 1
    return seen


FLOORS = {
    "exact": 300, "approximate": 100, "kept": 400, "average_pool_into_kernel": 5,
    "pool_into_stride": 20,
    "pool_of_one_into_stride": 5, "stride_into_pool": 5, "stride_into_subsample": 10,
    "pool_into_pool": 10,
    "average_pool_into_depthwise": 20, "max_pool_into_relus": 20, "kernel_into_larger": 20,
    "pool_into_blur": 10,
    "stride_into_blur": 5, "stride_into_depth": 5, "average_pool_into_extra_conv": 5,
    "pool_into_next_stride": 2,
    "pool_into_cover": 10, "pool_into_wide": 10, "pools behind pools": 1, "swaps through joins": 5,
    "swaps inside nested models": 30,
    "swapped models with shared layers": 20, "nested models": 50, "models in nested models": 10,
    "several outputs": 50, "joins": 30, "unknown sizes": 10,
}  # fmt: skip
"""What 400 models must have shown at least, and fewer accordingly; most show several times as much.
"""


@pytest.mark.filterwarnings("ignore:You are using a softmax over axis")
def test_random_models_keep_every_law(K: Any, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    free = {"free_memory": False} if K.__name__ == "keras" else {}

    @settings(max_examples=MODELS)
    @given(
        recipe=models(),
        way=st.sampled_from(WAYS),
        saved=st.integers(0, 4),
        targets=st.lists(st.sampled_from(ALL[1:]), min_size=3, max_size=3, unique=True),
    )
    def each_keeps_every_law(
        recipe: Recipe, way: dict[str, Any], saved: int, targets: list[str]
    ) -> None:
        K.backend.clear_session(**free)
        try:
            model = recipe.build(K)
        except (
            ValueError
        ) as error:  # Keras 3 cannot cut every model out of a graph that shares layers with it
            assert "is not connected to `inputs`" in str(error)  # noqa: PT017
            seen["not built"] += 1
            return
        reports = assert_holds(
            K, model, recipe, way, tmp_path if saved == 0 else None, [ALL[0], *targets]
        )
        seen.update(found := seen_in(recipe, reports))
        for what in +found:
            event(what)
        if seen["models"] % 50 == 0:
            gc.collect()

    each_keeps_every_law()
    assert seen["not built"] <= 0.01 * MODELS + 1
    enough, share = seen["models"] >= 200, seen["models"] / 400
    missed = {
        what: seen[what]
        for what, floor in FLOORS.items()
        if enough and seen[what] < min(1, share) * floor
    }
    assert not missed, f"the models drawn show too few of {missed}: {seen}"
