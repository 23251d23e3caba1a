"""A graph in the making: as it will be once swaps are made, so that rules see what they will meet.

A pool beside a swapped pool meets the convolution that took that pool's place. Its swap and the
earlier one then become one, and a second run finds nothing to add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, NamedTuple

from keras_downswap.ir.facts import CONV_KINDS, Facts, LayerKind, PoolFacts, ResizeFacts
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role, Tensor
from keras_downswap.ir.kernel_math import fixed_then
from keras_downswap.ir.replacement import (
    KEEP,
    KernelTransform,
    Make,
    MakeConv,
    MakePool,
    MakeResize,
    Replacement,
    Step,
)
from keras_downswap.ir.types import Array
from keras_downswap.planning.shapes import MapShape, conv_facts_of, infer_shapes

Steps = tuple[Step, ...]
ROLES = {
    **dict.fromkeys(CONV_KINDS, Role.CONV),
    LayerKind.MAX_POOLING: Role.MAX_POOL,
    LayerKind.AVERAGE_POOLING: Role.AVERAGE_POOL,
    LayerKind.ACTIVATION: Role.LINEAR,
    LayerKind.ZERO_PADDING: Role.RESIZE,
    LayerKind.CROPPING: Role.RESIZE,
}
"""What a made layer does, by its kind; any other kind is opaque to rules."""


@dataclass(frozen=True)
class Origin:
    """Where a call of a draft comes from.

    Attributes:
        index: The old call that it replaces, or is.
        steps: Its layers: `KEEP`, none, or a made layer with the padding and cropping before it.
    """

    index: int
    steps: Steps


@dataclass(frozen=True)
class Draft:
    """A graph with some swaps made.

    Attributes:
        graph: The graph as it will be; removed calls stay as inert ones.
        origins: For each of its calls, where it comes from.
    """

    graph: Graph
    origins: tuple[Origin, ...]

    @classmethod
    def of(cls, graph: Graph) -> Draft:
        """Return the draft in which nothing is swapped yet."""
        origins = [Origin(call.index, (KEEP,)) for call in graph.calls]
        return cls(graph, tuple(origins))

    def steps(self, old: Sequence[int]) -> dict[int, Steps]:
        """Return what replaces some old calls; those that stay are left out."""
        found: dict[int, Steps] = dict.fromkeys(old, ())
        # Several calls of the draft may come from one old call: its steps are theirs in order.
        for origin in self.origins:
            if origin.index in found:
                found[origin.index] += origin.steps
        stay = (KEEP,)
        return {index: steps for index, steps in found.items() if steps != stay}

    def applied(self, answers: Sequence[Replacement]) -> Draft:
        """Return the draft with some more swaps, of different calls, which rules answered on it."""
        return _DraftBuilder(self, answers).draft()


class _DraftBuilder:
    """Draws a draft anew, call by call, with the steps of answers in place of the calls.

    Numbers of tensors stay what they were, and tensors between new layers get new numbers after
    them. So whoever noted a tensor of an earlier draft finds its call again, by its producer.
    """

    def __init__(self, draft: Draft, answers: Sequence[Replacement]) -> None:
        self.old = draft
        self.calls: list[Call] = []
        self.origins: list[Origin] = []
        self.tensors: list[Tensor] = list(draft.graph.tensors)
        self.steps: dict[int, Steps] = {}
        # What to read instead of the output of a removed call: its input.
        self.instead: dict[int, int] = {}
        # The maps after each layer of a swapped call, and where their channels are.
        self.maps: dict[int, list[MapShape]] = {}
        self.channels_last: dict[int, bool] = {}
        for answer in answers:
            self.steps.update(answer.steps)
            channels_last = draft.graph.channels_last(answer.chain)
            for index in answer.chain:
                self.channels_last[index] = channels_last
            # Also of calls that stay: the maps that they write may have other lengths now.
            for shape in infer_shapes(draft.graph, answer):
                maps = self.maps.setdefault(shape.call.index, [])
                maps.append(shape.after)

    def draft(self) -> Draft:
        """Return the new draft."""
        graph = self.old.graph
        for call in graph.calls:
            if call.index in self.maps or call.index in self.steps:
                self._add_swapped(call)
            else:
                steps = self.old.origins[call.index].steps
                inputs = self._present(call.inputs)
                self._add(call, inputs, call.outputs, self._origin(call, steps))
        drawn = replace(
            graph,
            calls=tuple(self.calls),
            tensors=tuple(self.tensors),
            outputs=self._present(graph.outputs),
        )
        return Draft(drawn, tuple(self.origins))

    def _present(self, tensors: tuple[int, ...]) -> tuple[int, ...]:
        """Return what is read instead of some tensors, the outputs of removed calls among them."""
        if not self.instead:
            return tensors
        return tuple(self.instead.get(tensor, tensor) for tensor in tensors)

    def _origin(self, call: Call, steps: Steps) -> Origin:
        """Return where what replaces a call of the old draft comes from."""
        # That call may be one that an earlier swap made: origins lead to calls of the model.
        earlier = self.old.origins[call.index]
        return Origin(earlier.index, steps)

    def _add(
        self, call: Call, inputs: tuple[int, ...], outputs: tuple[int, ...], origin: Origin
    ) -> None:
        """Add a call at the next index."""
        index = len(self.calls)
        now = (index, inputs, outputs)
        # Most calls are as they were: only those that moved are created anew.
        if now != (call.index, call.inputs, call.outputs):
            call = replace(call, index=index, inputs=inputs, outputs=outputs)
        for number in outputs:
            tensor = self.tensors[number]
            if tensor.producer != index:
                self.tensors[number] = replace(tensor, producer=index)
        self.calls.append(call)
        self.origins.append(origin)

    def _add_swapped(self, call: Call) -> None:
        inputs = self._present(call.inputs)
        steps = self.steps.get(call.index, (KEEP,))
        if not steps:
            self._add_removed(call, inputs)
            return
        maps = self.maps[call.index]
        before = self.old.origins[call.index].steps
        successor = _successor(steps)
        done = 0
        for padding, step in _bundles(steps):
            done += len(padding) + 1
            after = maps[done - 1]
            # The last layer writes what the old call wrote: whoever reads that need not change.
            is_last = done == len(steps)
            outputs = call.outputs if is_last else (len(self.tensors),)
            for tensor in outputs:
                self._set_shape(call, tensor, after, is_last)
            if isinstance(step, Make):
                layer = step
                # The call may be one that an earlier swap made: what that did to the weights
                # comes first, then what this one does.
                if step is successor and before:
                    layer = _changed_again(before[-1], step)
                made = _made_call(call, padding, step)
                self._add(made, inputs, outputs, self._origin(call, (*padding, layer)))
            else:
                self._add(call, inputs, outputs, self._origin(call, before))
            inputs = outputs

    def _add_removed(self, call: Call, inputs: tuple[int, ...]) -> None:
        """Keep the place of a removed call, so that indices of tensors stay; nothing reads it."""
        self.instead[call.outputs[0]] = inputs[0]
        inert = replace(call, role=Role.OTHER, windows=(), facts=None)
        self._add(inert, (), call.outputs, self._origin(call, ()))

    def _set_shape(self, call: Call, tensor: int, now: MapShape, exists: bool) -> None:
        """Give a tensor of a swapped call the lengths and channels that it has now, or add it."""
        old = self.tensors[call.outputs[0]]
        # Inside a TimeDistributed the axis of time comes after that of the batch.
        first_axis = 1 if call.wrapped is None else 2
        before = old.shape[:first_axis]
        if self.channels_last[call.index]:
            shape = (*before, *now.lengths, now.depth)
        else:
            shape = (*before, now.depth, *now.lengths)
        if exists:
            self.tensors[tensor] = replace(self.tensors[tensor], shape=shape)
        else:
            self.tensors.append(replace(old, shape=shape))


class _Bundle(NamedTuple):
    """A layer, and the padding and cropping right before it that belong to it."""

    padding: tuple[MakeResize, ...]
    step: Step


def _bundles(steps: Steps) -> list[_Bundle]:
    """Split steps into layers, each convolution with the padding and cropping right before it."""
    found: list[_Bundle] = []
    padding: tuple[MakeResize, ...] = ()
    for step in steps:
        if isinstance(step, MakeResize):
            padding = (*padding, step)
            continue
        # A convolution that pads reads the same zeros as one after a padding layer. A pool does
        # not: it leaves out what it pads, and would count the zeros of a padding layer.
        if not isinstance(step, MakeConv):
            found += [_Bundle((), layer) for layer in padding]
            padding = ()
        found.append(_Bundle(padding, step))
        padding = ()
    return found + [_Bundle((), layer) for layer in padding]


def _made_call(call: Call, padding: Sequence[MakeResize], step: Make) -> Call:
    """Return the call of a made layer."""
    layer = step.beside
    channels_last = call.channels_last
    # Calls of one layer share weights, and a convolution like another one has that one's.
    if isinstance(step, MakeConv) and step.like is not None:
        layer = step.like
    if isinstance(step, MakeConv | MakePool | MakeResize):
        channels_last = step.channels_last
    rank = f"{step.rank}D" if step.rank else ""
    return replace(
        call,
        name=step.name,
        class_name=f"{step.kind.value}{rank}",
        layer=layer,
        role=ROLES.get(step.kind, Role.OTHER),
        windows=_padded_windows(padding, step),
        channels_last=channels_last,
        facts=_made_facts(call, step),
    )


def _made_facts(call: Call, step: Make) -> Facts | None:
    if isinstance(step, MakeConv):
        facts = conv_facts_of(call, step)
        assert facts is not None
        # A convolution in the place of a pool is of a rank and data format that has them too.
        return replace(facts, padding_layers=call.padding_layers)
    if isinstance(step, MakePool):
        return PoolFacts(call.padding_layers)
    if isinstance(step, MakeResize):
        return ResizeFacts(step.cells)
    return None


def _padded_windows(padding: Sequence[MakeResize], layer: Make) -> tuple[Window, ...]:
    """Return the windows of a made layer, with the layers before it as explicit padding."""
    if not padding:
        return layer.windows
    windows = []
    for axis, window in enumerate(layer.windows):
        before = sum(resize.cells[axis][0] for resize in padding)
        after = sum(resize.cells[axis][1] for resize in padding)
        windows.append(replace(window, padding=(before, after)))
    return tuple(windows)


def _successor(steps: Steps) -> Step | None:
    """Return the convolution that succeeds the one that was replaced.

    It is the last that has its weights, else the last.
    """
    convs = [step for step in steps if isinstance(step, MakeConv)]
    with_weights = [step for step in convs if step.like is not None]
    candidates = with_weights or convs
    return candidates[-1] if candidates else None


def _changed_again(old: Step, new: Make) -> Make:
    """Return a convolution that one swap creates and a second one changes, as one layer."""
    if not isinstance(old, MakeConv) or not isinstance(new, MakeConv):
        return new
    # A fixed kernel is computed from channels alone: what the old one was does not matter.
    if new.fixed is not None:
        return new
    changed = _settings_given(new)
    if old.fixed is not None:
        if new.kernel is None:
            return replace(old, **changed)
        # The new transform expects a kernel, which a fixed one becomes once channels are known.
        taps = tuple(window.size for window in old.axes)
        fixed = partial(fixed_then, old.fixed, taps, new.kernel)
        return replace(old, fixed=fixed, **changed)
    kernel = _composed(old.kernel, new.kernel)
    bias = _composed(old.bias, new.bias)
    return replace(old, kernel=kernel, bias=bias, **changed)


def _settings_given(layer: MakeConv) -> dict[str, Any]:
    """Return the settings that a layer does not take from the one that it is like."""
    names = ("axes", "filters", "groups", "depth_multiplier", "use_bias", "activation")
    assert {*names} <= {field.name for field in fields(MakeConv)}
    settings: dict[str, Any] = {}
    for name in names:
        value = getattr(layer, name)
        # None says that the setting is that of the layer that it is like.
        if value is not None:
            settings[name] = value
    return settings


def _composed(
    first: KernelTransform | None, second: KernelTransform | None
) -> KernelTransform | None:
    if first is None or second is None:
        return second if first is None else first
    return partial(_in_turn, first, second)


def _in_turn(first: KernelTransform, second: KernelTransform, values: Array) -> Array:
    return second(first(values))
