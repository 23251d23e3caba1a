"""Points of accuracy that a trained network loses when all its pools become strides, fitted without labels.

    python docs/benchmarks/calibrate.py cifar10 [--model FILE] [--rows NAME ...] [--seeds 3]
        [--epochs 12] [--plain]
    python docs/benchmarks/calibrate.py mnist
    python docs/benchmarks/calibrate.py FILE.npz --model FILE
    python docs/benchmarks/calibrate.py cifar10 --curve 16 64 256 1024 4096
    python docs/benchmarks/calibrate.py cifar10 --rows cover --budgets 8 15 30 60

Images of the training split are fitted to, those of the test split measured with; labels serve to
train a teacher where no model is given, and to measure. A .npz holds x_train, x_test (as the model
takes them, or 0..255), y_test, and y_train where a teacher is trained. Each figure is the median
over the seeds; seconds are those of the fit alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import rich
from rich.table import Table

from keras_downswap import calibrate, plan_swaps, swap_downsampling
from keras_downswap.files import io as files
from keras_downswap.search.max_drop import search_forms

ALL = 10**9
ROWS: dict[str, tuple[dict[str, Any], int, dict[str, Any]]] = {
    "same kernel": ({}, 4096, {}),
    "cover": ({"kernel": "cover"}, 4096, {}),
    "cover, all images": ({"kernel": "cover"}, ALL, {}),
    "cover, closed form": ({"kernel": "cover"}, 1024, {"method": "least_squares"}),
    "wide": ({"method": "wide"}, 1024, {}),
    "max -> average pool": ({"to": "average_pool"}, 512, {"method": "least_squares"}),
    "copy": ({"method": "copy"}, 4096, {}),
    "max_drop=0.01": ({"max_drop": 0.01}, 4096, {}),
    "exact only": ({"method": "exact"}, 0, {}),
}
"""For each row what is asked of the swap, how many images are fitted to, and what is asked of the fit."""


def data_of(name: str) -> tuple[Any, Any, Any, Any]:
    """Return training images and labels (None where there are none), test images and labels."""
    if name.endswith(".npz"):
        with np.load(name) as found:
            x, y, tx, ty = found["x_train"], found.get("y_train"), found["x_test"], found["y_test"]
    else:
        (x, y), (tx, ty) = getattr(keras.datasets, name).load_data()
    x, tx = (part[..., None] if part.ndim == 3 else part for part in (x, tx))
    return x, y, tx, ty.ravel()


def scaled(x: Any) -> Any:
    return x.astype(np.float32) / 255 if x.dtype == np.uint8 else x


def teacher(x: Any, y: Any, epochs: int, plain: bool) -> Any:
    """Train a network of [conv, BatchNormalization, relu] twice and a max pool, three times; plain: without norms."""
    keras.utils.set_random_seed(0)
    L = keras.layers
    inputs = z = keras.Input(x.shape[1:])
    for filters in (24, 32, None, 48, 64, None, 96, 128, None):
        if filters is None:
            z = L.MaxPooling2D(2)(z)
        else:
            z = L.Conv2D(
                filters, 3, padding="same", use_bias=plain, kernel_initializer="he_normal"
            )(z)
            z = L.ReLU()(z if plain else L.BatchNormalization(momentum=0.9)(z))
    z = L.Dropout(0.2)(L.GlobalAveragePooling2D()(z))
    model = keras.Model(inputs, L.Dense(10)(z))
    steps = epochs * (len(x) // 128)
    rate = keras.optimizers.schedules.CosineDecay(1e-3 if plain else 3e-3, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(scaled(x), y.ravel(), batch_size=128, epochs=epochs, verbose=2)
    return model


def accuracy(model: Any, x: Any, y: Any) -> float:
    parts = [
        model.predict_on_batch(scaled(x[i : i + 500])).argmax(-1) for i in range(0, len(x), 500)
    ]
    return 100 * float((np.concatenate(parts) == y).mean())


def one(
    model: Any, row: str, count: int, x: Any, seed: int, budget: float | None
) -> tuple[Any, float]:
    """Return a swapped and fitted model, and how long the fit took."""
    swap, _, fit = ROWS[row]
    images = scaled(x[np.sort(np.random.default_rng(seed).permutation(len(x))[:count])])
    start = time.perf_counter()
    if "max_drop" in swap:
        new, report = search_forms(
            plan_swaps(model), swap["max_drop"], images, budget, verbose=False
        )
        rich.print(str(report.choices))
        return new, time.perf_counter() - start
    new = swap_downsampling(model, **swap)
    start = time.perf_counter()
    if count:
        calibrate(new, model, images, seed=seed, verbose=False, budget=budget, **fit)
    return new, time.perf_counter() - start


def measured(
    model: Any, rows: list[tuple[str, int, float | None]], data: tuple[Any, ...], seeds: int
) -> Table:
    x, _, tx, ty = data
    best = accuracy(model, tx, ty)
    table = Table(
        "form", "images", "accuracy", "points lost", "seconds", title=f"teacher: {best:.2f} %"
    )
    for row, count, budget in rows:
        runs = []
        for seed in range(seeds if count else 1):
            new, seconds = one(model, row, min(count, len(x)), x, seed, budget)
            runs.append((accuracy(new, tx, ty), seconds))
        median, took = (statistics.median(part) for part in zip(*runs, strict=True))
        table.add_row(
            row, str(min(count, len(x))), f"{median:.2f}", f"{best - median:.2f}", f"{took:.0f}"
        )
        rich.print(
            f"{row}, {count}, {budget or 'no'} seconds: {[round(best - a, 2) for a, _ in runs]} points lost"
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument(
        "--curve", nargs="+", type=int, default=[], help="numbers of images, for each row"
    )
    parser.add_argument(
        "--budgets",
        nargs="+",
        type=float,
        default=[],
        help="seconds that a fit may take, for each row",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--plain", action="store_true", help="train without BatchNormalization")
    parser.add_argument("--save", type=Path, help="write the trained model here")
    options = parser.parse_args()
    data = data_of(options.data)
    model = (
        files.load(options.model)
        if options.model
        else teacher(*data[:2], options.epochs, options.plain)
    )
    if options.save:
        model.save(options.save)
    curve = [
        (count, seconds)
        for count in options.curve or [None]
        for seconds in options.budgets or [None]
    ]
    rows = [
        (row, count or ROWS[row][1], seconds) for row in options.rows for count, seconds in curve
    ]
    rich.print(measured(model, rows, data, options.seeds))


if __name__ == "__main__":
    main()
