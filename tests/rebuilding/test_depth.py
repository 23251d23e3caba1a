"""Graphs as deep and as wide as either Keras can build, under the interpreter's usual recursion
limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from support import laws

from keras_downswap import swap_downsampling

CALLS = 3000


def chain(L: Any, x: Any) -> Any:
    x = L.MaxPooling1D(2)(L.Conv1D(2, 3, padding="same")(x))
    for _ in range(CALLS):
        x = L.ReLU()(x)
    return x


def chain_between(L: Any, x: Any) -> Any:
    x = L.Conv1D(2, 3, padding="same")(x)
    for _ in range(CALLS):
        x = L.ReLU()(x)
    return L.MaxPooling1D(2)(x)


def one_layer_in_a_row(L: Any, x: Any) -> Any:
    x, relu = L.MaxPooling1D(2)(L.Conv1D(2, 3, padding="same")(x)), L.ReLU()
    for _ in range(CALLS):
        x = relu(x)
    return x


def ladder(L: Any, x: Any) -> Any:
    x = L.MaxPooling1D(2)(L.Conv1D(2, 3, padding="same")(x))
    for _ in range(CALLS // 3):
        x = L.Average()([L.ReLU()(x), L.ELU()(x)])
    return x


def fan(L: Any, x: Any) -> Any:
    x = L.MaxPooling1D(2)(L.Conv1D(2, 3, padding="same")(x))
    return L.Average()([L.ReLU()(x) for _ in range(CALLS)])


@pytest.mark.parametrize("grow", [chain, chain_between, one_layer_in_a_row, ladder, fan])
def test_three_thousand_calls(K: Any, grow: Callable[[Any, Any], Any]) -> None:
    inputs = K.Input((8, 2))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(limit + 4 * CALLS)  # Keras' own constructor recurses once a call
    try:
        old = K.Model(inputs, grow(K.layers, inputs))
    finally:
        sys.setrecursionlimit(limit)
    new, report = swap_downsampling(old, return_report=True)
    assert sys.getrecursionlimit() == limit
    assert [site.status for site in report.sites] == ["swapped"]
    laws.assert_same_boundary(old, new)
    laws.assert_weights_kept(old, new, ())
    laws.assert_nothing_shared(old, new)
