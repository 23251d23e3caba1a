"""TensorFlow variables and lookup tables, which both Kerases hold on the TensorFlow backend."""

from __future__ import annotations

import copy
import sys
import weakref
from typing import Any

import numpy as np

from keras_downswap.dialects.compatibility import find
from keras_downswap.ir.types import Array


def copied(variable: Any) -> Any:
    """Return a new variable of the same value, name and properties."""
    resource_variable = find("tensorflow", "python.ops.resource_variable_ops.ResourceVariable")
    is_eager = type(variable) is resource_variable and not variable._in_graph_mode
    # Placement, distribution and constraints come with objects of their own, which TensorFlow's
    # own copy knows how to treat.
    is_special = (
        not is_eager
        or variable._caching_device
        or variable._distribute_strategy
        or variable._constraint
    )
    return copy.deepcopy(variable) if is_special else _with_new_handle(variable)


def _with_new_handle(old: Any) -> Any:
    """Copy an eager variable as its constructor would.

    The constructor spends half its time on name scopes, and a model has hundreds of variables.
    """
    new_handle = find("tensorflow", "python.ops.resource_variable_ops.eager_safe_variable_handle")
    uid = find("tensorflow", "python.framework.ops.uid")
    value = old.value()
    name = old._handle_name.removesuffix(":0")
    handle = new_handle(value, old._shape, None, name, False)
    unique_id = f"{name}_{uid()}"

    new = object.__new__(type(old))
    # The storage is freed with the variable that its handle knows as its parent.
    handle._parent_trackable = weakref.ref(new)
    handle._name = old._handle_name
    handle._unique_id = unique_id
    # What tracking added for saving refers to the old variable; it is added anew on demand.
    for key, attribute in vars(old).items():
        if not key.startswith("_self_"):
            new.__dict__[key] = attribute
    new.__dict__.update(_handle=handle, _unique_id=unique_id)
    operations = sys.modules["tensorflow"].raw_ops
    operations.AssignVariableOp(resource=handle, value=value)
    return new


def copied_table(table: Any) -> Any:
    """Return a table of one's own with the same entries.

    A copy of the Python object would share the entries, which are not in it but in a resource.
    """
    new = type(table)(table.key_dtype, table.value_dtype, table._default_value)
    new.insert(*table.export())
    return new


def is_mutable_table(value: Any) -> bool:
    """Tell whether a value is a lookup table that can be written to."""
    # The module comes first: on other backends TensorFlow is not to be imported by the question.
    if not type(value).__module__.startswith("tensorflow."):
        return False
    return type(value) is find("tensorflow", "python.ops.lookup_ops.MutableHashTable")


def array(variable: Any) -> Array:
    """Return the value of a variable."""
    return np.asarray(variable.value())
