"""Writes docs/architectures.md: what each target finds in the architectures that people use.

    python docs/architectures.py > docs/architectures.md

Models are planned and not built, and untrained: no target looks at trained values.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import keras
from support import architectures

from keras_downswap import Plan, plan_swaps
from keras_downswap.ir.replacement import Replacement
from keras_downswap.planning.cost import cost_of, site_cost
from keras_downswap.planning.limits import PREFIX, profiles
from keras_downswap.planning.targets import names_of_targets

MODELS: dict[str, Callable[[], Any]] = {
    **{
        name: lambda name=name: getattr(keras.applications, name)(weights=None)
        for name in (
            "VGG16", "ResNet50", "ResNet50V2", "DenseNet121", "InceptionV3", "Xception",
            "MobileNetV2", "EfficientNetB0", "NASNetMobile",
        )
    },
    "SqueezeNet": lambda: architectures.squeezenet_1_1(keras),
    "FishNet": lambda: architectures.fishnet_like(keras),
    "ResNet-D": lambda: architectures.resnet_d(keras),
}  # fmt: skip
HEAD = """# What the targets find in known architectures

Written by `python docs/architectures.py > docs/architectures.md`; a test compares a part of it with
the code. The models of `keras.applications` have their own input sizes. SqueezeNet 1.1 (Iandola et
al. 2016), a small network after FishNet (Sun et al. 2018) and a ResNet-D (He et al. 2019) are built
after their papers. Each row is a target: how many sites it swaps exactly, how many approximately,
and how many calls it keeps (the report has the reason of each); the multiplications of the whole
network after the swap, by those before it; and how often each rule was used. Pools are counted as
costing none.
"""


def row(model: Any, to: str) -> str:
    """Return what one target finds in a model, as a row of a table."""
    plan = plan_swaps(model, to=to)
    exact = sum(site.promise == "exact" for site in plan.swaps)
    approximate = len(plan.swaps) - exact
    kept = len(plan.refusals)

    costs = [site_cost(plan.graph_of(site), site) for site in plan.swaps]
    more = sum((cost.after.macs or 0) - (cost.before.macs or 0) for cost in costs)
    ratio = 1 + more / macs_of(plan)

    # A site that several rules swapped one after another names all of them.
    used = Counter(name for site in plan.swaps for name in str(site.rule).split(" + "))
    rules = ", ".join(f"{rule} {times}" for rule, times in sorted(used.items()))
    return f"| `{to}` | {exact} | {approximate} | {kept} | {ratio:.2f} | {rules} |"


def macs_of(plan: Plan) -> int:
    """Return the multiplications of a whole network for one sample, nested models included."""
    total = 0
    for _, graph in plan.graph_of(plan.sites[0]).scopes():
        for call in graph.calls:
            if call.windows:
                unchanged = Replacement((call.index,), {})
                total += cost_of(graph, unchanged).macs or 0
    return total


def table(name: str) -> str:
    """Return the section of one architecture."""
    model = MODELS[name]()
    targets = [*sorted(names_of_targets()), *(f"{PREFIX}{profile}" for profile in profiles())]
    columns = ["target", "exact", "approximate", "kept", "MACs", "rules"]
    lines = [
        f"## {name}",
        "",
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---' for _ in columns)} |",
        *(row(model, to) for to in targets),
        "",
    ]
    return "\n".join(lines)


def page(names: Iterable[str] = MODELS) -> str:
    """Return the page with the sections of some architectures."""
    return "\n".join([HEAD, *(table(name) for name in names)])


if __name__ == "__main__":
    print(page(), end="")
