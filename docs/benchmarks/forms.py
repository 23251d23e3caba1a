"""Time and MACs of the exact forms of a convolution and an average pool, side by side in one run.

    python docs/benchmarks/forms.py [--rounds 15] [--batch 8] [--name forms]

For each pair it builds the original and its exact forms with this package, runs them by turns,
prints each form's MACs and median time by those of the original, and writes them to
docs/measurements/NAME.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import rich
import tensorflow as tf
from recording import record
from rich.table import Table

from keras_downswap import plan_swaps, swap_downsampling
from keras_downswap.planning.cost import site_cost

PAIRS = {
    "3x3, 64 -> 64, 56x56": (64, 64, 56, 3),
    "3x3, 128 -> 128, 28x28": (128, 128, 28, 3),
    "5x5, 32 -> 64, 56x56": (32, 64, 56, 5),
    "1x1, 256 -> 128, 56x56 (DenseNet)": (256, 128, 56, 1),
    "1x1, 512 -> 256, 28x28 (DenseNet)": (512, 256, 28, 1),
}
"""Input channels, filters, size of the map and of the kernel."""
FORMS = {"fused": "strided_conv", "cheapest": "cheapest"}
"""The exact forms, by their targets."""
Run = Callable[[Any], Any]


def pair(channels: int, filters: int, size: int, kernel: int) -> Any:
    """Return a model of one convolution and an average pool of 2."""
    image = keras.Input((size, size, channels))
    x = keras.layers.Conv2D(filters, kernel, padding="same", name="conv")(image)
    return keras.Model(image, keras.layers.AveragePooling2D(2, name="pool")(x))


def seconds(run: Run, x: Any) -> float:
    start = time.perf_counter()
    run(x)
    return time.perf_counter() - start


def traced(model: Any, x: Any) -> Run:
    """Return a model as a function that has run twice: once to trace, once to warm up."""
    run = tf.function(lambda x: model(x, training=False))
    run(x)
    run(x)
    return run


def macs_of(model: Any, target: str) -> float:
    """Return the MACs of the model's one site after the swap, by those before it."""
    plan = plan_swaps(model, to=target)
    (site,) = plan.swaps
    cost = site_cost(plan.graph_of(site), site)
    return cost.after.macs / cost.before.macs


def measured(rounds: int, batch: int) -> list[dict[str, Any]]:
    """Return for each pair and form its MACs and its time, by those of the original."""
    rows = []
    for name, (channels, filters, size, kernel) in PAIRS.items():
        original = pair(channels, filters, size, kernel)
        drawn = np.random.default_rng(0).uniform(-1, 1, (batch, size, size, channels))
        x = tf.constant(drawn.astype(np.float32))
        runs = {"original": traced(original, x)}
        for form, target in FORMS.items():
            runs[form] = traced(swap_downsampling(original, to=target), x)

        # By turns, so that what else the machine does meets all forms alike.
        times: dict[str, list[float]] = {form: [] for form in runs}
        for _ in range(rounds):
            for form, run in runs.items():
                times[form].append(seconds(run, x))

        for form, target in FORMS.items():
            ratios = [a / b for a, b in zip(times[form], times["original"], strict=True)]
            macs = round(macs_of(original, target), 4)
            ratio = round(statistics.median(ratios), 4)
            rows.append({"pair": name, "form": form, "macs": macs, "time": ratio})
    return rows


def shown(rows: list[dict[str, Any]]) -> Table:
    table = Table("pair, average pool of 2", "form", "MACs", "time", title="by the original's")
    for row in rows:
        table.add_row(row["pair"], row["form"], f"{row['macs']:.2f}", f"{row['time']:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--name", default="forms", help="of the file in docs/measurements")
    options = parser.parse_args()
    rows = measured(options.rounds, options.batch)
    rich.print(shown(rows))
    settings = {"rounds": options.rounds, "batch": options.batch, "seed": 0}
    print(f"wrote {record(options.name, rows, ['pair', 'form'], settings)}")


if __name__ == "__main__":
    main()
