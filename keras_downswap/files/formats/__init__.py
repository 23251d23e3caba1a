"""The formats of saved models, one file each: a file here with a `FORMAT` is a format."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from keras_downswap.files.format import Format


def discover() -> tuple[Format, ...]:
    """Return the format of each file in this folder, in the order of the files' names."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return tuple(import_module(f"{__name__}.{name}").FORMAT for name in sorted(names))


FORMATS: tuple[Format, ...] = discover()
"""All formats."""


def format_named(name: str) -> Format:
    """Return the format of a name, as in `Origin.format`."""
    return next(one for one in FORMATS if one.name == name)


def format_of_ending(ending: str) -> Format | None:
    """Return the format of a path's ending in lower case; None where there is none."""
    return next((one for one in FORMATS if ending in one.endings), None)


def format_words() -> str:
    """Return the formats in words: `an A, a B or a C`."""
    return _joined([one.words for one in FORMATS])


def ending_words() -> str:
    """Return the endings in words: `.a, .b or none (a C)`."""
    endings = [ending for one in FORMATS for ending in one.endings if ending]
    without = [f"none ({one.words})" for one in FORMATS if "" in one.endings]
    return _joined([*endings, *without])


def _joined(words: list[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
