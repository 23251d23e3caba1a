"""Writes docs/architectures.md: what each target finds in the architectures that people use.

    python docs/architectures.py > docs/architectures.md

Plans alone, on untrained models: sites are told by their shapes, and no target looks at trained
values.
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

from keras_downswap import plan_swaps
from keras_downswap.ir.replacement import Replacement
from keras_downswap.planning.cost import cost_of, site_cost
from keras_downswap.planning.limits import PREFIX, profiles
from keras_downswap.rules import TARGETS

MODELS: dict[str, Callable[[], Any]] = {
    **{
        name: lambda name=name: getattr(keras.applications, name)(weights=None)
        for name in (
            "VGG16", "ResNet50", "ResNet50V2", "DenseNet121", "InceptionV3", "Xception", "MobileNetV2",
            "EfficientNetB0", "NASNetMobile",
        )
    },
    "SqueezeNet": lambda: architectures.squeezenet_1_1(keras),
    "FishNet": lambda: architectures.fishnet_like(keras),
    "ResNet-D": lambda: architectures.resnet_d(keras),
}  # fmt: skip
HEAD = """# What the targets find in known architectures

Written by `python docs/architectures.py > docs/architectures.md`; a test holds a part of it to the code. The models of
`keras.applications` at their own input sizes; SqueezeNet 1.1 (Iandola et al. 2016), a small network after FishNet
(Sun et al. 2018) and a ResNet-D (He et al. 2019), built after their papers. For each target how many sites are swapped
exactly, how many approximately, and how many calls are kept, each with its reason in the report; and the
multiplications of the whole network after the swap, by those before it, and how often which rule was used. Pools are
counted as costing none.
"""


def row(model: Any, to: str) -> str:
    plan = plan_swaps(model, to)
    exact = sum(site.promise == "exact" for site in plan.swaps)
    graphs = [graph for _, graph in plan.graph_of(plan.sites[0]).scopes()]
    whole = sum(
        cost_of(g, Replacement((c.index,), {})).macs or 0
        for g in graphs
        for c in g.calls
        if c.windows
    )
    how = Counter(name for site in plan.swaps for name in str(site.rule).split(" + "))
    rules = ", ".join(f"{rule} {times}" for rule, times in sorted(how.items()))
    costs = [site_cost(plan.graph_of(site), site) for site in plan.swaps]
    more = sum((cost.after.macs or 0) - (cost.before.macs or 0) for cost in costs)
    return f"| `{to}` | {exact} | {len(plan.swaps) - exact} | {len(plan.refusals)} | {1 + more / whole:.2f} | {rules} |"


def table(name: str) -> str:
    model = MODELS[name]()
    lines = [row(model, to) for to in (*TARGETS, *(f"{PREFIX}{profile}" for profile in profiles()))]
    head = "| target | exact | approximate | kept | MACs | rules |\n| --- | --- | --- | --- | --- | --- |"
    return f"## {name}\n\n{head}\n" + "\n".join(lines) + "\n"


def page(names: Iterable[str] = MODELS) -> str:
    return "\n".join([HEAD, *(table(name) for name in names)])


if __name__ == "__main__":
    print(page(), end="")
