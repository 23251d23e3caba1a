"""The demonstration: a trained digit classifier, swapped, with its accuracy before and after."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from keras_downswap.api import plan_swaps
from keras_downswap.files import io as model_files
from keras_downswap.plan import Plan
from keras_downswap.planning.cost import site_cost
from keras_downswap.planning.find import Method

HERE = "keras_downswap.demo"


def demonstrate(out: Console) -> None:
    """Print the plan, swap the model both ways, verify, and show size, MACs and accuracy before and after."""
    with as_file(files(HERE) / "digits_cnn.keras") as path:
        model = model_files.load(path)
    (unlabelled, images), labels = _digits()
    out.print(
        f"A network trained on 8x8 digits, {len(labels)} labelled test images.\n", markup=False
    )
    table = Table("model", "promises", "layers", "parameters", "MACs at the sites", "accuracy")
    _row(table, "as trained", "", model, _macs(plan_swaps(model), after=False), images, labels)
    wishes: tuple[tuple[str, Method], ...] = (("only exact swaps", "exact"), ("every swap", "auto"))
    for title, method in wishes:
        plan = plan_swaps(model, method=method)
        out.print(str(plan), markup=False, soft_wrap=True)
        new, report = plan.apply(return_report=True)
        out.print(f"  {len(report.checks)} checks held\n", markup=False)
        promises = ", ".join(str(site.promise) for site in plan.swaps)
        _row(table, title, promises, new, _macs(plan, after=True), images, labels)
    fitted = plan.apply(calibration_data=unlabelled)
    _row(table, "every swap, fitted", promises, fitted, _macs(plan, after=True), images, labels)
    out.print(table)
    out.print(
        "An exact swap keeps every prediction. The article's swap (approximate: same kernel, larger stride) keeps\n"
        "shapes and weights but costs accuracy, here and on any trained network; fitting it to the original brings\n"
        f"that back, here from {len(unlabelled)} other images without labels.",
        markup=False,
    )


def _digits() -> tuple[tuple[NDArray[np.float32], NDArray[np.float32]], NDArray[np.int64]]:
    """Return images to fit to, images to measure with, and the labels of these."""
    with as_file(files(HERE) / "digits_test.npz") as path, np.load(Path(path)) as data:
        images = data["images"].astype(np.float32) / 16
        return (images[::2], images[1::2]), data["labels"][1::2].astype(np.int64)


def _macs(plan: Plan, *, after: bool) -> int:
    costs = [site_cost(plan.graph_of(site), site) for site in plan.sites]
    return sum((cost.after if after else cost.before).macs or 0 for cost in costs)


def _row(
    table: Table,
    title: str,
    promises: str,
    model: Any,
    macs: int,
    images: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> None:
    right = np.argmax(model.predict(images, verbose=0), axis=-1) == labels
    count = f"{model.count_params():,}"
    table.add_row(
        title, promises, str(len(model.layers)), count, f"{macs:,}", f"{100 * right.mean():.1f} %"
    )
