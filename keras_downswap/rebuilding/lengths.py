"""Compares the lengths of a site's output before and after its swap, axis by axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from keras_downswap.checks import Check, check_or_break
from keras_downswap.ir.facts import ResizeFacts
from keras_downswap.ir.geometry import IDENTITY, SizeMap, resized
from keras_downswap.ir.graph import Role, spatial
from keras_downswap.rebuilding.swapped_site import Path, SwappedSite


def length_checks(swapped: SwappedSite, path: Path) -> Iterator[Check]:
    """Check the lengths of one branch of a swapped site.

    Args:
        swapped: The site.
        path: The old calls of the branch, upstream first.

    Raises:
        BrokenPromise: If the lengths differ, at the declared ones or where these are unknown.
    """
    where = swapped.where
    shape = swapped.graph.input_shape(path[0])
    lengths = spatial(shape, swapped.channels_last(path))
    if swapped.fixes_its_size:
        # At another size the Reshape would fail, or move values to other places.
        check_or_break(
            None not in lengths,
            f"{where}: a Reshape fixes the size of the map: expected known lengths, got {lengths}",
        )
        detail = "by the shapes that Keras gives, as its layers accept maps of one size only"
        yield Check("length", where, detail)
        return
    if swapped.leaves_no_map(path):
        detail = "by the shapes that Keras gives, as the output has no spatial axes"
        yield Check("length", where, detail)
        return

    olds = _old_laws(swapped, path)
    mades = _new_laws(swapped, path)
    for axis, length in enumerate(lengths):
        old, made = olds[axis], mades[axis]
        check_or_break(
            old.agrees(made, length),
            f"{where}: the length law of spatial axis {axis} changed from {old} to {made} "
            f"(length {length})",
        )
        law = f"axis {axis}: (n + {old.offset}) // {old.stride}"
        if old == made:
            yield Check("law", where, f"{law} for every length")
        else:
            yield Check("length", where, f"{law} at length {length} only")


def _old_laws(swapped: SwappedSite, path: Path) -> list[SizeMap]:
    """Compose the length laws of the old calls."""
    parts = []
    for call in path:
        if call.role is Role.RESIZE:
            parts.append([resized(*cells) for cells in call.cells])
        else:
            parts.append([window.law for window in call.windows])
    return _composed(parts, swapped.rank(path))


def _new_laws(swapped: SwappedSite, path: Path) -> list[SizeMap]:
    """Compose the length laws of the new layers, read off the layers themselves.

    What the rule said of them does not count: Keras could have made something else of it.
    """
    rank = swapped.rank(path)
    parts = []
    for layer in swapped.new_layers(path):
        facts = swapped.reading.dialect.describe(layer, rank)
        laws = [window.law for window in facts.windows]
        if isinstance(facts.facts, ResizeFacts):
            laws = [resized(*cells) for cells in facts.facts.cells]
        parts.append(laws)
    return _composed(parts, rank)


def _composed(parts: Sequence[Sequence[SizeMap]], rank: int) -> list[SizeMap]:
    """Return the law of each spatial axis through layers; one without laws keeps lengths."""
    laws = [IDENTITY] * (rank - 2)
    for part in parts:
        for axis, after in enumerate(part):
            laws[axis] = laws[axis].then(after)
    return laws
