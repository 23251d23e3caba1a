"""Random whole models: branches, shared layers, nested models, every kind of layer; a recipe builds
in either Keras.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from support import random_kinds as kinds
from support.looking import BACKEND
from support.random_layers import MERGES, OPERATIONS, Layer, Spec, least
from support.random_recipe import Recipe, Step, takes_again

DEPTH = 2
NAMES = ("a", "a_pool", "a_pad", "A_CROP", "b", "b_pool", "b_pad")


class Drawing:
    """A recipe in the making.

    Args:
        draw: Hypothesis' function.
        inputs: The inputs.
        shelf: All layers of the model so far, with the tensors on which they were first called, by
            key.
        given: Draws the arguments that all layers take alike.
        depth: How many models may be nested in this one.
        chain: Whether it becomes a Sequential model.
    """

    def __init__(
        self,
        draw: st.DrawFn,
        inputs: list[Spec],
        shelf: dict[int, Any],
        given: dict[str, Any],
        depth: int,
        chain: bool,
    ) -> None:
        self.draw, self.shelf, self.common, self.depth, self.chain = (
            draw,
            shelf,
            given,
            depth,
            chain,
        )
        self.inner = depth < DEPTH
        self.inputs, self.specs, self.steps = tuple(inputs), list(inputs), list[Step]()

    def one(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def given(self) -> dict[str, Any]:
        """Return the arguments that layers share: data format, dtype, seldom a name."""
        given = {k: v for k, v in self.common.items() if k in ("data_format", "dtype")}
        if "dtypes" in self.common:
            given["dtype"] = self.one(*self.common["dtypes"])
        names = self.common["names"]
        if names and self.one(*[False] * 9, True):
            given["name"] = names.pop(self.draw(st.integers(0, len(names) - 1)))
        return given

    def tensor(self, rank: int = 0) -> int | None:
        """Draw a tensor of at least a rank, the newest more often than not."""
        fit = [i for i, spec in enumerate(self.specs) if spec.rank >= rank]
        fit = [i for i in fit if min(map(least, self.specs[i].shape)) > 1 + rank] or fit
        if self.chain or not fit:
            return fit[-1] if fit and fit[-1] == len(self.specs) - 1 else None
        back: int = self.one(0, 0, 0, 0, 1, 2, 4, 7)
        return fit[-1 - min(back, len(fit) - 1)]

    def add(
        self, layer: Layer | Recipe | None, on: tuple[int, ...], key: int | None = None
    ) -> int | None:
        """Add a call, if it fits; return the number of the first tensor that it makes."""
        specs = tuple(self.specs[i] for i in on)
        made = layer.after(specs) if layer is not None else None
        if (
            layer is None
            or made is None
            or (key is not None and not takes_again(layer, self.shelf[key][1], specs))
        ):
            return None
        if self.chain and (len(on) > 1 or len(made) > 1):
            return None
        if key is None:
            key = next(self.common["keys"])
            if isinstance(layer, Recipe) or layer.kind not in {*OPERATIONS, *MERGES}:
                self.shelf[key] = (layer, specs)
        call = {}
        if (
            isinstance(layer, Layer)
            and layer.kind in ("BatchNormalization", "Dropout")
            and not self.chain
        ):
            call = self.one(
                *[{}] * 9, {"training": False}, {"training": layer.kind == "BatchNormalization"}
            )
        self.steps.append(Step(key, layer, on, call))
        self.specs += made
        return len(self.specs) - len(made)

    def site(self) -> None:
        """Add a convolution, some pointwise layers and a pool, or a part of that."""
        at = self.tensor(1)
        at = at if at is None or self.one(False, False, False, True) else self.convolution(at) or at
        for _ in range(self.one(0, 0, 1, 1, 2)):
            at = at if at is None else self.pointwise(at) or at
        at = at if at is None else self.pool(at)
        if at is not None and self.one(False, False, False, True):
            self.pool(at)

    def ahead(self) -> None:
        """Add a pool and a convolution right after it."""
        at = self.tensor(1)
        at = at if at is None else self.pool(at)
        if at is not None:
            self.convolution(at)

    def averaged(self) -> None:
        """Add a convolution, an affine layer or none, and a pool that never pads: exact where it
        averages.
        """
        at = self.tensor(1)
        at = at if at is None else self.convolution(at, activation=None)
        if at is None:
            return
        axis = 1 if "data_format" in self.common else len(self.specs[at].shape)
        between = self.one(
            None, Layer("Dropout", {"rate": 0.5}), Layer("BatchNormalization", {"axis": axis})
        )
        self.pool(self.add(between, (at,)) or at, padding="valid")

    def branched(self) -> None:
        """Add two or three convolutions of one tensor that differ in their weights, a join of them,
        and a pool.
        """
        at = self.tensor(1)
        first = (
            at
            if at is None or self.chain
            else self.convolution(at, activation=self.one(None, "relu"))
        )
        if at is None or first is None or self.chain:
            return
        layer = self.steps[-1].layer
        if isinstance(layer, Layer):
            layer = replace(
                layer, arguments={k: v for k, v in layer.arguments.items() if k != "name"}
            )
        ends = [first, *(self.add(layer, (at,)) for _ in range(self.one(1, 1, 2)))]
        kind = self.one(*MERGES, "Concatenate")
        axis = (
            {"axis": -len(self.specs[at].shape) if "data_format" in self.common else -1}
            if kind == "Concatenate"
            else {}
        )
        joined = self.add(
            Layer(kind, axis),
            tuple(end for end in ends[: 2 if kind == "Subtract" else 3] if end is not None),
        )
        if joined is not None:
            self.pool(self.pointwise(joined) or joined if self.one(True, False) else joined)

    def convolution(self, at: int, strided: bool | None = None, **fixed: Any) -> int | None:
        spec, given = self.specs[at], {**self.given(), **fixed}
        if not isinstance(spec.shape[0 if "data_format" in given else -1], int):
            return None
        return self.add(kinds.convolution(self.draw, spec, given, strided), (at,))

    def strided(self) -> None:
        """Add a convolution, most often a strided one, and a pointwise layer."""
        at = self.tensor(1)
        made = at if at is None else self.convolution(at, self.one(None, True, True))
        if made is not None and self.one(True, False):
            self.pointwise(made)

    def pointwise(self, at: int) -> int | None:
        spec = self.specs[at]
        if not self.chain and self.one(*[False] * 7, True):
            return self.add(Layer(self.one("affine", "relu")), (at,))
        return self.add(kinds.pointwise(self.draw, spec, self.given()), (at,))

    def pool(self, at: int, **fixed: Any) -> int | None:
        return self.add(kinds.pool(self.draw, self.specs[at], {**self.given(), **fixed}), (at,))

    def other(self) -> None:
        at = self.tensor(1)
        if at is not None:
            self.add(kinds.other(self.draw, self.specs[at], self.given()), (at,))

    def operation(self) -> None:
        at = self.tensor()
        if at is not None and not self.chain:
            self.add(Layer(self.one("affine", "relu", "slice", "slice", "mean")), (at,))

    def join(self) -> None:
        """Join the newest tensor with others that fit it, itself included, or with a small one that
        stretches.
        """
        at = self.tensor()
        if at is None or self.chain:
            return
        layer = Layer(self.one(*MERGES, "concat", "sum"), {})
        fit = [
            i
            for i in range(len(self.specs))
            if layer.after((self.specs[at], self.specs[i])) is not None
        ]
        if fit:
            self.add(layer, (at, fit[-1 - min(self.one(0, 0, 1, 2, 3), len(fit) - 1)]))

    def fitting(self, key: int) -> int | None:
        """Draw a tensor on which a layer can be called again."""
        layer, first = self.shelf[key]
        fit = []
        for i in range(len(self.specs) - 1, len(self.specs) - 2 if self.chain else -1, -1):
            specs = (self.specs[i],) * len(first)
            if takes_again(layer, first, specs) and layer.after(specs) is not None:
                fit.append(i)
        return self.one(*fit) if fit else None

    def repeat(self) -> None:
        """Call layers again that were called in a row, on another tensor or on what they made."""
        rows = [
            i for i, step in enumerate(self.steps) if step.key in self.shelf and len(step.on) == 1
        ]
        if not rows:
            return
        start = self.one(*rows)
        at = self.fitting(self.steps[start].key)
        for step in self.steps[start : start + self.one(4, 3, 2, 1)]:
            if at is None or step.key not in self.shelf or len(step.on) > 1:
                return
            at = self.add(step.layer, (at,), step.key)

    def shared(self) -> None:
        """Call any layer of the whole model again, of models around and inside this one too."""
        if self.shelf:
            key = self.one(*self.shelf)
            at = self.fitting(key)
            if at is not None:
                self.add(self.shelf[key][0], (at,) * len(self.shelf[key][1]), key)

    def nested(self) -> None:
        """Add a nested model, and often a pool or convolution beside its boundary."""
        at = self.tensor(1)
        if at is None or self.depth == 0:
            return
        if self.one(True, False, False):
            at = self.convolution(at) or at
        chain = self.chain or self.one(True, False)
        on = (at,) if chain or self.one(True, True, False) else (at, self.tensor() or at)
        loose = self.one(True, False)
        inputs = [kinds.loosened(self.specs[i], self.common, loose) for i in on]
        inner = Drawing(self.draw, inputs, self.shelf, self.common, self.depth - 1, chain)
        made = self.add(
            replace(inner.drawn(self.draw(st.integers(1, 4))), frozen=self.one(*[False] * 5, True)),
            on,
        )
        if made is not None and self.specs[made].rank > 0 and self.one(True, False):
            self.pool(made)

    def part(self) -> None:
        """Cut a model out of the calls so far, which share their nodes with it, and call it."""
        makers = {len(self.inputs) + i: step for i, step in enumerate(self.steps)}
        if self.chain or len(self.specs) != len(self.inputs) + len(self.steps) or not self.steps:
            return  # a call of several outputs leaves numbers of tensors and calls out of step
        end = at = self.draw(st.sampled_from(sorted(makers)))
        row: list[Step] = []
        while (
            at in makers
            and len(makers[at].on) == 1
            and len(row) < 5
            and (not row or self.one(*[True] * 4, False))
        ):
            row.insert(0, makers[at])
            at = row[0].on[0]
        if row:
            steps = tuple(replace(step, on=(i,)) for i, step in enumerate(row))
            recipe = Recipe((self.specs[at],), steps, (len(row),), cut=(at, end))
            fit = [i for i, spec in enumerate(self.specs) if recipe.after((spec,)) is not None]
            self.add(recipe, (self.one(*fit),))

    def drawn(self, rounds: int) -> Recipe:
        """Return a recipe of so many rounds of calls."""
        rows: list[Callable[[], object]] = [
            *[self.site] * 3, *[self.averaged] * 2, self.ahead, self.branched, *[self.strided] * 2,
            *[self.other] * 2,
            *[self.join] * 2, *[self.repeat] * 2, *[self.nested] * 2, self.operation, self.shared,
            self.part,
        ]  # fmt: skip
        for _ in range(rounds):
            if len(self.steps) < 14:
                self.one(*rows)()
        if not self.steps:
            self.add(Layer("ReLU"), (0,))
        if self.chain:
            return Recipe(
                self.inputs, tuple(self.steps), (len(self.specs) - 1,), ("sequential", "bare")
            )
        used = {i for step in self.steps for i in step.on}
        ends = [i for i in range(len(self.specs)) if i not in used] or [len(self.specs) - 1]
        outputs = ends[-3:] if self.one(True, True, False) else ends[-1:]
        for _ in range(self.one(0, 0, 0, 1, 2)):
            outputs.append(self.draw(st.integers(0, len(self.specs) - 1)))
        if self.inner:  # Keras 3 cannot call a model that passes a tensor through
            outputs = [i for i in outputs if i >= len(self.inputs)] or [len(self.specs) - 1]
        forms = self.one("bare", "bare", "list", "dict"), self.one("bare", "bare", "list", "dict")
        return Recipe(
            self.inputs, tuple(self.steps), tuple(self.draw(st.permutations(outputs))), forms
        )


@st.composite
def models(draw: st.DrawFn) -> Recipe:
    """Draw a model of a few to some twenty calls."""
    common: dict[str, Any] = {"keys": itertools.count(), "names": list(NAMES)}
    special = (
        ("float64", "mixed", "channels_first") if BACKEND == "tensorflow" else ("channels_first",)
    )
    kind = draw(st.sampled_from(("float32",) * 7 + special))
    if kind == "channels_first":
        common["data_format"] = kind
    elif kind != "float32":
        common |= (
            {"dtype": kind} if kind == "float64" else {"dtypes": (None, "float64", "mixed_float16")}
        )
    base, chain = draw(st.integers(8, 9)), draw(st.integers(0, 5)) == 0
    count = 1 if chain else draw(st.sampled_from((1, 1, 1, 2, 3)))
    inputs = [kinds.an_input(draw, common, base)]
    for _ in range(count - 1):
        inputs.append(inputs[0] if draw(st.booleans()) else kinds.an_input(draw, common, base))
    drawing = Drawing(draw, inputs, {}, common, DEPTH, chain)
    recipe = drawing.drawn(draw(st.integers(2, 8)))
    batch = draw(st.sampled_from((None, None, None, None, 2)))
    loss = (
        None
        if chain or draw(st.integers(0, 9))
        else draw(st.integers(0, least(len(drawing.specs) - 1)))
    )
    return replace(recipe, batch=batch, loss=loss)
