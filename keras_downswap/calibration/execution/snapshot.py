"""The values of a model's variables, saved and restored."""

from __future__ import annotations

import numpy as np

from keras_downswap.calibration.execution.variables import all_variables
from keras_downswap.dialects.reading import Reading


class Snapshot:
    """The values of all variables of a model at one moment."""

    def __init__(self, reading: Reading) -> None:
        """Copy the values."""
        self.dialect = reading.dialect
        self.variables = all_variables(reading)
        # The array may share the variable's memory, which later assignments change.
        array = self.dialect.array
        self.values = [np.array(array(variable)) for variable in self.variables]

    def restore(self) -> None:
        """Put back every value that has changed."""
        for variable, value in zip(self.variables, self.values, strict=True):
            # Bytes are compared, since NaN is not equal to itself.
            now = self.dialect.array(variable)
            if now.tobytes() != value.tobytes():
                self.dialect.assign(variable, value)
