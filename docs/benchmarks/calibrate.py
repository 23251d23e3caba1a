"""Points of accuracy that a trained network loses when its pools become strides and it is fitted.

    python docs/benchmarks/calibrate.py cifar10 [--model FILE] [--rows NAME ...] [--seeds 3]
        [--epochs 12] [--plain] [--name NAME]
    python docs/benchmarks/calibrate.py mnist
    python docs/benchmarks/calibrate.py FILE.npz --model FILE
    python docs/benchmarks/calibrate.py cifar10 --curve 16 64 256 1024 4096
    python docs/benchmarks/calibrate.py cifar10 --rows cover --budgets 8 15 30 60

Images of the training split are fitted to, those of the test split measured with; labels serve to
train a teacher where no model is given, and to measure. A .npz holds x_train, x_test (as the model
takes them, or 0..255), y_test, and y_train where a teacher is trained. What each seed lost, and the
seconds of the fit alone, are written to docs/measurements/calibrate-NAME.json, where NAME is the
data's unless it is given; tables show medians.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import rich
from recording import record
from rich.table import Table

from keras_downswap import calibrate, load, plan_swaps, swap_downsampling
from keras_downswap.planning.cost import site_cost

ALL = 10**9
ROWS: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "same kernel, copied": ({}, 0, {}),
    "same kernel": ({}, 4096, {}),
    "cover": ({"form": "cover"}, 4096, {}),
    "cover, all images": ({"form": "cover"}, ALL, {}),
    "cover, closed form": ({"form": "cover"}, 1024, {"method": "least_squares"}),
    "wide": ({"form": "wide"}, 1024, {}),
    "max -> average pool, closed form": ({"to": "average_pool"}, 512, {"method": "least_squares"}),
    "copy": ({"method": "copy"}, 4096, {}),
    "max_drop=0.01": ({"max_drop": 0.01}, 4096, {}),
    "exact only": ({"method": "exact"}, 0, {}),
}
"""What is asked of the swap, how many images are fitted to, and what is asked of the fit."""


@dataclass(frozen=True)
class Case:
    """One row of a table: a form, how many images it is fitted to, and for how long at most."""

    row: str
    images: int
    budget: float | None

    @property
    def form(self) -> str:
        """The form alone: the number of images is a field of its own."""
        return self.row.removesuffix(", all images")


@dataclass(frozen=True)
class Data:
    """Images to fit to, and images with labels to measure with; labels of the former, if any."""

    train: Any
    train_labels: Any
    test: Any
    test_labels: Any


def data_of(name: str) -> Data:
    """Return the data of a .npz file, or of `keras.datasets`."""
    if name.endswith(".npz"):
        with np.load(name) as found:
            x, y = found["x_train"], found.get("y_train")
            test, test_labels = found["x_test"], found["y_test"]
    else:
        (x, y), (test, test_labels) = getattr(keras.datasets, name).load_data()
    if x.ndim == 3:
        x = x[..., None]
        test = test[..., None]
    return Data(x, y, test, test_labels.ravel())


def scaled(x: Any) -> Any:
    """Return bytes as numbers from 0 to 1, all else as it is."""
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x


def teacher(x: Any, y: Any, epochs: int, plain: bool) -> Any:
    """Train [conv, BatchNormalization, relu] twice and a max pool, three times.

    With `plain` the convolutions have biases and there is no BatchNormalization.
    """
    keras.utils.set_random_seed(0)
    L = keras.layers
    inputs = z = keras.Input(x.shape[1:])
    for filters in (24, 32, None, 48, 64, None, 96, 128, None):
        if filters is None:
            z = L.MaxPooling2D(2)(z)
            continue
        start = "he_normal"
        z = L.Conv2D(filters, 3, padding="same", use_bias=plain, kernel_initializer=start)(z)
        if not plain:
            z = L.BatchNormalization(momentum=0.9)(z)
        z = L.ReLU()(z)
    z = L.Dropout(0.2)(L.GlobalAveragePooling2D()(z))
    model = keras.Model(inputs, L.Dense(10)(z))
    steps = epochs * (len(x) // 128)
    rate = keras.optimizers.schedules.CosineDecay(1e-3 if plain else 3e-3, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(scaled(x), y.ravel(), batch_size=128, epochs=epochs, verbose=2)
    return model


def accuracy(model: Any, x: Any, y: Any) -> float:
    """Return the share of right answers, in percent."""
    right = 0
    for start in range(0, len(x), 500):
        answers = model.predict_on_batch(scaled(x[start : start + 500])).argmax(-1)
        right += int((answers == y[start : start + 500]).sum())
    return 100 * right / len(x)


def macs_of(model: Any) -> int:
    """Return the multiplications of a model's convolutions for one sample."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "kernel") and len(layer.kernel.shape) > 2:
            shape = layer.output.shape
            positions = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
            total += math.prod(positions) * math.prod(layer.kernel.shape)
    return total


