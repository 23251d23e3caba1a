"""One closed-form fit of a kernel, or of a scale and an offset for each of its channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from keras_downswap.calibration.closed_form.im2col import at, channels_behind, patches
from keras_downswap.calibration.closed_form.layerwise import HELD, KEPT, LayerFit, LayerFitter
from keras_downswap.calibration.closed_form.nonlinear_ridge import Problem
from keras_downswap.calibration.closed_form.normal_equations import times
from keras_downswap.calibration.pairing.targets import Target
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.types import Array

MEMORY = 512 * 2**20
"""Bytes that the rows of one fit may take."""


class KernelFit(LayerFitter):
    """The kernel of a convolution or of a dense layer."""

    def __init__(self, new: Reading, target: Target, scale_only: bool = False) -> None:
        """Make the fit of one layer.

        Args:
            new: The new model.
            target: The layer.
            scale_only: Whether only a scale and an offset for each channel are fitted, and the
                kernel keeps its form.
        """
        super().__init__(target.place, target.name, target.goal, target.call.channels_last)
        self.target, self.scale_only, self.beside = target, scale_only, target.beside
        self.folds = target.call.wrapped is not None
        self.kernel = target.kernel(new)
        values = self.kernel.unknowns * self.kernel.groups
        self.rows_wanted = max(1024, min(20 * self.kernel.unknowns, 49152, MEMORY // (4 * values)))

    def aimed(self, values: Array) -> Array:
        """Return the sums that give probabilities behind a softmax, but for what is added to all; else the values."""
        if self.kernel.makes_probabilities:
            return self.kernel.before_softmax(values)
        return super().aimed(self.kernel.own(values))

    def solve(self, inputs: Sequence[Array], beside: Sequence[Sequence[Array]]) -> list[LayerFit]:
        """Fit the layer, given for each batch its input and what other branches bring."""
        kernel, target = self.kernel, self.target
        rows = kernel.rows(self._taps(inputs))
        goal, held = np.concatenate(self.goals), self.held(inputs)
        weights, bias, others = kernel.weights(), kernel.offset(), self._others(beside)
        if kernel.makes_probabilities:
            goal += (times(rows, weights) + bias).mean(1, keepdims=True)
        few = rows.shape[1] - held < kernel.unknowns
        if few or self.scale_only:
            sums = times(rows, weights)
            ones = np.ones((kernel.filters, 1, 1), np.float32)
            alone = np.ascontiguousarray(sums.T[..., None])
            problem = Problem(
                alone, goal, kernel.through, ones, bias, kernel.can_shift, held, kernel.step, others
            )
            best = problem.solve(ridges=(1e-3,))
            scale = best.weights.reshape(kernel.groups, 1, -1)
            made, sums = weights * scale, sums * scale.ravel()
        else:
            problem = Problem(
                rows,
                goal,
                kernel.through,
                weights,
                bias,
                kernel.can_shift,
                held,
                kernel.step,
                others,
            )
            best = problem.solve()
            made, sums = best.weights, best.sums - best.bias
        if best.ridge is not None:
            kernel.write(made, best.bias, sums)
        short = (
            f"{rows.shape[1] - held} rows are too few for {kernel.unknowns} unknowns: scale and offset only"
            f"{self._more(rows.shape[1] - held)}"
        )
        notes = [short] * (few and not self.scale_only) + [KEPT] * (best.ridge is None)
        return [LayerFit(target.name, target.site, best.start, best.error, "; ".join(notes))]

    def _more(self, rows: int) -> str:
        """Say how many samples would be enough, where memory for their rows is."""
        enough = (1 - HELD) * self.rows_wanted > self.kernel.unknowns
        return (
            f"; {math.ceil(self.samples * self.kernel.unknowns / rows) + 1} samples would do"
            if enough
            else ""
        )

    def _others(self, beside: Sequence[Sequence[Array]]) -> list[Array]:
        """Return what other branches bring to the rows, shape (rows, channels) each."""
        last = self.target.call.channels_last
        picked = [
            [at(channels_behind(value, last), places) for value in values]
            for values, places in zip(beside, self.positions, strict=True)
        ]
        return [np.concatenate(parts) for parts in zip(*picked, strict=True)]

    def _taps(self, inputs: Sequence[Array]) -> Array:
        windows = self.target.call.windows
        values = [channels_behind(value, self.target.call.channels_last) for value in inputs]
        counts = [positions.shape[0] * positions.shape[1] for positions in self.positions]
        shape = sum(counts), math.prod(window.size for window in windows), values[0].shape[-1]
        made = np.empty(shape, np.float32)
        for value, positions, part in zip(
            values, self.positions, np.split(made, np.cumsum(counts)[:-1]), strict=True
        ):
            patches(value, windows, positions, part)
        return made
