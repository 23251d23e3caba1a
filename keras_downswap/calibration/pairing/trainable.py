"""What a calibration may change, and which layers it fits: by scope, and by what is frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from keras_downswap.calibration.execution.interpreter import CallRef, Interpreter
from keras_downswap.calibration.execution.variables import learnable_weights
from keras_downswap.calibration.pairing.pairs import Pairs, pair_tensors
from keras_downswap.calibration.pairing.pools import PoolTarget, find_pool_targets
from keras_downswap.calibration.pairing.targets import (
    KernelTarget,
    affected_calls,
    find_kernel_targets,
    run_order,
)
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call, Role


@dataclass(frozen=True)
class TrainableSet:
    """A swapped model beside the original, and what of it may change.

    Attributes:
        old: The original.
        new: The swapped model.
        pairs: What in it stands for what in the original.
        everything: Whether layers other than the sites may change, where they are trainable.
    """

    old: Reading
    new: Reading
    pairs: Pairs
    everything: bool

    @classmethod
    def of(cls, old: Reading, new: Reading, everything: bool, batch: Sequence[Any]) -> TrainableSet:
        """Compare two models.

        Args:
            old: The original.
            new: The swapped model.
            everything: Whether layers other than the sites may change.
            batch: Inputs of both, as backend tensors: tensors whose shapes then differ are no pair.
        """
        pairs = pair_tensors(old.graph, new.graph)
        # Where lengths are unknown, the graphs alone do not tell whether shapes agree.
        interpreter = Interpreter(new, set(pairs.tensors.keys()))
        old_interpreter = Interpreter(old, set(pairs.tensors.values()))
        values = interpreter.run(batch)
        old_values = old_interpreter.run(batch)
        for ref, old_ref in list(pairs.tensors.items()):
            is_known = ref in values and old_ref in old_values
            if not is_known:
                del pairs.tensors[ref]
                continue
            lengths = new.dialect.static_shape(values[ref])
            if lengths != old.dialect.static_shape(old_values[old_ref]):
                del pairs.tensors[ref]
        return cls(old, new, pairs, everything)

    @cached_property
    def _kernel_targets(self) -> tuple[list[KernelTarget], dict[str, str]]:
        return find_kernel_targets(self.new.graph, self.pairs)

    @cached_property
    def _pool_targets(self) -> tuple[list[PoolTarget], dict[str, str]]:
        return find_pool_targets(self.new.graph, self.pairs, self._takes_scale)

    @cached_property
    def targets(self) -> list[KernelTarget]:
        """The layers whose kernel a closed form may fit, in the order of the graph."""
        found = []
        for target in self._kernel_targets[0]:
            is_own = self._is_own(target.call_ref, target.call)
            if is_own or self._is_free(self._layer(target.call)):
                found.append(target)
        return found

    @property
    def sites(self) -> list[KernelTarget]:
        """Those of them that downsample otherwise than in the original."""
        return [target for target in self.targets if target.site]

    @property
    def pools(self) -> list[PoolTarget]:
        """The pools of another kind for which a layer before them can be fitted."""
        return self._pool_targets[0]

    @property
    def notes(self) -> list[str]:
        """What a user must know: sites without a closed form, and frozen layers that are fitted."""
        notes = []
        for name, reason in self._kernel_targets[1].items():
            notes.append(f"{name}: {reason}; only distillation fits it")
        for name, reason in self._pool_targets[1].items():
            notes.append(f"{name}: {reason}")
        frozen = [layer for layer in self._own_layers if not layer.trainable]
        for name in dict.fromkeys(str(layer.name) for layer in frozen):
            notes.append(f"{name} is frozen, and is fitted nevertheless: it is part of a site")
        return notes

    def batch_norms(self) -> list[tuple[CallRef, str, Call]]:
        """Return the BatchNormalization layers whose statistics a site changes.

        Returns:
            For each its first call, its name as `outer/inner`, and the call.
        """
        found: dict[int, tuple[CallRef, str, Call]] = {}
        # Inside a nested model that runs as a whole, no interpreter comes by.
        reached = set(run_order(self.new.graph))
        for affected in affected_calls(self.new.graph, self.pairs):
            call = affected.call
            if affected.ref not in reached or call.frozen_training is not None:
                continue
            # A layer that is called in several places has one set of statistics: the first call's.
            layer = self._layer(call)
            if self.runs_in_training(layer):
                found.setdefault(id(layer), (affected.ref, affected.name, call))
        return list(found.values())

    def variables(self) -> dict[str, list[Any]]:
        """Return what distillation may change: `weights`, and `tables` of embeddings."""
        found: list[Any] = []
        if self.everything:
            found += self.new.model.trainable_variables
        for layer in self._own_layers:
            found += learnable_weights(self.new.dialect, layer)
        # Tables of embeddings are apart: a step moves only the rows that a batch looks up, so the
        # optimiser of matrices does not suit them.
        tables: set[int] = set()
        for layer in self.new.layers:
            if self.new.dialect.stock_class(layer) == "Embedding":
                tables.update(id(variable) for variable in layer.trainable_variables)
        kinds: dict[str, list[Any]] = {"weights": [], "tables": []}
        for key, variable in {id(variable): variable for variable in found}.items():
            kind = "tables" if key in tables else "weights"
            kinds[kind].append(variable)
        return kinds

    def runs_in_training(self, layer: Any) -> bool:
        """Tell whether a layer runs in training mode during distillation.

        BatchNormalization that may change does. One that a TimeDistributed layer wraps does not:
        the layer given is the wrapper then.
        """
        is_norm = self.new.dialect.is_batch_norm(layer)
        if not is_norm:
            return False
        is_own = any(layer is own for own in self._own_layers)
        return is_own or self._is_free(layer)

    @cached_property
    def _own_layers(self) -> list[Any]:
        """The layers that sites consist of.

        What downsamples, the BatchNormalization after it, and what takes a pool's scale.
        """
        layers = []
        for affected in affected_calls(self.new.graph, self.pairs):
            if self._is_own(affected.ref, affected.call):
                layers.append(self._layer(affected.call))
        for target in self._kernel_targets[0]:
            if self._is_own(target.call_ref, target.call):
                norm = target.live_kernel(self.new).batch_norm
                if norm is not None:
                    layers.append(norm)
        layers += [self._layer(pool.call) for pool in self.pools]
        return layers

    def _takes_scale(self, call: Call) -> bool:
        """Tell whether a layer's weights can take a scale for each channel, and may change."""
        layer = self._layer(call)
        can_take = call.role is Role.CONV
        if self.new.dialect.is_batch_norm(layer):
            is_whole = layer.gamma is not None and layer.beta is not None
            can_take = can_take or is_whole
        return can_take and bool(layer.trainable)

    def _is_free(self, layer: Any) -> bool:
        """Tell whether a layer may change that is no site's own."""
        return self.everything and bool(layer.trainable)

    def _is_own(self, call_ref: CallRef, call: Call) -> bool:
        """Tell whether a call is a site's own, or was added to be trained."""
        if call_ref in self.pairs.sites:
            return True
        # A fixed kernel that a swap adds (a blur) is frozen, and stays what it is.
        is_added = call_ref in self.pairs.added
        return is_added and bool(self._layer(call).trainable)

    def _layer(self, call: Call) -> Any:
        layer = self.new.layers[call.layer]
        return self.new.dialect.unwrapped(layer)
