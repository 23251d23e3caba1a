"""A graph in the making: as it will be once swaps are made, so that the next rule is asked about what it will meet.

A pool that stands beside a swapped pool meets the convolution that took that pool's place. Its swap
and the earlier one then become one, and a second run finds nothing to add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import Call, Graph, Role, Tensor
from keras_downswap.ir.kernel_math import fixed_then
from keras_downswap.ir.replacement import KEEP, Make, Replacement, Step
from keras_downswap.ir.types import Array
from keras_downswap.planning.shapes import MapShape, infer_shapes, settings_of
from keras_downswap.rulekit.layers import cells, made_windows

RESIZES = frozenset({"ZeroPadding", "Cropping"})
ROLES = {
    "MaxPooling": Role.MAX_POOL,
    "AveragePooling": Role.AVERAGE_POOL,
    "Activation": Role.LINEAR,
    **dict.fromkeys(RESIZES, Role.RESIZE),
}


@dataclass(frozen=True)
class Draft:
    """A graph with some swaps made.

    Attributes:
        graph: The graph as it will be; removed calls stay as inert ones.
        origins: For each of its calls the index of the old call in whose place it stands, and its
            layers: `KEEP`, none, or a made layer with the padding and cropping in front of it.
    """

    graph: Graph
    origins: tuple[tuple[int, tuple[Step, ...]], ...]

    @classmethod
    def of(cls, graph: Graph) -> Draft:
        """Return the draft in which nothing is swapped yet."""
        return cls(graph, tuple((call.index, (KEEP,)) for call in graph.calls))

    def steps(self, old: Sequence[int]) -> dict[int, tuple[Step, ...]]:
        """Return what stands in the place of some old calls, for those of which something else than they does."""
        found: dict[int, tuple[Step, ...]] = dict.fromkeys(old, ())
        for home, steps in self.origins:
            if home in found:
                found[home] += steps
        return {index: steps for index, steps in found.items() if steps != (KEEP,)}

    def applied(self, answers: Sequence[Replacement]) -> Draft:
        """Return the draft with some more swaps, of different calls, which rules answered on its graph."""
        return _Redraw(self, answers).draft()


class _Redraw:
    """Draws a draft anew, call by call, with an answer's steps in the place of the calls that it concerns."""

    def __init__(self, draft: Draft, answers: Sequence[Replacement]) -> None:
        self.old = draft
        self.steps = {index: steps for answer in answers for index, steps in answer.steps.items()}
        self.calls: list[Call] = []
        self.origins: list[tuple[int, tuple[Step, ...]]] = []
        self.tensors: list[Tensor] = list(draft.graph.tensors)
        self.instead: dict[int, int] = {}
        self.maps: dict[int, list[MapShape]] = {}
        self.last: dict[int, bool] = {}
        for answer in answers:
            self.last |= dict.fromkeys(answer.chain, draft.graph.channels_last(answer.chain))
            for stage in infer_shapes(draft.graph, answer):
                self.maps.setdefault(stage.call.index, []).append(stage.after)

    def draft(self) -> Draft:
        graph = self.old.graph
        for call in graph.calls:
            if call.index in self.maps or call.index in self.steps:
                self._swapped(call)
            else:
                self._add(
                    call, self._inputs(call), call.outputs, self.old.origins[call.index][1], call
                )
        outputs = tuple(self.instead.get(t, t) for t in graph.outputs)
        parts = replace(
            graph, calls=tuple(self.calls), tensors=tuple(self.tensors), outputs=outputs
        )
        return Draft(parts, tuple(self.origins))

    def _inputs(self, call: Call) -> tuple[int, ...]:
        return tuple(self.instead.get(t, t) for t in call.inputs) if self.instead else call.inputs

    def _add(
        self,
        call: Call,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        steps: tuple[Step, ...],
        old: Call,
    ) -> None:
        index = len(self.calls)
        if (index, inputs, outputs) != (call.index, call.inputs, call.outputs):
            call = replace(call, index=index, inputs=inputs, outputs=outputs)
        for tensor in outputs:
            if self.tensors[tensor].producer != index:
                self.tensors[tensor] = replace(self.tensors[tensor], producer=index)
        self.calls.append(call)
        self.origins.append((self.old.origins[old.index][0], steps))

    def _swapped(self, call: Call) -> None:
        inputs = self._inputs(call)
        steps = self.steps.get(call.index, (KEEP,))
        if not steps:
            self.instead[call.outputs[0]] = inputs[0]
            self._add(replace(call, role=Role.OTHER, windows=()), (), call.outputs, (), call)
            return
        maps, before = self.maps[call.index], self.old.origins[call.index][1]
        done, heir = 0, _heir(steps)
        for front, step in _bundles(steps):
            done += len(front) + 1
            last = done == len(steps)
            outputs = call.outputs if last else (len(self.tensors),)
            for tensor in outputs:
                self._shape(call, tensor, maps[done - 1], last)
            if isinstance(step, Make):
                bundle = (*front, _both(before[-1], step) if step is heir and before else step)
                self._add(_made(call, front, step), inputs, outputs, bundle, call)
            else:
                self._add(call, inputs, outputs, before, call)
            inputs = outputs

    def _shape(self, call: Call, tensor: int, now: MapShape, exists: bool) -> None:
        """Give a tensor of a swapped call the lengths and channels that it has now, or add it."""
        old = self.tensors[call.outputs[0]]
        shape, first = list(old.shape), 1 + (call.wrapped is not None)
        last = self.last[call.index]
        start = first + (not last)
        shape[start : start + len(now.lengths)] = now.lengths
        shape[-1 if last else first] = now.depth
        if exists:
            self.tensors[tensor] = replace(self.tensors[tensor], shape=tuple(shape))
        else:
            self.tensors.append(replace(old, shape=tuple(shape)))


