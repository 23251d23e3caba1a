"""What a device, a compiler or a proof can do: named limits on the layers that a model may have, read from TOML."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from keras_downswap.errors import BadRequest
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import POOLS, Call, Role, Shape
from keras_downswap.ir.replacement import Make
from keras_downswap.rulekit.layers import made_windows

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "profile:"
HOME = resources.files("keras_downswap") / "profiles"


@dataclass(frozen=True)
class Limits:
    """The convolutions and pools that a target takes; what a field leaves out, it takes.

    Attributes:
        name: The profile's name.
        source: Where these limits are documented.
        max_pool: Whether it takes max pools.
        average_pool: Whether it takes average pools.
        strided_conv: Whether it takes convolutions with a stride above 1.
        grouped_conv: Whether it takes convolutions of several groups, depthwise ones aside.
        depthwise_conv: Whether it takes depthwise convolutions.
        separable_conv: Whether it takes separable convolutions.
        depth_multipliers: The depth multipliers of depthwise and separable convolutions that it
            takes.
        kernel_sizes: The kernel sizes that it takes along an axis.
        strided_kernel_sizes: Those that it takes where the stride is above 1.
        conv_strides: The strides of convolutions that it takes.
        pool_sizes: The window sizes of pools that it takes along an axis.
        pool_strides: The strides of pools that it takes.
        pool_padding: Whether it takes pools whose windows reach outside their map.
        pool_overlap: Whether it takes pools whose stride is not their size.
        relu: Whether it takes the ReLUs that a swap would add.
        reshape: Whether it takes the Reshape and Permute layers that a swap would add.
    """

    name: str
    source: str = ""
    max_pool: bool = True
    average_pool: bool = True
    strided_conv: bool = True
    grouped_conv: bool = True
    depthwise_conv: bool = True
    separable_conv: bool = True
    depth_multipliers: frozenset[int] | None = None
    kernel_sizes: frozenset[int] | None = None
    strided_kernel_sizes: frozenset[int] | None = None
    conv_strides: frozenset[int] | None = None
    pool_sizes: frozenset[int] | None = None
    pool_strides: frozenset[int] | None = None
    pool_padding: bool = True
    pool_overlap: bool = True
    relu: bool = True
    reshape: bool = True

    def sizes(self, strided: bool) -> frozenset[int] | None:
        """Return the kernel sizes that it takes, of convolutions that stride or of others; None for all."""
        both = [
            s
            for s in (self.kernel_sizes, self.strided_kernel_sizes if strided else None)
            if s is not None
        ]
        return frozenset.intersection(*both) if both else None

    def breach_of(self, call: Call, lengths: Shape) -> str | None:
        """Return what about a call on a map of some lengths goes beyond the limits; None where nothing does."""
        if call.role in POOLS:
            return self._pool(call.role is Role.MAX_POOL, call.windows, lengths)
        if call.role is not Role.CONV:
            return None
        return self._conv(call.windows, call.settings["kind"], call.settings)

    def breach_by(self, layer: Make, lengths: Shape, settings: Mapping[str, Any]) -> str | None:
        """Return what about a layer to be made, of some settings, goes beyond the limits; None where nothing does."""
        if layer.fixed is not None and layer.settings.get("activation") == "relu" and not self.relu:
            return "it takes no ReLUs besides those of the model"
        if layer.kind in ("Reshape", "Permute") and not self.reshape:
            return "it takes no Reshape and Permute layers"
        if layer.convolves:
            return self._conv(made_windows(layer), layer.kind, settings)
        pools = layer.kind in ("MaxPooling", "AveragePooling")
        return (
            self._pool(layer.kind == "MaxPooling", made_windows(layer), lengths) if pools else None
        )

    def _pool(self, takes_maxima: bool, windows: Sequence[Window], lengths: Shape) -> str | None:
        kind = "max" if takes_maxima else "average"
        if not (self.max_pool if takes_maxima else self.average_pool):
            return f"it takes no {kind} pools"
        if not self.pool_overlap and any(w.size != w.stride for w in windows):
            return "it takes pools only whose stride is their size"
        if not self.pool_padding and not all(
            w.never_pads(n) for w, n in zip(windows, lengths, strict=True)
        ):
            return "it takes no pools that pad"
        return _outside("pool sizes", (w.size for w in windows), self.pool_sizes) or _outside(
            "pool strides", (w.stride for w in windows), self.pool_strides
        )

    def _conv(
        self, windows: Sequence[Window], kind: str, settings: Mapping[str, Any]
    ) -> str | None:
        if kind == "SeparableConv" and not self.separable_conv:
            return "it takes no separable convolutions"
        if kind == "DepthwiseConv" and not self.depthwise_conv:
            return "it takes no depthwise convolutions"
        if kind == "Conv" and settings.get("groups", 1) != 1 and not self.grouped_conv:
            return "it takes no grouped convolutions"
        if kind in ("DepthwiseConv", "SeparableConv"):
            multiplier = settings.get("depth_multiplier", 1)
            if breach := _outside("depth multipliers", [multiplier], self.depth_multipliers):
                return breach
        strided = any(w.stride > 1 for w in windows)
        if strided and not self.strided_conv:
            return "it takes no strided convolutions"
        which = "kernel sizes of strided convolutions" if strided else "kernel sizes"
        return _outside(which, (w.size for w in windows), self.sizes(strided)) or _outside(
            "strides of convolutions", (w.stride for w in windows), self.conv_strides
        )


def _outside(what: str, values: Iterable[int], taken: frozenset[int] | None) -> str | None:
    beyond = [] if taken is None else sorted(set(values) - taken)
    return f"it takes the {what} {sorted(taken or ())}, not {beyond[0]}" if beyond else None


def profiles() -> list[str]:
    """Return the names of the profiles that come with the package."""
    return sorted(Path(item.name).stem for item in HOME.iterdir() if item.name.endswith(".toml"))


def limits(wanted: str) -> Limits:
    """Return a profile by its name or from a TOML file.

    Args:
        wanted: The name of a profile that comes with the package, or the path of a file that ends
            in `.toml`.

    Raises:
        BadRequest: If there is no such profile, or the file is no profile, or contradicts itself.
    """
    own = wanted.endswith(".toml")
    if not own and wanted not in profiles():
        raise BadRequest(
            f"unknown profile {wanted!r}: expected one of {', '.join(profiles())}, or the path of a .toml file"
        )
    try:
        text = (
            Path(wanted).read_text("utf-8") if own else (HOME / f"{wanted}.toml").read_text("utf-8")
        )
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"profile {wanted}: cannot be read ({error})") from error
    return _checked(Path(wanted).stem if own else wanted, table)


def _checked(name: str, table: dict[str, Any]) -> Limits:
    known = {field.name: str(field.type) for field in fields(Limits) if field.name != "name"}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            raise BadRequest(
                f"profile {name}: unknown key {key!r}; expected some of {', '.join(known)}"
            )
        expected = (
            "true or false"
            if known[key] == "bool"
            else "a text"
            if known[key] == "str"
            else "a list of sizes"
        )
        sizes = (
            isinstance(value, list) and bool(value) and all(type(n) is int and n > 0 for n in value)
        )
        fits = type(value).__name__ == known[key] if known[key] in ("bool", "str") else sizes
        if not fits:
            raise BadRequest(f"profile {name}: {key} must be {expected}, received {value!r}")
        values[key] = frozenset(value) if sizes else value
    found = Limits(name, **values)
    if problem := _contradiction(found):
        raise BadRequest(f"profile {name} contradicts itself: {problem}")
    return found


def _contradiction(found: Limits) -> str | None:
    strides = found.strided_conv and (found.conv_strides is None or max(found.conv_strides) > 1)
    steps = [
        s
        for s in (found.pool_strides, None if found.pool_overlap else found.pool_sizes)
        if s is not None
    ]
    pools = (found.max_pool or found.average_pool) and all(max(step) > 1 for step in steps)
    if not strides and not pools:
        return "it takes neither strided convolutions nor pools with a stride, so nothing could downsample"
    both = found.pool_sizes is not None and found.pool_strides is not None
    if (
        both
        and not found.pool_overlap
        and not (found.pool_sizes or set()) & (found.pool_strides or set())
    ):
        return "it takes pools only whose stride is their size, and no stride is among the sizes"
    if not found.max_pool and not found.average_pool and (found.pool_sizes or found.pool_strides):
        return "it takes no pools and lists their sizes or strides"
    if not found.strided_conv and found.strided_kernel_sizes:
        return "it takes no strided convolutions and lists their kernel sizes"
    if not found.strided_conv and found.conv_strides and 1 not in found.conv_strides:
        return "it takes no strided convolutions, and a stride of 1 is not among the strides"
    if found.strided_kernel_sizes and found.conv_strides and max(found.conv_strides) == 1:
        return "it lists kernel sizes of strided convolutions, and only 1 is among the strides"
    if found.sizes(strided=True) == frozenset():
        return "no kernel size of strided convolutions is among the kernel sizes"
    return None
