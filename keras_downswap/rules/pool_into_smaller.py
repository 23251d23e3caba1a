"""A pool is a chain of smaller pools.

    max over p >= q cells, stride q = p - q maxima over 2 cells, stride 1, then one of stride q over
    q cells max or mean over a*b cells, stride a*b = the same over a cells, stride a, then over b
    cells, stride b

axis by axis, down to prime sizes; of means the second law alone. Maxima may reach outside the map
behind its end: the first pools then pad there, where they meet nothing larger.
"""

from itertools import zip_longest

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_pool
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rulekit.layers import pool_layer
from keras_downswap.rulekit.preconditions import require_never_pads, require_window
from keras_downswap.rulekit.rule import Promise, Rule, require, skip_unless

ONE = Window(1)


def pool_into_smaller(graph: Graph, pool: Call, to: str) -> Replacement:
    """Swap a pool for the chain of smaller pools that gives the same; the last one bears its name."""
    require_window(graph, pool)
    require(pool.wrapped is None, f"{pool.label} runs inside a TimeDistributed layer")
    largest = pool.role is Role.MAX_POOL
    if not largest:
        require_never_pads(graph, pool)
    chains = [
        _chain(pool, w, n, largest) for w, n in zip(pool.windows, graph.sizes(pool), strict=True)
    ]
    links = [*reversed(list(zip_longest(*(reversed(chain) for chain in chains), fillvalue=ONE)))]
    skip_unless(len(links) > 1, f"{pool.label} is no chain of smaller pools")
    steps = []
    for number, windows in enumerate(links, 1):
        paddings = {w.padding for w in windows if w.size > 1}
        require(
            len(paddings) == 1,
            f"{pool.label} would have to pad along one axis and not along another",
        )
        alike = [Window(w.size, w.stride, 1, *paddings) for w in windows]
        name = pool.name if number == len(links) else f"{pool.name}_{number}"
        steps.append(
            pool_layer("MaxPooling" if largest else "AveragePooling", name, alike, pool, pool)
        )
    return Replacement((pool.index,), {pool.index: tuple(steps)})


def _chain(pool: Call, window: Window, n: int | None, largest: bool) -> list[Window]:
    """Return the pools of one axis, in order."""
    more, size = window.size - window.stride, window.size
    require(
        more >= 0,
        f"{pool.label} leaves cells out between its windows, which a chain of smaller ones would see",
    )
    require(
        largest or more == 0,
        f"{pool.label} takes means of windows that overlap, which smaller means do not give",
    )
    behind = 0
    if not window.never_pads(n):
        require(n is not None, f"{pool.label} pads (padding='same') over an unknown length")
        total = window.total_padding(n or size)
        require(window.lead(n) == 0, f"{pool.label} pads in front, which no smaller pool does")
        require(
            total <= more,
            f"{pool.label} pads {total} cells behind, and its windows overlap by {more}",
        )
        behind = total
    first = [Window(2, 1, 1, "same" if i < behind else "valid") for i in range(more)]
    return [*first, *(Window(f, f) for f in _primes(window.stride))]


def _primes(number: int) -> list[int]:
    """Return the prime factors of a number, the smallest first."""
    found, factor = [], 2
    while number > 1:
        if number % factor:
            factor += 1
        else:
            found.append(factor)
            number //= factor
    return found


RULE = Rule(
    name="pool_into_smaller",
    targets=frozenset({"small_pool"}),
    promise=Promise.EXACT,
    verbatim=True,
    anchors=is_pool,
    apply=pool_into_smaller,
    summary="pool -> pools of smaller windows in a row",
)
