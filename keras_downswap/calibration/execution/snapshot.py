"""What a model holds, put aside and put back."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_downswap.dialects.reading import Reading


class Snapshot:
    """The values of all variables of a model at one moment."""

    def __init__(self, reading: Reading) -> None:
        """Copy the values."""
        self.dialect = reading.dialect
        self.variables = variables_of(reading)
        self.values = [np.array(self.dialect.array(variable)) for variable in self.variables]

    def restore(self) -> None:
        """Put back every value that has changed."""
        for variable, value in zip(self.variables, self.values, strict=True):
            if self.dialect.array(variable).tobytes() != value.tobytes():
                self.dialect.assign(variable, value)


def variables_of(reading: Reading) -> list[Any]:
    """Return every variable of a model once, the state of seeds and of recurrent layers too."""
    model = reading.model
    found = [*getattr(model, "variables", ()), *getattr(model, "non_trainable_variables", ())]
    return list(
        {
            id(variable): variable for variable in found if reading.dialect.is_variable(variable)
        }.values()
    )