def _bundles(steps: tuple[Step, ...]) -> list[tuple[tuple[Make, ...], Step]]:
    """Split steps into layers, each convolution with the padding and cropping right in front of it."""
    found: list[tuple[tuple[Make, ...], Step]] = []
    front: tuple[Make, ...] = ()
    for step in steps:
        if isinstance(step, Make) and step.kind in RESIZES:
            front = (*front, step)
            continue
        if not isinstance(step, Make) or not step.convolves:
            found += [((), layer) for layer in front]
            front = ()
        found.append((front, step))
        front = ()
    return found + [((), layer) for layer in front]


def _made(call: Call, front: tuple[Make, ...], step: Make) -> Call:
    """Return the call of a made layer."""
    new = replace(
        call,
        name=step.name,
        class_name=f"{step.kind}{step.rank or ''}{'D' if step.rank else ''}",
        layer=step.beside if step.like is None else step.like,
        role=Role.CONV if step.convolves else ROLES.get(step.kind, Role.OTHER),
        windows=_windows(front, step),
        channels_last=step.settings.get("data_format", _format(call)) == "channels_last",
    )
    kept = {key: call.settings[key] for key in ("layers_in_front",) if key in call.settings}
    marks = {"blurs": step.blurs, "fixed": step.fixed is not None}
    return replace(
        new,
        settings={
            **kept,
            **settings_of(call, step),
            **{mark: True for mark, so in marks.items() if so},
        }
        if new.windows
        else kept,
    )


def _format(call: Call) -> str:
    return "channels_last" if call.channels_last else "channels_first"


def _windows(front: tuple[Make, ...], layer: Make) -> tuple[Window, ...]:
    """Return the windows of a made layer, with the layers in front of it as explicit padding."""
    around = [(0, 0)] * layer.rank
    for resize in front:
        around = [(b + x, a + y) for (b, a), (x, y) in zip(around, cells(resize), strict=True)]
    windows = made_windows(layer)
    return (
        tuple(replace(w, padding=p) for w, p in zip(windows, around, strict=True))
        if front
        else windows
    )


def _heir(steps: tuple[Step, ...]) -> Step | None:
    """Return the convolution that takes the place of the one before: the last that has its weights, else the last."""
    made = [step for step in steps if isinstance(step, Make) and step.convolves]
    theirs = [step for step in made if step.like is not None]
    return next(reversed(theirs or made), None)


def _both(old: Step, new: Make) -> Make:
    """Return a made convolution, made over by a second swap."""
    if not isinstance(old, Make) or not old.convolves or new.fixed is not None:
        return new
    settings = {**old.settings, **new.settings}
    if old.fixed is not None:
        taps = tuple(old.settings["kernel_size"])
        fixed = (
            old.fixed if new.kernel is None else partial(fixed_then, old.fixed, taps, new.kernel)
        )
        return replace(old, settings=settings, fixed=fixed)
    kernels = tuple(make.kernel for make in (old, new) if make.kernel)
    biases = tuple(make.bias for make in (old, new) if make.bias)
    kernel, bias = (partial(_in_turn, makes) if makes else None for makes in (kernels, biases))
    return replace(old, settings=settings, kernel=kernel, bias=bias)


def _in_turn(makes: tuple[Callable[[Array], Array], ...], values: Array) -> Array:
    for make in makes:
        values = make(values)
    return values
