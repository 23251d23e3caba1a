"""Time and MACs of the exact forms of one convolution and one average pool, side by side in one run.

    python docs/benchmarks/forms.py [--rounds 15] [--batch 8]

For each pair it builds the original and its exact forms with this package, runs them by turns, and
prints each form's MACs and median time by those of the original.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import rich
import tensorflow as tf
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


def pair(channels: int, filters: int, n: int, kernel: int) -> Any:
    image = keras.Input((n, n, channels))
    x = keras.layers.Conv2D(filters, kernel, padding="same", name="conv")(image)
    return keras.Model(image, keras.layers.AveragePooling2D(2, name="pool")(x))


def seconds(run: Any, x: Any) -> float:
    start = time.perf_counter()
    run(x)
    return time.perf_counter() - start


def compare(rounds: int, batch: int) -> Table:
    table = Table(
        "pair, average pool of 2", "form", "rule", "MACs", "time", title="by those of the original"
    )
    for name, (channels, filters, n, kernel) in PAIRS.items():
        old = pair(channels, filters, n, kernel)
        x = tf.constant(
            np.random.default_rng(0).uniform(-1, 1, (batch, n, n, channels)).astype(np.float32)
        )
        models, facts = {"original": old}, {}
        for form, to in (("fused", "strided_conv"), ("cheapest", "cheapest")):
            plan = plan_swaps(old, to)
            cost = site_cost(plan.graph_of(plan.swaps[0]), plan.swaps[0])
            facts[form] = (str(plan.swaps[0].rule), cost.after.macs / cost.before.macs)
            models[form] = swap_downsampling(old, to)
        runs = {
            form: tf.function(lambda x, m=model: m(x, training=False))
            for form, model in models.items()
        }
        for run in runs.values():
            run(x), run(x)
        times: dict[str, list[float]] = {form: [] for form in runs}
        for _ in range(rounds):
            for form, run in runs.items():
                times[form].append(seconds(run, x))
        for form, (rule, macs) in facts.items():
            ratio = statistics.median(
                a / b for a, b in zip(times[form], times["original"], strict=True)
            )
            table.add_row(name, form, rule, f"{macs:.2f}", f"{ratio:.2f}")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    rich.print(compare(given.rounds, given.batch))