def site_macs(model: Any, new: Any) -> float | None:
    """Return the MACs of all pairs of a convolution and a pool, by those before the swap."""
    plan = plan_swaps(model)
    before = sum(site_cost(plan.graph_of(site), site).before.macs for site in plan.swaps)
    if not before:
        return None
    return round((before + macs_of(new) - macs_of(model)) / before, 4)


def fitted(model: Any, case: Case, x: Any, seed: int) -> tuple[Any, float]:
    """Return a swapped and fitted model, and how many seconds the fit took."""
    swap, _, fit = ROWS[case.row]
    chosen = np.random.default_rng(seed).permutation(len(x))[: case.images]
    images = scaled(x[np.sort(chosen)])
    start = time.perf_counter()
    if "max_drop" in swap:
        plan = plan_swaps(model)
        new, report = plan.apply(
            return_report=True,
            calibration_data=images,
            max_drop=swap["max_drop"],
            budget=case.budget,
            verbose=False,
        )
        rich.print(str(report.choices))
        return new, time.perf_counter() - start
    new = swap_downsampling(model, **swap)
    start = time.perf_counter()
    if case.images:
        calibrate(
            new, original=model, data=images, seed=seed, verbose=False, budget=case.budget, **fit
        )
    return new, time.perf_counter() - start


def measured(model: Any, case: Case, data: Data, seeds: int, best: float) -> dict[str, Any]:
    """Return what each seed lost, and how long its fit took."""
    lost, times, macs = [], [], []
    for seed in range(seeds if case.images else 1):
        new, took = fitted(model, case, data.train, seed)
        lost.append(round(best - accuracy(new, data.test, data.test_labels), 2))
        times.append(round(took, 1))
        macs.append(site_macs(model, new))
    print(f"{case}: {lost} points lost, {times} seconds")
    return {
        "form": case.form,
        "images": case.images,
        "budget": case.budget,
        "points_lost": lost,
        "seconds": times,
        "site_macs": macs[0] if len(set(macs)) == 1 else macs,
    }


def shown(rows: list[dict[str, Any]], best: float) -> Table:
    title = f"teacher: {best:.2f} %"
    table = Table("form", "images", "budget", "points lost", "seconds", title=title)
    for row in rows:
        lost = statistics.median(row["points_lost"])
        took = statistics.median(row["seconds"])
        budget = str(row["budget"] or "-")
        table.add_row(row["form"], f"{row['images']:,}", budget, f"{lost:.2f}", f"{took:.0f}")
    return table


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("data")
    add("--model", type=Path)
    add("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    add("--curve", nargs="+", type=int, default=[], help="numbers of images, for each row")
    add("--budgets", nargs="+", type=float, default=[], help="seconds of a fit, for each row")
    add("--seeds", type=int, default=3)
    add("--epochs", type=int, default=12)
    add("--plain", action="store_true", help="train without BatchNormalization")
    add("--save", type=Path, help="write the trained model here")
    add("--name", help="of the file docs/measurements/calibrate-NAME.json")
    return parser.parse_args()


def cases_of(options: argparse.Namespace, most: int) -> list[Case]:
    """Return the rows that were asked for, each with each number of images and each budget."""
    cases = []
    for row in options.rows:
        for count in options.curve or [ROWS[row][1]]:
            for budget in options.budgets or [None]:
                cases.append(Case(row, min(count, most), budget))
    return cases


def main() -> None:
    options = asked()
    data = data_of(options.data)
    if options.model:
        model = load(options.model)
    else:
        model = teacher(data.train, data.train_labels, options.epochs, options.plain)
    if options.save:
        model.save(options.save)
    best = accuracy(model, data.test, data.test_labels)
    cases = cases_of(options, len(data.train))
    rows = [measured(model, case, data, options.seeds, best) for case in cases]
    rich.print(shown(rows, best))

    ending = "-plain" if options.plain else ""
    name = options.name or f"{Path(options.data).stem}{ending}"
    settings = {
        "data": Path(options.data),
        "model": options.model or f"trained here, {options.epochs} epochs",
        "teacher_accuracy": round(best, 2),
        "seeds": options.seeds,
    }
    written = record(f"calibrate-{name}", rows, ["form", "images", "budget"], settings)
    print(f"wrote {written}")


if __name__ == "__main__":
    main()
