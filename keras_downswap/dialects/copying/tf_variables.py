"""TensorFlow variables and lookup tables, which both Kerases hold on the TensorFlow backend."""

from __future__ import annotations

import copy
import sys
import weakref
from typing import Any

import numpy as np


def copied(variable: Any) -> Any:
    """Return a new variable of the same value, name and properties."""
    plain = type(variable).__name__ == "ResourceVariable" and not variable._in_graph_mode
    if (
        not plain
        or variable._caching_device
        or variable._distribute_strategy
        or variable._constraint
    ):
        return copy.deepcopy(variable)
    return _with_new_handle(variable)


def _with_new_handle(old: Any) -> Any:
    """Copy an eager variable as its constructor would, without the name scopes on which that spends half its time."""
    variables = sys.modules["tensorflow.python.ops.resource_variable_ops"]
    value, name = old.value(), old._handle_name.removesuffix(":0")
    handle = variables.eager_safe_variable_handle(value, old._shape, None, name, False)
    unique = f"{name}_{variables.ops.uid()}"
    new = object.__new__(type(old))
    handle._parent_trackable = weakref.ref(new)
    handle._name, handle._unique_id = old._handle_name, unique
    kept = {key: value for key, value in vars(old).items() if not key.startswith("_self_")}
    new.__dict__.update(kept, _handle=handle, _unique_id=unique)
    variables.gen_resource_variable_ops.assign_variable_op(handle, value)
    return new


def copied_table(table: Any) -> Any:
    """Return a table of one's own with the same entries: a copy of the Python object would share the entries."""
    new = type(table)(table.key_dtype, table.value_dtype, table._default_value)
    new.insert(*table.export())
    return new


def is_mutable_table(value: Any) -> bool:
    """Tell whether a value is a lookup table that can be written to."""
    return type(value).__name__ == "MutableHashTable" and type(value).__module__.startswith(
        "tensorflow."
    )


def array(variable: Any) -> np.ndarray[Any, Any]:
    """Return the value of a variable."""
    return np.asarray(variable.value())
