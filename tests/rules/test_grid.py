"""Every small combination of one convolution and one pool, through the planner, against Keras and
float64 loops.

The values and positions below come from TensorFlow's definition of padding (`placed`), not from the
package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.graphs import (
    Sketch,
    arguments,
    averages,
    close,
    convolved,
    emitted,
    made,
    pair,
    placed,
)

from keras_downswap.ir.geometry import middle_first
from keras_downswap.ir.replacement import Make, MakeConv
from keras_downswap.planning.find import Method, find_sites
from keras_downswap.planning.sites import Site
from keras_downswap.rules import all_rules

PADDINGS = ("valid", "same", "causal")
RNG = np.random.default_rng(3)
KERNELS = {k: RNG.standard_normal((k, 2, 3)) for k in range(1, 6)}
X = RNG.standard_normal((40, 2))


class Case(NamedTuple):
    """One axis: a convolution, and the pool after it."""

    kernel: int
    stride: int
    padding: str
    pool: int
    pool_stride: int
    pool_padding: str
    kind: str
    n: int | None

    @property
    def lengths(self) -> list[int]:
        """Its own length; where it is unknown, all lengths at which something is left."""
        return [n for n in (range(1, 21) if self.n is None else [self.n]) if self.out(n)]

    def conv(self, n: int) -> tuple[int, int]:
        return placed(n, self.kernel, self.stride, self.padding)

    def out(self, n: int) -> int:
        return self.pooled(self.conv(n)[1])[1]

    def pooled(self, m: int) -> tuple[int, int]:
        return placed(m, self.pool, self.pool_stride, self.pool_padding)


def planned(case: Case, method: Method = "auto") -> Site:
    conv = {"kernel": case.kernel, "stride": case.stride, "padding": case.padding}
    pool = {
        "size": case.pool,
        "stride": case.pool_stride,
        "padding": case.pool_padding,
        "kind": case.kind,
    }
    sites = find_sites(pair(case.n, conv=conv, pool=pool), all_rules(), "strided_conv", method)
    return next(site for site in sites if "pool" in site.layers)


@cache
def decided() -> tuple[tuple[Case, Site], ...]:
    pools = (1, 2, 3), (1, 2, 3), PADDINGS[:2], ("Max", "Average")
    cases = map(
        Case._make, product(range(1, 6), (1, 2, 3), PADDINGS, *pools, (*range(5, 21), None))
    )
    return tuple((case, planned(case)) for case in cases if case.lengths)


def test_a_pair_is_kept_only_where_the_pool_covers_the_map() -> None:
    kept: Counter[str] = Counter()
    for case, site in decided():
        covers = case.n is not None and 1 < case.pool >= case.conv(case.n)[1]
        assert (site.status == "kept") == covers, case
        if covers:
            assert "covers its whole" in site.reason
            kept[case.kind] += 1
    assert kept["Max"] == kept["Average"]
    assert 0 < sum(kept.values()) < len(decided()) / 10


def fixed_lead(case: Case) -> bool:
    return len({case.conv(n)[0] for n in case.lengths}) == 1


def never_pads(case: Case) -> bool:
    """Tells whether the pool's windows stay inside its input at every length that is asked for."""
    at = [(m, *case.pooled(m)) for _, m in map(case.conv, case.lengths)]
    return all(left == 0 and (out - 1) * case.pool_stride + case.pool <= m for m, left, out in at)


def test_a_swap_is_exact_wherever_an_identity_exists() -> None:
    for case, site in decided():
        if site.status == "kept":
            continue
        exact = case.pool == 1 or (case.kind == "Average" and never_pads(case))
        alone = exact and not fixed_lead(case)
        rules = ("pool_into_stride", "average_pool_into_kernel", "pool_of_one_into_stride")
        assert site.rule == (
            "average_pool_into_depthwise" if alone else rules[exact * (1 + (case.pool == 1))]
        ), case
        assert site.promise == ("exact" if exact else "approximate")
        assert bool(site.reason) != exact


def test_the_method_decides_which_swaps_are_open() -> None:
    for case, auto in decided():
        if case.n not in (8, 9, None) or auto.status == "kept":
            continue
        exact, copy = planned(case, "exact"), planned(case, "copy")
        assert exact.rule == (auto.rule if auto.promise == "exact" else None), case
        assert exact.status == "swapped" or exact.reason == auto.reason
        assert copy.rule == (
            "pool_into_stride" if str(auto.rule).startswith("average") else auto.rule
        ), case
        convs = [step for step in made(copy) if isinstance(step, MakeConv)]
        assert all(step.kernel is None for step in convs)


class Oracle:
    """Output lengths by Keras itself; None where it refuses."""

    def __init__(self, K: Any) -> None:
        self.layers = K.layers
        self.known: Any = {}

    def __call__(self, n: int | None, kind: str, **settings: Any) -> Any:
        key = (kind, *settings.items())
        if n is None or (key, n) in self.known:
            return self.known.get((key, n))
        if key not in self.known:
            filters = {"filters": 3} if kind == "Conv" else {}
            self.known[key] = getattr(self.layers, f"{kind}1D")(**settings, **filters)
        try:
            length = int(self.known[key].compute_output_shape((1, n, 2))[1])
        except ValueError:
            length = 0
        return self.known.setdefault((key, n), length if length > 0 else None)

    def through(self, n: int | None, steps: Sequence[Make]) -> int | None:
        for step in steps:
            n = self(
                n, step.kind, **{k: v for k, v in arguments(step).items() if k != "data_format"}
            )
        return n


