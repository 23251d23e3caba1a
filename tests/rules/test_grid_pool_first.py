"""Every small combination of one pool and the convolution after it, and of a pool alone, against
float64 loops.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from support.graphs import Sketch, averages, close, convolved, emitted, made, maxima, placed

from keras_downswap.ir.facts import ElementwiseFacts
from keras_downswap.ir.graph import Role
from keras_downswap.planning.find import find_sites
from keras_downswap.planning.sites import Site
from keras_downswap.planning.targets import Method
from keras_downswap.rules import all_rules

RNG = np.random.default_rng(4)
KERNELS = {k: RNG.standard_normal((k, 2, 3)) for k in range(1, 5)}
X = RNG.standard_normal((40, 2))


class Case(NamedTuple):
    """One axis: a pool, and the convolution after it."""

    pool: int
    pool_stride: int
    pool_padding: str
    kernel: int
    stride: int
    padding: str
    kind: str
    n: int | None

    @property
    def lengths(self) -> list[int]:
        """The lengths at which the pool covers not the whole map and the convolution makes
        something of its means.
        """
        asked = range(1, 22) if self.n is None else [self.n]
        return [n for n in asked if (self.pool == 1 or self.pool < n) and self.out(n)]

    def out(self, n: int) -> int:
        return placed(
            placed(n, self.pool, self.pool_stride, self.pool_padding)[1],
            self.kernel,
            self.stride,
            self.padding,
        )[1]

    def never_pads(self) -> bool:
        ends = [
            (n, *placed(n, self.pool, self.pool_stride, self.pool_padding)) for n in self.lengths
        ]
        return all(
            left == 0 and (out - 1) * self.pool_stride + self.pool <= n for n, left, out in ends
        )


def planned(case: Case, method: Method = "auto") -> Site:
    sketch = Sketch()
    x = sketch.pool(
        sketch.input(case.n), case.pool, case.pool_stride, case.pool_padding, kind=case.kind
    )
    sketch.conv(x, case.kernel, case.stride, case.padding)
    return find_sites(sketch.graph(), all_rules(), "strided_conv", method)[0]


@cache
def decided() -> tuple[tuple[Case, Site], ...]:
    pools = (1, 2, 3), (1, 2, 3), ("valid", "same")
    convs = (
        range(1, 5),
        (1, 2, 3),
        ("valid", "same", "causal"),
        ("Max", "Average"),
        (*range(5, 17), None),
    )
    cases = map(Case._make, product(*pools, *convs))
    return tuple((case, planned(case)) for case in cases if case.lengths)


def test_every_pair_is_swapped_and_the_rule_tells_how() -> None:
    rules = Counter(str(site.rule) for _, site in decided())
    assert set(rules) == {
        "average_pool_into_next_kernel", "average_pool_into_depthwise",
        "pool_of_one_into_next_stride",
        "pool_into_next_stride",
    }  # fmt: skip
    assert min(rules.values()) > 100
    for case, site in decided():
        means = case.pool == 1 or (case.kind == "Average" and case.never_pads())
        assert (site.promise == "exact") == means, case
        assert (site.rule == "pool_of_one_into_next_stride") == (case.pool == case.kernel == 1), (
            case
        )
        assert planned(case, "copy").rule in (
            "pool_into_next_stride",
            "pool_of_one_into_next_stride",
        ), case


def test_one_convolution_does_it_wherever_its_zeros_are_zeros_of_the_input() -> None:
    """Where windows do not overlap, or the convolution pads none, at every length that is asked
    for.
    """
    for case, site in decided():
        if site.promise != "exact" or case.pool == case.kernel == 1:
            continue
        pads = at_all = False
        leads = set()
        for n in case.lengths:
            m = placed(n, case.pool, case.pool_stride, case.pool_padding)[1]
            lead, out = placed(m, case.kernel, case.stride, case.padding)
            leads.add(lead)
            after = (out - 1) * case.stride - lead + case.kernel > m
            pads |= lead > 0 or after
            at_all |= after
        cut_varies = case.n is None and case.pool > 1 and at_all
        possible = (
            len(leads) == 1 and (case.pool <= case.pool_stride or not pads) and not cut_varies
        )
        assert (site.rule == "average_pool_into_next_kernel") == possible, (case, site.rule)


def test_every_exact_swap_keeps_the_values_and_every_swap_the_lengths() -> None:
    compared = 0
    for case, site in decided():
        for n in case.lengths:
            old = averages(X[:n], [(case.pool, case.pool_stride, case.pool_padding)])
            kernel = KERNELS[case.kernel]
            if site.rule != "average_pool_into_depthwise":
                old = convolved(old, kernel, [(case.stride, 1, case.padding)])
            new = emitted(X[:n], made(site), kernel)
            assert new.shape == old.shape, (case, n)
            if site.promise == "exact":
                assert close(new, old), (case, n)
                compared += 1
    assert compared > 5_000


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("signed", [True, False])
def test_a_tournament_of_relus_finds_the_maximum(
    size: int, stride: int, padding: str, signed: bool
) -> None:
    for n in (*range(6, 12), None):
        sketch = Sketch()
        x = sketch.input(n)
        x = (
            x
            if signed
            else sketch.each(
                x, "a", "Activation", Role.POINTWISE, facts=ElementwiseFacts(activation="sigmoid")
            )
        )
        sketch.pool(x, size, stride, padding)
        (site,) = find_sites(sketch.graph(), all_rules(), "conv_relu")
        at = range(6, 12) if n is None else [n]
        pads = any(
            placed(m, size, stride, padding)[0] or _reaches(m, size, stride, padding) > m
            for m in at
        )
        if signed and padding == "same" and size > 1 and (n is None or pads):
            assert site.status == "kept"
            assert "a convolution pads zeros, which would win" in site.reason
            continue
        assert (site.rule, site.promise) == ("max_pool_into_relus", "exact")
        assert len(made(site)) == 1 + (size - 1).bit_length()
        for m in at:
            given: Any = X[:m] if signed else np.abs(X[:m])
            assert close(emitted(given, made(site), None), maxima(given, [(size, stride, padding)]))


def _reaches(n: int, size: int, stride: int, padding: str) -> int:
    left, out = placed(n, size, stride, padding)
    return (out - 1) * stride - left + size
