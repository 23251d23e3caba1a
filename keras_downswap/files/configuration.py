"""Reading the JSON configuration of a saved model, and walking over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_downswap.errors import FileRefused
from keras_downswap.files.refusals import damage_refused

CONFIG_BYTES = 32 << 20
"""The largest configuration that is read, in bytes."""


def read_json(text: Any, path: Path) -> dict[str, Any]:
    """Parse a JSON object of a bounded size.

    Args:
        text: The text, or its bytes in UTF-8; anything else is refused.
        path: The file that holds it, for the refusal.

    Raises:
        FileRefused: It is no text, is too long, or is not a JSON object.
    """
    if not isinstance(text, (str, bytes)) or len(text) > CONFIG_BYTES:
        raise FileRefused(
            f"{path}: expected a configuration of at most {CONFIG_BYTES >> 20} MiB, found none."
        )
    with damage_refused(path):
        return dict(json.loads(text))


def entries(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every dict anywhere in a configuration, in the order of the file.

    Yields:
        Words for the innermost layer that holds the dict, and the dict.
    """
    # A stack instead of recursion: a hostile file may nest deeper than Python recurses.
    stack: list[tuple[str, Any]] = [("the model", config)]
    while stack:
        layer, value = stack.pop()
        if isinstance(value, dict):
            layer = _layer_words(value, layer)
            yield layer, value
            children = list(value.values())
        elif isinstance(value, list):
            children = value
        else:
            continue
        for child in reversed(children):
            stack.append((layer, child))


def _layer_words(entry: dict[str, Any], parent: str) -> str:
    """Return words for the layer that a dict describes; those of its parent where it is none."""
    settings = entry.get("config")
    if "class_name" not in entry or not isinstance(settings, dict):
        return parent
    name = settings.get("name")
    return f"the layer {name!r}" if isinstance(name, str) else parent