@pytest.fixture
def oracle(K: Any) -> Oracle:
    return Oracle(K)


def test_every_swap_has_kerases_lengths(oracle: Oracle) -> None:
    compared = 0
    for case, site in decided():
        for n in case.lengths:
            m = oracle(
                n, "Conv", kernel_size=case.kernel, strides=case.stride, padding=case.padding
            )
            kind, padding = f"{case.kind}Pooling", case.pool_padding
            wanted = oracle(m, kind, pool_size=case.pool, strides=case.pool_stride, padding=padding)
            assert wanted == case.out(n), case
            if site.status == "swapped":
                assert oracle.through(n if "conv" in site.layers else m, made(site)) == wanted, (
                    case,
                    n,
                )
                compared += 1
    assert compared > 30_000


@pytest.mark.parametrize("to", ["max_pool", "average_pool", "subsample"])
def test_every_reverse_swap_has_kerases_lengths(oracle: Oracle, to: str) -> None:
    for (kernel, stride, padding, size), site in reversed_sites(to):
        for n in range(1, 25) if size is None else [size]:
            wanted = oracle(n, "Conv", kernel_size=kernel, strides=stride, padding=padding)
            if wanted is not None:
                assert oracle.through(n, made(site)) == wanted, (kernel, stride, padding, size, n)


@cache
def reversed_sites(to: str) -> tuple[tuple[tuple[int, int, str, int | None], Site], ...]:
    """Decides on strided convolutions; only an exact swap over an unknown length may be refused."""
    found = []
    for case in product(range(1, 6), (1, 2, 3, 4), PADDINGS, (*range(5, 21), None)):
        kernel, stride, padding, n = case
        sketch = Sketch()
        sketch.conv(sketch.input(n), kernel, stride, padding)
        sites = find_sites(sketch.graph(), all_rules(), to)
        assert len(sites) == (stride > 1), case
        leads = {placed(m, kernel, stride, padding)[0] for m in ([n] if n else range(1, 21))}
        for site in sites:
            kept = to == "subsample" and len(leads) > 1
            assert site.status == ("kept" if kept else "swapped"), case
            assert not kept or "unknown length" in site.reason
            found += [] if kept else [(case, site)]
    assert len(found) > 700
    return tuple(found)


def test_layers_are_added_only_where_no_plain_padding_does() -> None:
    for case, site in decided():
        if site.status == "kept" or site.rule == "average_pool_into_depthwise":
            continue
        conv = arguments(made(site)[-1])
        (span,), (stride,) = conv["kernel_size"], conv["strides"]
        wanted = [(case.conv(n)[0], case.out(n)) for n in case.lengths]
        first = 0 if site.promise == "exact" else 1
        plain = [
            padding
            for padding in PADDINGS
            if all(
                placed(n, span, stride, padding)[first:] == w[first:]
                for n, w in zip(case.lengths, wanted, strict=True)
            )
        ]
        assert (len(made(site)) == 1) == bool(plain), case
        assert not plain or conv["padding"] in plain


def test_a_copy_after_added_layers_samples_the_middle_where_it_can() -> None:
    """Or the position nearest to it, the earlier first, that needs no padding and cropping of one
    axis.
    """
    middles = others = 0
    for case, site in decided():
        if site.rule != "pool_into_stride" or len(made(site)) == 1:
            continue
        layer, *more = made(site)[:-1]
        assert not more, "padded and cropped one axis"
        cells = arguments(layer).get("padding") or [-cell for cell in arguments(layer)["cropping"]]
        before, total = cells[0], sum(cells)
        firsts = {(left, case.pooled(m)[0]) for left, m in map(case.conv, case.lengths)}
        if len(firsts) > 1:
            continue
        ((left, pool_left),) = firsts
        possible = [
            o for o in middle_first(case.pool)
            if min(0, total) <= left + (pool_left - o) * case.stride <= max(0, total)
        ]  # fmt: skip
        if possible:
            assert before == left + (pool_left - possible[0]) * case.stride, case
        middle = bool(possible) and possible[0] == (case.pool - 1) // 2
        middles, others = middles + middle, others + (not middle)
    assert middles > 4 * others


def test_every_exact_swap_keeps_the_values() -> None:
    compared = 0
    for case, site in decided():
        if site.promise != "exact":
            continue
        kernel = KERNELS[case.kernel]
        for n in case.lengths:
            middle = convolved(X[:n], kernel, [(case.stride, 1, case.padding)])
            old = averages(middle, [(case.pool, case.pool_stride, case.pool_padding)])
            assert close(
                emitted(X[:n] if "conv" in site.layers else middle, made(site), kernel), old
            ), (case, n)
            compared += 1
    assert compared > 20_000


def test_every_subsampling_keeps_the_values() -> None:
    for (kernel, stride, padding, size), site in reversed_sites("subsample"):
        for n in range(5, 25) if size is None else [size]:
            old = convolved(X[:n], KERNELS[kernel], [(stride, 1, padding)])
            assert close(emitted(X[:n], made(site), KERNELS[kernel]), old), (
                kernel,
                stride,
                padding,
                n,
            )
