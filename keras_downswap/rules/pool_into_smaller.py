"""A pool is a chain of smaller pools.

    max over p >= q cells, stride q = p - q maxima over 2 cells, stride 1, then one over q, stride q
    max or mean over a*b cells, stride a*b = over a cells, stride a, then over b cells, stride b

axis by axis, down to prime sizes; of means the second law alone. Maxima may reach outside the map
after its end: the first pools then pad there, where they meet nothing larger.
"""

from collections.abc import Sequence

from keras_downswap.ir.geometry import Padding, Window
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.replacement import MakePool
from keras_downswap.rulekit import Promise, Replacement, is_pool, refuses, rule, swaps
from keras_downswap.rulekit.examples import MAP, ODD, average_pool, max_pool
from keras_downswap.rulekit.layers import POOL_KINDS, pool_layer
from keras_downswap.rulekit.preconditions import require_never_pads, require_window
from keras_downswap.rulekit.replacements import replace_call
from keras_downswap.rulekit.rule import Refused, require, skip_unless
from keras_downswap.rulekit.windows import padded_alike, windows_with_lengths

IDLE = Window(1)
"""The window of an axis on which a pool of the chain does nothing."""


@rule(targets=["small_pool"], promise=Promise.EXACT, anchors=is_pool, verbatim=True)
@swaps(MAP, max_pool(3, 2))
@swaps(ODD, max_pool((5, 4), 4))
@swaps(MAP, average_pool(4))
@refuses(MAP, max_pool(2), reason="is no chain of smaller pools")
@refuses(MAP, average_pool(3, 2), reason="computes means of windows that overlap")
@refuses(MAP, max_pool(2, 3), reason="leaves cells out between its windows")
def pool_into_smaller(graph: Graph, pool: Call) -> Replacement:
    """Pool -> pools of smaller windows in a row."""
    require_window(graph, pool)
    require(pool.wrapped is None, f"{pool.label} runs inside a TimeDistributed layer")
    if pool.role is Role.AVERAGE_POOL:
        require_never_pads(graph, pool)
    chains = []
    for window, length in windows_with_lengths(graph, pool):
        chains.append(_chain(pool, window, length))
    links = _aligned_at_the_end(chains)
    skip_unless(len(links) > 1, f"{pool.label} is no chain of smaller pools")

    layers = []
    for number, windows in enumerate(links, 1):
        name = pool.name if number == len(links) else f"{pool.name}_{number}"
        layers.append(_link(pool, name, windows))
    return replace_call(pool, *layers)


def _link(pool: Call, name: str, windows: Sequence[Window]) -> MakePool:
    """Return one pool of the chain, with one padding for all axes on which it does something."""
    paddings = {window.padding for window in windows if window.size > 1}
    one_axis = "would have to pad along one axis and not along another"
    require(len(paddings) == 1, f"{pool.label} {one_axis}")
    (padding,) = paddings
    assert not isinstance(padding, tuple)
    # A window of one cell pads nothing with `same` either, so an idle axis agrees with both.
    alike = padded_alike(windows, padding)
    return pool_layer(POOL_KINDS[pool.role], name, alike, pool)


def _aligned_at_the_end(chains: Sequence[Sequence[Window]]) -> list[list[Window]]:
    """Return the windows of each pool of the chain, those of all axes together.

    Axes with a shorter chain are idle in the first pools. The strides of all axes come last, so
    that no pool strides along one axis while another axis still needs cells that lie between.
    """
    longest = max(len(chain) for chain in chains)
    links = []
    for position in range(longest):
        windows = []
        for chain in chains:
            own = position - (longest - len(chain))
            windows.append(chain[own] if own >= 0 else IDLE)
        links.append(windows)
    return links


def _chain(pool: Call, window: Window, n: int | None) -> list[Window]:
    """Return the pools of one axis, in order."""
    overlap = window.size - window.stride
    gaps = "which a chain of smaller ones would see"
    require(overlap >= 0, f"{pool.label} leaves cells out between its windows, {gaps}")
    # A maximum does not change where a cell is counted twice, as overlapping windows do; a mean
    # would give that cell twice the weight.
    maxima = pool.role is Role.MAX_POOL
    means = "computes means of windows that overlap, which smaller means do not give"
    require(maxima or overlap == 0, f"{pool.label} {means}")
    padded_after = 0
    if not window.never_pads(n):
        padded_after = _cells_padded_after(pool, window, n, overlap)
    chain = []
    for number in range(overlap):
        # Each of these pools adds a cell: so many of them pad as cells are padded in all.
        padding: Padding = "same" if number < padded_after else "valid"
        chain.append(Window(2, 1, 1, padding))
    for factor in _prime_factors(window.stride):
        chain.append(Window(factor, factor))
    return chain


def _cells_padded_after(pool: Call, window: Window, n: int | None, overlap: int) -> int:
    """Return how many cells a max pool pads after its map, where smaller pools can pad so too."""
    if n is None:
        raise Refused(f"{pool.label} pads (padding='same') over an unknown length")
    total = window.total_padding(n)
    before = window.lead(n)
    # A window of 2 cells and stride 1 pads its one cell after the map, never before it.
    require(before == 0, f"{pool.label} pads before the map, which no smaller pool does")
    most = f"pads {total} cells after the map, and its windows overlap by {overlap}"
    require(total <= overlap, f"{pool.label} {most}")
    return total


def _prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number, the smallest first."""
    found = []
    factor = 2
    while number > 1:
        if number % factor:
            factor += 1
        else:
            found.append(factor)
            number //= factor
    return found
