"""A site beside the layers that the new model calls in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.facts import FLATTENING_KINDS
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.planning.sites import Site

Path = tuple[Call, ...]


@dataclass(frozen=True)
class SwappedSite:
    """A swapped site.

    Attributes:
        reading: The old model.
        graph: The graph that holds the site.
        site: The site.
        layers: The layers that the new model calls in the place of each of its calls, in order.
    """

    reading: Reading
    graph: Graph
    site: Site
    layers: Mapping[int, Sequence[Any]]

    @property
    def where(self) -> str:
        """The site's layers, in words."""
        return " + ".join(self.site.layers)

    @property
    def calls(self) -> list[Call]:
        """The old calls of the site, upstream first."""
        return [self.graph.calls[index] for index in self.site.calls]

    @property
    def end(self) -> int:
        """Number of the tensor that leaves the site."""
        last = self.graph.calls[self.site.calls[-1]]
        return last.outputs[0]

    @cached_property
    def paths(self) -> list[Path]:
        """Each way through the site, from a call that only tensors from outside feed to its end."""
        inside = {tensor for call in self.calls for tensor in call.outputs}
        starts = [call for call in self.calls if inside.isdisjoint(call.inputs)]
        return [self._path_from(start) for start in starts]

    def _path_from(self, start: Call) -> Path:
        path = [start]
        while path[-1].index != self.site.calls[-1]:
            users = self.graph.consumers[path[-1].outputs[0]]
            inner = next(user for user in users if user in self.site.calls)
            path.append(self.graph.calls[inner])
        return tuple(path)

    def new_layers(self, path: Path) -> list[Any]:
        """Return the layers that are called in the place of a path, in order."""
        layers: list[Any] = []
        for call in path:
            layers += self.layers[call.index]
        return layers

    def rank(self, path: Path) -> int:
        """Return the rank of the tensor that feeds a path, batch and channels counted."""
        return len(self.graph.input_shape(path[0]))

    def channels_last(self, path: Path) -> bool:
        """Tell whether the channel axis is the last one on a path."""
        return self.graph.channels_last(call.index for call in path)

    @property
    def fixes_its_size(self) -> bool:
        """Whether a layer that the swap makes accepts maps of one size only."""
        return self.site.replacement is not None and self.site.replacement.sized

    def leaves_no_map(self, path: Path) -> bool:
        """Tell whether spatial axes end on a path, before or after the swap.

        Then no law says what a length becomes: a global pool accepts every length, and a
        convolution over the whole map a single one. The shape at the end is compared in any case.
        """
        for call in path:
            before = self.graph.input_shape(call)
            after = self.graph.output_shape(call)
            if call.role is Role.GLOBAL_POOL or len(before) != len(after):
                return True
        rank = self.rank(path)
        dialect = self.reading.dialect
        for layer in self.new_layers(path):
            # After these layers a map may have no spatial axes.
            kind = dialect.stock_class(dialect.unwrapped(layer))
            if kind in FLATTENING_KINDS:
                return True
            if dialect.describe(layer, rank).role is Role.GLOBAL_POOL:
                return True
        return False
