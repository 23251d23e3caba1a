"""A pool as a chain of smaller ones: every small window along one axis in float64 loops, two axes,
both Kerases.
"""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from support import laws
from support.graphs import Sketch, arguments, averages, close, emitted, made, maxima

from keras_downswap import plan_swaps, swap_downsampling
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.sites import Site
from keras_downswap.rules import all_rules

X = np.random.default_rng(2).standard_normal((60, 2))
PRIMES = {2, 3, 5, 7, 11}


def asked(*sizes: int | None, size: Any, stride: Any, padding: str, kind: str) -> Site:
    sketch = Sketch()
    sketch.pool(sketch.input(*sizes), size, stride, padding, kind=kind)
    return find_sites(sketch.graph(), all_rules(), "small_pool")[0]


def test_every_small_window_is_the_chain_or_is_kept() -> None:
    seen: Counter[str] = Counter()
    for kind, p, q, padding, n in product(
        ("Max", "Average"), range(1, 13), range(1, 13), ("valid", "same"), range(14, 34)
    ):
        site = asked(n, size=p, stride=q, padding=padding, kind=kind)
        seen[f"{kind} {padding} {site.status}"] += 1
        if site.status == "kept":
            continue
        steps = made(site)
        assert len(steps) > 1
        assert all(arguments(step)["pool_size"][0] in PRIMES for step in steps)
        pool = maxima if kind == "Max" else averages
        assert close(emitted(X[:n], steps, None), pool(X[:n], [(p, q, padding)])), (
            kind,
            p,
            q,
            padding,
            n,
        )
    assert min(seen.values()) > 10, seen
    assert set(seen) == {
        " ".join(x) for x in product(("Max", "Average"), ("valid", "same"), ("swapped", "kept"))
    }


def test_of_an_unknown_length_what_never_pads_is_swapped() -> None:
    steps = made(asked(None, size=3, stride=2, padding="valid", kind="Max"))
    assert [(s.name, arguments(s)["pool_size"], arguments(s)["strides"]) for s in steps] == [
        ("pool_1", (2,), (1,)), ("pool", (2,), (2,)),
    ]  # fmt: skip
    assert asked(None, size=3, stride=2, padding="same", kind="Max").status == "kept"


def test_axes_of_other_lengths_are_aligned_at_their_ends() -> None:
    x = np.random.default_rng(3).standard_normal((24, 24, 2))
    steps = made(asked(24, 24, size=(2, 5), stride=(2, 4), padding="valid", kind="Max"))
    assert [arguments(s)["pool_size"] for s in steps] == [(1, 2), (1, 2), (2, 2)]
    assert close(emitted(x, steps, None), maxima(x, [(2, 2, "valid"), (5, 4, "valid")]))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_profile_of_small_pools_is_met(K: Any, padding: str) -> None:
    L = K.layers
    image = K.Input((32, 32, 3))
    x = L.MaxPooling2D(3, 2, padding=padding, name="pool1")(
        L.ReLU()(L.Conv2D(8, 3, padding="same")(image))
    )
    old = K.Model(image, L.Flatten()(L.MaxPooling2D(4, 4, name="pool2")(x)))
    new, report = swap_downsampling(old, to="profile:akida", return_report=True)
    assert [(site.status, site.rule) for site in report.sites] == [
        ("swapped", "pool_into_smaller")
    ] * 2
    pools = [layer for layer in new.layers if "Pooling" in type(layer).__name__]
    assert {layer.pool_size for layer in pools} == {(2, 2)}
    x = laws.sample_for(old)
    np.testing.assert_array_equal(*(np.asarray(model(x)) for model in (old, new)))
    assert not plan_swaps(new, to="profile:akida").swaps
