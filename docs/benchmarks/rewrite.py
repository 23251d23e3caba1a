"""Time of a swap against the framework's own copy, side by side in one run.

    python docs/benchmarks/rewrite.py [--models ResNet152 DenseNet201 NASNetLarge] [--rounds 5]

For each model and each Keras it interleaves `swap_downsampling` (plan, rewrite and all verification
included) with `clone_model` + `set_weights`, and prints the medians and their ratio. `--growth`
times chains and wide graphs of 400 and 3,200 calls instead and prints the time per call.
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
from rich.table import Table

from keras_downswap import swap_downsampling

KERASES = ("tf_keras", "keras")


def seconds(work: Callable[[], Any]) -> float:
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def own_copy(K: Any, model: Any) -> Any:
    clone = K.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


def compare(names: list[str], to: str, rounds: int) -> Table:
    table = Table(
        "Keras", "model", "layers", "clone_model + set_weights, s", "swap_downsampling, s", "ratio"
    )
    for root in KERASES:
        K = importlib.import_module(root)
        for name in names:
            K.backend.clear_session()
            model = getattr(K.applications, name)(weights=None)
            pairs = []
            for _ in range(rounds):
                theirs = seconds(lambda k=K, m=model: own_copy(k, m))
                ours = seconds(lambda m=model: swap_downsampling(m, to=to))
                pairs.append((theirs, ours))
            theirs, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(o / t for t, o in pairs)
            table.add_row(
                root, name, str(len(model.layers)), f"{theirs:.2f}", f"{ours:.2f}", f"{ratio:.2f}"
            )
            del model
    return table


def chain(K: Any, calls: int) -> Any:
    x = inputs = K.Input((None, None, 4))
    for _ in range(calls // 4):
        x = K.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
        x = K.layers.BatchNormalization()(x)
        x = K.layers.ReLU()(x)
        x = K.layers.MaxPooling2D(1)(x)
    return K.Model(inputs, x)


def wide(K: Any, calls: int) -> Any:
    inputs = K.Input((32, 32, 4))
    branches = []
    for _ in range(calls // 4):
        x = K.layers.Conv2D(4, 3, padding="same")(inputs)
        x = K.layers.BatchNormalization()(x)
        x = K.layers.ReLU()(x)
        branches.append(K.layers.MaxPooling2D(2)(x))
    return K.Model(inputs, K.layers.Add()(branches))


def growth(rounds: int) -> Table:
    table = Table("Keras", "graph", "calls", "swap, s", "ms a call", "against 400 calls")
    for root in KERASES:
        K = importlib.import_module(root)
        for build in (chain, wide):
            first = None
            for calls in (400, 3200):
                K.backend.clear_session()
                model = build(K, calls)
                taken = statistics.median(
                    seconds(lambda m=model: swap_downsampling(m)) for _ in range(rounds)
                )
                each = 1000 * taken / calls
                first = first or each
                table.add_row(
                    root,
                    build.__name__,
                    str(calls),
                    f"{taken:.2f}",
                    f"{each:.2f}",
                    f"{each / first:.2f}",
                )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["ResNet152", "DenseNet201", "NASNetLarge"])
    parser.add_argument("--to", default="strided_conv")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.setrecursionlimit(
        50_000
    )  # tf_keras walks a chain of 3,200 calls by recursion, two frames a call
    rich.print(
        growth(asked.rounds) if asked.growth else compare(asked.models, asked.to, asked.rounds)
    )


if __name__ == "__main__":
    main()
