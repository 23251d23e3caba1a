"""What a calibration may move, and which layers it fits: by scope, and by what is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras_downswap.calibration.execution.interpreter import Interpreter, TensorRef
from keras_downswap.calibration.execution.live_scale import takes_scale
from keras_downswap.calibration.pairing.pairs import Pairs, paired
from keras_downswap.calibration.pairing.pools import PoolTarget, pools_of
from keras_downswap.calibration.pairing.targets import Target, affected, run_order, targets_of
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call


@dataclass(frozen=True)
class TrainableSet:
    """A swapped model beside the original.

    Attributes:
        old: The original.
        new: The swapped model.
        pairs: What in it stands for what in the original.
        everything: Whether layers other than the sites may move, where they are trainable.
    """

    old: Reading
    new: Reading
    pairs: Pairs
    everything: bool

    @classmethod
    def of(cls, old: Reading, new: Reading, everything: bool, batch: Sequence[Any]) -> TrainableSet:
        """Compare two models; tensors that come out in different shapes for a batch stand for nothing."""
        pairs = paired(old.graph, new.graph)
        mine, theirs = (
            Interpreter(model, places).run(batch)
            for model, places in ((new, pairs.tensors.keys()), (old, set(pairs.tensors.values())))
        )
        for one, other in list(pairs.tensors.items()):
            known = one in mine and other in theirs
            if not known or new.dialect.static_shape(mine[one]) != old.dialect.static_shape(
                theirs[other]
            ):
                del pairs.tensors[one]
        return cls(old, new, pairs, everything)

    @cached_property
    def _found(self) -> tuple[list[Target], dict[str, str]]:
        return targets_of(self.new.graph, self.pairs)

    @cached_property
    def targets(self) -> list[Target]:
        """The layers that a closed form may fit, in the order in which they run."""
        return [
            t
            for t in self._found[0]
            if self._is_own(t.place, t.call) or self._is_free(self._layer(t.call))
        ]

    @property
    def sites(self) -> list[Target]:
        """Those of them that downsample otherwise than in the original."""
        return [target for target in self.targets if target.site]

    @cached_property
    def _pools(self) -> tuple[list[PoolTarget], dict[str, str]]:
        return pools_of(
            self.new.graph,
            self.pairs,
            lambda call: takes_scale(self.new.dialect, self._layer(call), call.role),
        )

    @property
    def pools(self) -> list[PoolTarget]:
        """The pools that are of another kind, and have a layer in front that takes a scale and an offset."""
        return self._pools[0]

    @property
    def notes(self) -> list[str]:
        """What a user must know: sites that no closed form fits, and frozen layers that a site makes move."""
        found = [
            f"{name}: {reason}; only distillation fits it"
            for name, reason in self._found[1].items()
        ]
        found += [f"{name}: {reason}" for name, reason in self._pools[1].items()]
        frozen = dict.fromkeys(str(layer.name) for layer in self._own_layers if not layer.trainable)
        return found + [
            f"{name} is frozen, and is fitted nevertheless: it is part of a site" for name in frozen
        ]

    def norms(self) -> list[tuple[TensorRef, str, Call]]:
        """Return the calls of BatchNormalization layers whose statistics a site changes."""
        found: dict[int, tuple[TensorRef, str, Call]] = {}
        reached = set(run_order(self.new.graph))
        for place, name, call, _ in affected(self.new.graph, self.pairs):
            layer, seen = self._layer(call), place in reached and call.frozen_training is None
            if seen and self._is_norm(layer) and self._trains(layer):
                found.setdefault(id(layer), (place, name, call))
        return list(found.values())

    def variables(self) -> dict[str, list[Any]]:
        """Return the variables that may move end to end: `weights`, and `tables` of embeddings."""
        found = list(self.new.model.trainable_variables) if self.everything else []
        for layer in self._own_layers:
            found += self.new.dialect.trained_weights(layer)
        embeddings = [
            layer for layer in self.new.layers if self.new.dialect.stock_class(layer) == "Embedding"
        ]
        tables = {id(variable) for layer in embeddings for variable in layer.trainable_variables}
        once = {id(variable): variable for variable in found}
        return {
            "weights": [variable for key, variable in once.items() if key not in tables],
            "tables": [variable for key, variable in once.items() if key in tables],
        }

    def runs_in_training(self, layer: Any) -> bool:
        """Tell whether a layer runs in training mode end to end: BatchNormalization that may move does.

        What a TimeDistributed layer wraps does not.
        """
        return self._is_norm(layer) and self._trains(layer)

    @cached_property
    def _own_layers(self) -> list[Any]:
        """The layers that sites are made of: what downsamples, and the BatchNormalization behind it."""
        found = []
        for place, _, call, _ in affected(self.new.graph, self.pairs):
            if self._is_own(place, call):
                found.append(self._layer(call))
        own = [target for target in self._found[0] if self._is_own(target.place, target.call)]
        norms = [target.kernel(self.new).norm for target in own]
        in_front = [self._layer(pool.call) for pool in self.pools]
        return [*found, *(norm for norm in norms if norm is not None), *in_front]

    def _trains(self, layer: Any) -> bool:
        return any(layer is own for own in self._own_layers) or self._is_free(layer)

    def _is_free(self, layer: Any) -> bool:
        return self.everything and bool(layer.trainable)

    def _is_own(self, place: TensorRef, call: Call) -> bool:
        """Tell whether a call is a site's own, or was added to be trained."""
        return place in self.pairs.sites or (
            place in self.pairs.added and bool(self._layer(call).trainable)
        )

    def _is_norm(self, layer: Any) -> bool:
        return self.new.dialect.stock_class(layer) == "BatchNormalization"

    def _layer(self, call: Call) -> Any:
        return self.new.dialect.unwrapped(self.new.layers[call.layer])
