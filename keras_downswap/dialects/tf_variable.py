"""TensorFlow variables, which both Kerases hold on the TensorFlow backend."""

from __future__ import annotations

import copy
import sys
import weakref
from typing import Any

import numpy as np


def copied(variable: Any) -> Any:
    """Return a new variable of the same value, name and properties."""
    plain = type(variable).__name__ == "ResourceVariable" and not variable._in_graph_mode
    if not plain or variable._caching_device or variable._distribute_strategy or variable._constraint:
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


def array(variable: Any) -> np.ndarray[Any, Any]:
    """Return the value of a variable."""
    return np.asarray(variable.value())
