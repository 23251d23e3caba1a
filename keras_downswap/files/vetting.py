"""Holds a saved model's configuration to what is Keras' own, before any loader sees the file.

The sizes are held to what is stored: every variable has a stored value, so a configuration may not
ask for many more parameters than the file holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_downswap.dialects.config_names import (
    CODE_RUNNERS,
    FILE_KEYS,
    FUNCTION_CALL_LAYERS,
    TENSOR_FUNCTIONS,
    TENSOR_SPECS,
    TYPE_SPEC,
    VALUE_TAGS,
)
from keras_downswap.dialects.own_names import OwnNames, own_names
from keras_downswap.files.configuration import entries
from keras_downswap.files.format import Origin
from keras_downswap.files.formats import format_named
from keras_downswap.files.parameter_estimate import implied_parameters
from keras_downswap.files.refusals import damage_refused, unsafe

SPARE_PARAMETERS = 50_000_000
"""Parameters that any configuration may ask for: the estimate is wrong for small files."""
PARAMETER_RATIO = 4
"""Above that, parameters that it may ask for each number that the file stores."""


def vet(origin: Origin) -> None:
    """Refuse a file that could run a stranger's code, read other files or ask for much memory.

    No loader sees the file, and nothing of it is run.

    Raises:
        FileRefused: One sentence that names what was found; it says that `--trust` loads the file
            anyway.
    """
    path = origin.path
    saved_as = format_named(origin.format)
    own = own_names(origin.keras)
    with damage_refused(path):
        stored = saved_as.stored_elements(path)
        config = saved_as.read_config(path)
        for layer, entry in entries(config):
            found = _first_objection(entry, own) or saved_as.unsafe_entry(entry)
            if found is not None:
                raise unsafe(path, f"{layer} {found}")
        asked = implied_parameters(config)
    if asked > PARAMETER_RATIO * stored + SPARE_PARAMETERS:
        raise unsafe(
            path, f"its configuration asks for about {asked:,} parameters, but it holds {stored:,}"
        )


def _first_objection(entry: dict[str, Any], own: OwnNames) -> str | None:
    for check in _CHECKS:
        found = check(entry, own)
        if found is not None:
            return found
    return None


def _foreign_class(entry: dict[str, Any], own: OwnNames) -> str | None:
    """Object to a class or function that is not Keras' own, and to those that run given code."""
    if "class_name" not in entry:
        return None
    name = _text_at(entry, "class_name")
    if name in CODE_RUNNERS:
        return f"is a {name}, which runs code that the file brings along"
    if _is_plain_value(name, entry):
        return None
    if name == "function":
        name = str(entry.get("config"))
        is_own = (_text_at(entry, "module"), name) in own.functions
    else:
        is_own = _is_own_class(name, _text_at(entry, "module"), own)
    # The registered name wins over the class name when a loader looks up a class.
    registered = _text_at(entry, "registered_name")
    if is_own and registered in ("", name, f"Custom>{name}"):
        return None
    foreign = registered if is_own else _dotted(_text_at(entry, "module"), name)
    return f"uses {foreign}, which is not Keras' own, so a stranger's code would run"


def _text_at(entry: dict[str, Any], key: str) -> str:
    """Return a value as text, whatever it is; the empty text where there is none."""
    return str(entry.get(key) or "")


def _is_plain_value(name: str, entry: dict[str, Any]) -> bool:
    if name in VALUE_TAGS:
        return True
    return name == TYPE_SPEC and entry.get("type_spec") in TENSOR_SPECS


def _is_own_class(name: str, module: str, own: OwnNames) -> bool:
    # The older formats write no module.
    if not module:
        return name in own.classes
    return (module, name) in own.pairs


def _dotted(module: str, name: str) -> str:
    return f"{module}.{name}".lstrip(".")


def _foreign_word(entry: dict[str, Any], own: OwnNames) -> str | None:
    """Object to the name of an activation, initializer, ... that is not Keras' own."""
    for kind, words in own.words.items():
        for key, value in entry.items():
            # "initializer" stands for "kernel_initializer" and all the others too.
            is_of_kind = key == kind or key.endswith(f"_{kind}")
            if is_of_kind and isinstance(value, str) and value not in words:
                return f"has {key} {value!r}, which is no {kind} of Keras' own"
    return None


def _foreign_function(entry: dict[str, Any], own: OwnNames) -> str | None:
    """Object to a TensorFlow function that could do more than compute on tensors."""
    if entry.get("class_name") not in FUNCTION_CALL_LAYERS:
        return None
    function = str((entry.get("config") or {}).get("function"))
    if function in TENSOR_FUNCTIONS:
        return None
    return f"calls tf.{function}, which is not on the list of plain tensor functions"


def _other_file(entry: dict[str, Any], own: OwnNames) -> str | None:
    """Object to a setting that names a file to read; as a list, a vocabulary stands for itself."""
    for key in FILE_KEYS:
        value = entry.get(key)
        is_tagged = isinstance(value, dict) and value.get("class_name") == "__bytes__"
        if isinstance(value, str) or is_tagged:
            return f"reads its {key} from another file, {value!r}"
    return None


_CHECKS: tuple[Callable[[dict[str, Any], OwnNames], str | None], ...] = (
    _foreign_class,
    _foreign_word,
    _foreign_function,
    _other_file,
)
