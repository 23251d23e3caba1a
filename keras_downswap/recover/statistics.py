"""BatchNormalization meets other statistics behind a swap: they are taken anew, layer after layer.

Each layer's are those of its input in the new model with all earlier layers done, over all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_downswap.dialects.player import Place, Player
from keras_downswap.dialects.reading import Reading
from keras_downswap.graph import Call


def renew_statistics(
    new: Reading,
    norms: Sequence[tuple[Place, str, Call]],
    batches: Sequence[Sequence[Any]],
    progress: Callable[[str], None],
) -> None:
    """Give BatchNormalization layers the mean and variance of their inputs.

    Args:
        new: The model, changed in place.
        norms: The calls of these layers, in the order in which they run, with their names.
        batches: Samples, as backend tensors.
        progress: Told the name of each layer.
    """
    player = Player(new, stops={place for place, _, _ in norms})
    runs = [player.start(batch) for batch in batches]
    for _, name, call in norms:
        progress(name)
        layer = new.layers[call.layer]
        values = [new.dialect.result(next(run)[1]) for run in runs]
        mean, variance = moments(values, call.settings.get("axis", -1))
        new.dialect.assign(layer.moving_mean, mean)
        new.dialect.assign(layer.moving_variance, variance)
    for run in runs:
        for _ in run:
            pass


def moments(values: Sequence[Any], axis: int) -> tuple[Any, Any]:
    """Return mean and variance of each channel over all batches, summed in float64."""
    count, total, squares = 0, 0.0, 0.0
    for value in values:
        flat = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])
        count += len(flat)
        total = total + flat.sum(0, dtype=np.float64)
    mean = total / count
    for value in values:
        flat = np.moveaxis(value, axis, -1).reshape(-1, value.shape[axis])
        squares = squares + np.square(flat - mean, dtype=np.float64).sum(0)
    return mean, squares / count
