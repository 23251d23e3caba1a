"""Time of a swap against the framework's own copy, side by side in one run.

    python docs/benchmarks/rewrite.py [--models ResNet152 DenseNet201 NASNetLarge] [--rounds 5]
        [--to strided_conv] [--growth] [--name NAME]

For each model and each Keras it interleaves `swap_downsampling` (plan, rewrite and all verification
included) with `clone_model` + `set_weights`, prints the medians and their ratio, and writes them to
docs/measurements/rewrite.json. `--growth` times chains and wide graphs of 400 and 3,200 calls
instead, prints the time per call, and writes rewrite-growth.json. `--name` names another file.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import rich
from recording import record
from rich.table import Table

from keras_downswap import swap_downsampling

KERASES = ("tf_keras", "keras")
SIZES = (400, 3200)
"""Calls of a small and of a large graph."""
RECURSION_LIMIT = 50_000
"""tf_keras walks a chain of 3,200 calls by recursion, two frames a call."""
Row = dict[str, Any]


def seconds(work: Callable[[], Any]) -> float:
    """Return how long some work takes; garbage of earlier work is collected before."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def own_copy(K: Any, model: Any) -> Any:
    """Return the framework's own copy of a model."""
    clone = K.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def against_copy(names: list[str], to: str, rounds: int) -> list[Row]:
    """Return for each Keras and model the medians of both times, and of their ratio."""
    rows = []
    for root in KERASES:
        K = importlib.import_module(root)
        for name in names:
            K.backend.clear_session()
            model = getattr(K.applications, name)(weights=None)
            copies, swaps = [], []
            for _ in range(rounds):
                copies.append(seconds(lambda k=K, m=model: own_copy(k, m)))
                swaps.append(seconds(lambda m=model: swap_downsampling(m, to=to)))
            ratios = [swap / copy for copy, swap in zip(copies, swaps, strict=True)]
            rows.append(
                {
                    "keras": root,
                    "model": name,
                    "to": to,
                    "layers": len(model.layers),
                    "copy_seconds": round(statistics.median(copies), 4),
                    "swap_seconds": round(statistics.median(swaps), 4),
                    "ratio": round(statistics.median(ratios), 4),
                }
            )
            del model
    return rows


def chain(K: Any, calls: int) -> Any:
    """Return a model of so many calls in a row, every fourth a pool that is swapped."""
    x = inputs = K.Input((None, None, 4))
    for _ in range(calls // 4):
        x = K.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = K.layers.BatchNormalization()(x)
        x = K.layers.ReLU()(x)
        x = K.layers.MaxPooling2D(1)(x)
    return K.Model(inputs, x)


def wide(K: Any, calls: int) -> Any:
    """Return a model of so many calls in branches of four, every fourth a pool that is swapped."""
    inputs = K.Input((32, 32, 4))
    branches = []
    for _ in range(calls // 4):
        x = K.layers.Conv2D(4, 3, padding="same")(inputs)
        x = K.layers.BatchNormalization()(x)
        x = K.layers.ReLU()(x)
        branches.append(K.layers.MaxPooling2D(2)(x))
    return K.Model(inputs, K.layers.Add()(branches))


def growth(rounds: int) -> list[Row]:
    """Return for each Keras, graph and size the time of a swap per call."""
    rows = []
    for root in KERASES:
        K = importlib.import_module(root)
        for build in (chain, wide):
            smallest = None
            for calls in SIZES:
                K.backend.clear_session()
                model = build(K, calls)
                times = [seconds(lambda m=model: swap_downsampling(m)) for _ in range(rounds)]
                per_call = 1000 * statistics.median(times) / calls
                smallest = smallest or per_call
                rows.append(
                    {
                        "keras": root,
                        "graph": build.__name__,
                        "calls": calls,
                        "ms_a_call": round(per_call, 4),
                        "growth": round(per_call / smallest, 4),
                    }
                )
    return rows


def shown(rows: list[Row]) -> Table:
    """Return rows as a table with their fields as heads."""
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["ResNet152", "DenseNet201", "NASNetLarge"])
    parser.add_argument("--to", default="strided_conv")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--name", help="of the file in docs/measurements")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(RECURSION_LIMIT)
    if options.growth:
        rows = growth(options.rounds)
        name, key, settings = "rewrite-growth", ["keras", "graph", "calls"], {}
    else:
        rows = against_copy(options.models, options.to, options.rounds)
        name, key, settings = "rewrite", ["keras", "model", "to"], {"to": options.to}
    rich.print(shown(rows))
    settings["rounds"] = options.rounds
    print(f"wrote {record(options.name or name, rows, key, settings)}")


if __name__ == "__main__":
    main()
