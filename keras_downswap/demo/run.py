"""The demonstration: a trained digit classifier, swapped, with its accuracy before and after."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from keras_downswap.api import plan_swaps
from keras_downswap.files.io import load
from keras_downswap.plan import Plan
from keras_downswap.planning.cost import site_cost
from keras_downswap.planning.targets import Method

DATA = files("keras_downswap.demo")
BRIGHTEST = 16
"""The value of a white pixel in the stored images."""
METHODS: tuple[tuple[str, Method], ...] = (("exact swaps only", "exact"), ("all swaps", "auto"))
"""Titles of rows, and the methods that they stand for."""


@dataclass(frozen=True)
class Digits:
    """Images of digits, of shape (images, 8, 8, 1) with values from 0 to 1.

    Attributes:
        unlabelled: Images to fit to.
        images: Other images, to measure the accuracy with.
        labels: The digits that they show.
    """

    unlabelled: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def read(cls) -> Digits:
        """Read the images that come with the package; every second one is left unlabelled."""
        with as_file(DATA / "digits_test.npz") as path, np.load(path) as stored:
            images = stored["images"].astype(np.float32) / BRIGHTEST
            labels = stored["labels"].astype(np.int64)
        unlabelled = images[::2]
        labelled = slice(1, None, 2)
        return cls(unlabelled, images[labelled], labels[labelled])

    def accuracy(self, model: Any) -> float:
        """Return the share of images that a model classifies correctly."""
        predicted = np.argmax(model.predict(self.images, verbose=0), axis=-1)
        return float(np.mean(predicted == self.labels))


def demonstrate(out: Console) -> None:
    """Print plans, swap and verify a model, and show size, MACs and accuracy before and after."""
    with as_file(DATA / "digits_cnn.keras") as path:
        model = load(path)
    digits = Digits.read()
    out.print(
        f"A network trained on 8x8 digits, {len(digits.labels)} labelled test images.\n",
        markup=False,
    )
    table = Table()
    for heading in ("model", "promises", "layers", "parameters", "MACs at the sites", "accuracy"):
        table.add_column(heading)
    macs = _macs_at_sites(plan_swaps(model), after=False)
    table.add_row(*_cells("as trained", "", model, macs, digits))

    # Approximate swaps last: the plan of that round is the one that is fitted below.
    for title, method in METHODS:
        plan = plan_swaps(model, method=method)
        out.print(str(plan), markup=False, soft_wrap=True)
        new, report = plan.apply(return_report=True)
        out.print(f"  {len(report.checks)} checks passed\n", markup=False)
        macs = _macs_at_sites(plan, after=True)
        table.add_row(*_cells(title, _promises(plan), new, macs, digits))

    # The last plan once more, now fitted to the original.
    fitted = plan.apply(calibration_data=digits.unlabelled)
    table.add_row(*_cells("all swaps, fitted", _promises(plan), fitted, macs, digits))
    out.print(table)
    out.print(
        "An exact swap keeps every prediction. The approximate swap of a max pool (the same "
        "kernel with a larger stride) keeps shapes and weights but costs accuracy, here and on "
        "any trained network. Fitting the new model to the original recovers it, here from "
        f"{len(digits.unlabelled)} other images without labels.",
        markup=False,
    )


def _cells(title: str, promises: str, model: Any, macs: int, digits: Digits) -> tuple[str, ...]:
    layers = len(model.layers)
    parameters = model.count_params()
    accuracy = 100 * digits.accuracy(model)
    return title, promises, str(layers), f"{parameters:,}", f"{macs:,}", f"{accuracy:.1f} %"


def _promises(plan: Plan) -> str:
    return ", ".join(str(site.promise) for site in plan.swaps)


def _macs_at_sites(plan: Plan, *, after: bool) -> int:
    """Return the multiplications that the sites of a plan need, before the swap or after it."""
    total = 0
    for site in plan.sites:
        cost = site_cost(plan.graph_of(site), site)
        layers = cost.after if after else cost.before
        # All sizes of this model are known, so every number is.
        total += layers.macs or 0
    return total
