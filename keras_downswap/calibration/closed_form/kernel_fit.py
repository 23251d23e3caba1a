"""One closed-form fit of a kernel, or of a scale and an offset for each of its channels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_downswap.calibration.closed_form.im2col import (
    extract_patches,
    move_channels_last,
    values_at,
)
from keras_downswap.calibration.closed_form.layerwise import (
    FIT_HOLDOUT_FRACTION,
    NOT_IMPROVED,
    LayerFit,
    LayerFitter,
)
from keras_downswap.calibration.closed_form.nonlinear_ridge import RidgeThroughActivation, Solution
from keras_downswap.calibration.closed_form.normal_equations import grouped_product
from keras_downswap.calibration.execution.live_kernel import logits_of
from keras_downswap.calibration.pairing.targets import KernelTarget
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.types import Array

ROWS_BYTES_MAX = 512 * 2**20
"""Bytes of the rows of one fit, at most."""
ROWS_MIN = 1024
ROWS_MAX = 49152
ROWS_PER_UNKNOWN = 20
"""More rows than this for each unknown change little in a fit."""
SCALE_RIDGE = 1e-3
"""Ridge of a fit of scales alone: with one unknown a channel, hardly any is needed."""


class KernelFit(LayerFitter):
    """The kernel of a convolution or of a dense layer."""

    def __init__(self, new: Reading, target: KernelTarget, scale_only: bool = False) -> None:
        """Prepare the fit of one layer.

        Args:
            new: The new model.
            target: The layer.
            scale_only: Whether only a scale and an offset for each channel are fitted, and the
                kernel keeps its form.
        """
        super().__init__(target.call_ref, target.name, target.goal, target.call.channels_last)
        self.target = target
        self.scale_only = scale_only
        self.side_tensors = target.side_tensors
        self.merges_time = target.call.wrapped is not None
        self.kernel = target.live_kernel(new)
        values_of_row = self.kernel.unknowns * self.kernel.groups
        fitting_into_memory = ROWS_BYTES_MAX // (4 * values_of_row)
        worthwhile = min(ROWS_PER_UNKNOWN * self.kernel.unknowns, ROWS_MAX)
        self.rows_wanted = max(ROWS_MIN, min(worthwhile, fitting_into_memory))

    def fitted_goal(self, values: Array) -> Array:
        """Return what the fit compares with, given the old model's values.

        For probabilities after a softmax, the sums that give them; these are known but for a number
        that is added to all, which `fit_layer` chooses.
        """
        if self.kernel.ends_in_softmax:
            return logits_of(values)
        return super().fitted_goal(self.kernel.own_channels(values))

    def fit_layer(
        self, inputs: Sequence[Array], side_values: Sequence[Sequence[Array]]
    ) -> list[LayerFit]:
        """Fit the layer, given for each batch its input and what other branches bring."""
        kernel, target = self.kernel, self.target
        design = kernel.design_matrix(self._taps(inputs))
        weights, bias = kernel.weights(), kernel.offset()
        goal = np.concatenate(self.goal_values)
        if kernel.ends_in_softmax:
            # The number that is added to all logits of a row is free: that of the start leaves
            # least to be fitted.
            sums = grouped_product(design, weights) + bias
            goal += sums.mean(1, keepdims=True)
        problem = RidgeThroughActivation(
            design=design,
            goal=goal,
            activation=kernel.apply_activation,
            weights=weights,
            bias=bias,
            intercept=kernel.can_shift,
            holdout_rows=self.holdout_rows(inputs),
            slope_step=kernel.calls.slope_step,
            side_values=self._side_rows(side_values),
        )
        train_rows = problem.train_rows
        too_few = train_rows < kernel.unknowns
        only_scales = too_few or self.scale_only
        solve = self._solve_scale if only_scales else self._solve_kernel
        best = solve(problem)
        notes = []
        if too_few and not self.scale_only:
            notes.append(self._note_on_few_rows(train_rows))
        if best.ridge is None:
            notes.append(NOT_IMPROVED)
        note = "; ".join(notes)
        return [LayerFit(target.name, target.site, best.start, best.error, note)]

    def _solve_kernel(self, problem: RidgeThroughActivation) -> Solution:
        """Fit the whole kernel, and write it where it is better than the start."""
        best = problem.solve()
        if best.ridge is not None:
            sums = best.sums - best.bias
            self.kernel.write(best.weights, best.bias, sums)
        return best

    def _solve_scale(self, problem: RidgeThroughActivation) -> Solution:
        """Fit a scale and an offset for each channel, likewise."""
        kernel = self.kernel
        sums = grouped_product(problem.design, problem.weights)
        # Each filter is a group of its own, whose only unknown scales the sums of its kernel.
        own_rows = np.ascontiguousarray(sums.T[..., None])
        ones = np.ones((kernel.filters, 1, 1), np.float32)
        scales_alone = replace(problem, design=own_rows, weights=ones)
        best = scales_alone.solve(ridges=(SCALE_RIDGE,))
        if best.ridge is not None:
            scale = best.weights.reshape(kernel.groups, 1, -1)
            scaled_sums = sums * scale.ravel()
            kernel.write(problem.weights * scale, best.bias, scaled_sums)
        return best

    def _note_on_few_rows(self, rows: int) -> str:
        """Say that rows are too few, and how many samples would be enough, where memory is."""
        unknowns = self.kernel.unknowns
        note = f"{rows} rows are too few for {unknowns} unknowns: scale and offset only"
        if (1 - FIT_HOLDOUT_FRACTION) * self.rows_wanted > unknowns:
            samples = math.ceil(self.sample_count * unknowns / rows) + 1
            note += f"; {samples} samples would do"
        return note

    def _side_rows(self, side_values: Sequence[Sequence[Array]]) -> list[Array]:
        """Return what other branches bring to the rows, shape (rows, channels) each."""
        rows = []
        for number in range(len(self.side_tensors)):
            parts = []
            for values, positions in zip(side_values, self.positions, strict=True):
                maps = self._channels_last(values[number])
                parts.append(values_at(maps, positions))
            rows.append(np.concatenate(parts))
        return rows

    def _channels_last(self, value: Array) -> Array:
        return move_channels_last(value, self.target.call.channels_last)

    def _taps(self, inputs: Sequence[Array]) -> Array:
        """Return the input under each tap of the kernel, shape (rows, taps, channels)."""
        windows = self.target.call.windows
        values = [self._channels_last(value) for value in inputs]
        counts = [math.prod(positions.shape[:2]) for positions in self.positions]
        taps = math.prod(window.size for window in windows)
        channels = values[0].shape[-1]
        found = np.empty((sum(counts), taps, channels), np.float32)
        # Each batch writes into its part: a copy of all rows at once would double the memory.
        ends = np.cumsum(counts)
        parts = np.split(found, ends[:-1])
        for value, positions, part in zip(values, self.positions, parts, strict=True):
            extract_patches(value, windows, positions, part)
        return found
