"""What a device, a compiler or a proof can do: named limits on layers, read from TOML."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from keras_downswap.errors import BadRequest
from keras_downswap.ir.facts import ConvFacts, LayerKind
from keras_downswap.ir.geometry import Window
from keras_downswap.ir.graph import POOLS, Call, Role, Shape
from keras_downswap.ir.replacement import Make, MakeConv, MakePermute, MakePool, MakeReshape

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "profile:"
HOME = resources.files("keras_downswap") / "profiles"


@dataclass(frozen=True)
class Limits:
    """The layers that a device or tool accepts; what a field leaves out is accepted.

    Attributes:
        name: The profile's name.
        source: Where these limits are documented.
        max_pool: Whether it accepts max pools.
        average_pool: Whether it accepts average pools.
        strided_conv: Whether it accepts convolutions with a stride above 1.
        grouped_conv: Whether it accepts convolutions of several groups, depthwise ones aside.
        depthwise_conv: Whether it accepts depthwise convolutions.
        separable_conv: Whether it accepts separable convolutions.
        depth_multipliers: The depth multipliers of depthwise and separable convolutions that it
            accepts.
        kernel_sizes: The kernel sizes that it accepts along an axis.
        strided_kernel_sizes: Those that it accepts where the stride is above 1.
        conv_strides: The strides of convolutions that it accepts.
        pool_sizes: The window sizes of pools that it accepts along an axis.
        pool_strides: The strides of pools that it accepts.
        pool_padding: Whether it accepts pools whose windows reach outside their map.
        pool_overlap: Whether it accepts pools whose stride is not their size.
        relu: Whether it accepts the ReLUs that a swap would add.
        reshape: Whether it accepts the Reshape and Permute layers that a swap would add.
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
        """Return the kernel sizes that it accepts of convolutions, strided or not; None for all."""
        if not strided or self.strided_kernel_sizes is None:
            return self.kernel_sizes
        if self.kernel_sizes is None:
            return self.strided_kernel_sizes
        # A strided convolution has to satisfy both lists.
        return self.kernel_sizes & self.strided_kernel_sizes

    def breach_of(self, call: Call, lengths: Shape) -> str | None:
        """Return what about a call on a map of some lengths exceeds the limits; None if nothing."""
        if call.role in POOLS:
            is_max = call.role is Role.MAX_POOL
            return self._pool(is_max, call.windows, lengths)
        if call.role is not Role.CONV:
            return None
        return self._conv(call.windows, call.conv)

    def breach_by(self, layer: Make, lengths: Shape, facts: ConvFacts | None) -> str | None:
        """Return what about a layer to be made exceeds the limits; None where nothing does.

        Args:
            layer: The layer.
            lengths: The lengths of its input map.
            facts: The facts of a convolution; None for any other layer.
        """
        if isinstance(layer, MakeReshape | MakePermute) and not self.reshape:
            return "it accepts no Reshape and Permute layers"
        if isinstance(layer, MakeConv) and facts is not None:
            # Only a convolution with a kernel of ours brings an activation that was not there.
            adds_relu = layer.fixed is not None and layer.activation == "relu"
            if adds_relu and not self.relu:
                return "it accepts no ReLU layers besides those of the model"
            return self._conv(layer.axes, facts)
        if isinstance(layer, MakePool):
            is_max = layer.kind is LayerKind.MAX_POOLING
            return self._pool(is_max, layer.axes, lengths)
        return None

    def _pool(self, is_max: bool, windows: Sequence[Window], lengths: Shape) -> str | None:
        accepted = self.max_pool if is_max else self.average_pool
        if not accepted:
            kind = "max" if is_max else "average"
            return f"it accepts no {kind} pools"
        apart = all(window.size == window.stride for window in windows)
        if not self.pool_overlap and not apart:
            return "it accepts pools only whose stride is their size"
        if not self.pool_padding:
            # Whether a window reaches outside the map may depend on its length.
            for window, length in zip(windows, lengths, strict=True):
                if not window.never_pads(length):
                    return "it accepts no pools that pad"
        sizes = [window.size for window in windows]
        strides = [window.stride for window in windows]
        return _first_of(
            _outside("pool sizes", sizes, self.pool_sizes),
            _outside("pool strides", strides, self.pool_strides),
        )

    def _conv(self, windows: Sequence[Window], facts: ConvFacts) -> str | None:
        strides = [window.stride for window in windows]
        strided = any(stride > 1 for stride in strides)
        breach = self._conv_kind(facts)
        if breach is not None:
            return breach
        if strided and not self.strided_conv:
            return "it accepts no strided convolutions"
        which = "kernel sizes of strided convolutions" if strided else "kernel sizes"
        sizes = [window.size for window in windows]
        return _first_of(
            _outside(which, sizes, self.sizes(strided)),
            _outside("strides of convolutions", strides, self.conv_strides),
        )

    def _conv_kind(self, facts: ConvFacts) -> str | None:
        separable = facts.kind is LayerKind.SEPARABLE_CONV
        depthwise = facts.kind is LayerKind.DEPTHWISE_CONV
        if separable and not self.separable_conv:
            return "it accepts no separable convolutions"
        if depthwise and not self.depthwise_conv:
            return "it accepts no depthwise convolutions"
        grouped = facts.kind is LayerKind.CONV and facts.groups != 1
        if grouped and not self.grouped_conv:
            return "it accepts no grouped convolutions"
        if separable or depthwise:
            multipliers = [facts.depth_multiplier]
            return _outside("depth multipliers", multipliers, self.depth_multipliers)
        return None


def _first_of(*breaches: str | None) -> str | None:
    """Return the first breach that there is: one is enough to say."""
    return next((breach for breach in breaches if breach is not None), None)


def _outside(what: str, values: Iterable[int], accepted: frozenset[int] | None) -> str | None:
    """Return the smallest of some values that is not accepted, in words; None where all are."""
    if accepted is None:
        return None
    beyond = sorted(set(values) - accepted)
    if not beyond:
        return None
    return f"it accepts the {what} {sorted(accepted)}, not {beyond[0]}"


def profiles() -> list[str]:
    """Return the names of the profiles that come with the package."""
    paths = [Path(item.name) for item in HOME.iterdir()]
    return sorted(path.stem for path in paths if path.suffix == ".toml")


def limits(wanted: str) -> Limits:
    """Return a profile by its name or from a TOML file.

    Args:
        wanted: The name of a profile that comes with the package, or the path of a file that ends
            in `.toml`.

    Raises:
        BadRequest: If there is no such profile, or the file is no profile, or contradicts itself.
    """
    # By its ending, not by whether it exists: a missing file is reported as one.
    is_file = wanted.endswith(".toml")
    if not is_file and wanted not in profiles():
        raise BadRequest(
            f"unknown profile {wanted!r}: expected one of {', '.join(profiles())}, "
            "or the path of a .toml file"
        )
    try:
        path = Path(wanted) if is_file else HOME / f"{wanted}.toml"
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest(f"profile {wanted}: cannot be read ({error})") from error
    return _checked(Path(wanted).stem if is_file else wanted, table)


def _checked(name: str, table: dict[str, Any]) -> Limits:
    """Return the limits that a table of TOML states."""
    # The annotations are texts here, such as "bool", since they are not evaluated in this file.
    kinds = {field.name: str(field.type) for field in fields(Limits)}
    # The name is that of the file.
    del kinds["name"]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in kinds:
            raise BadRequest(
                f"profile {name}: unknown key {key!r}; expected some of {', '.join(kinds)}"
            )
        values[key] = _checked_value(name, key, value, kinds[key])
    found = Limits(name, **values)
    problem = _contradiction(found)
    if problem is not None:
        raise BadRequest(f"profile {name} contradicts itself: {problem}")
    return found


def _checked_value(name: str, key: str, value: Any, kind: str) -> Any:
    """Return the value of a field from that of its key: a list of sizes becomes a set."""
    # To Python, `true` is an int: the exact type counts.
    received = type(value).__name__
    if kind == "bool":
        expected = "true or false"
        fits = received == kind
    elif kind == "str":
        expected = "a text"
        fits = received == kind
    else:
        expected = "a list of sizes"
        fits = _are_sizes(value)
    if not fits:
        raise BadRequest(f"profile {name}: {key} must be {expected}, received {value!r}")
    return frozenset(value) if isinstance(value, list) else value


def _are_sizes(value: Any) -> bool:
    """Tell whether a value is a list of positive integers; an empty one would forbid all."""
    if not isinstance(value, list) or not value:
        return False
    return all(type(size) is int and size > 0 for size in value)


def _contradiction(found: Limits) -> str | None:
    """Return what about limits cannot be meant; None where nothing is."""
    if not _has_strides(found) and not _has_pools(found):
        return (
            "it accepts neither strided convolutions nor pools with a stride, "
            "so nothing could downsample"
        )
    return _contradiction_of_pools(found) or _contradiction_of_convs(found)


def _has_strides(found: Limits) -> bool:
    """Tell whether a convolution may downsample."""
    return found.strided_conv and _goes_beyond_one(found.conv_strides)


def _has_pools(found: Limits) -> bool:
    """Tell whether a pool may downsample."""
    if not found.max_pool and not found.average_pool:
        return False
    # Without overlap the size of a pool is its stride as well, so both have to be above 1.
    if not found.pool_overlap and not _goes_beyond_one(found.pool_sizes):
        return False
    return _goes_beyond_one(found.pool_strides)


def _goes_beyond_one(accepted: frozenset[int] | None) -> bool:
    return accepted is None or max(accepted) > 1


def _contradiction_of_pools(found: Limits) -> str | None:
    sizes = found.pool_sizes
    strides = found.pool_strides
    # Without overlap a pool needs a number that is among both lists.
    nothing_in_common = sizes is not None and strides is not None and sizes.isdisjoint(strides)
    if not found.pool_overlap and nothing_in_common:
        return "it accepts pools only whose stride is their size, and no stride is among the sizes"
    if not found.max_pool and not found.average_pool and (sizes or strides):
        return "it accepts no pools and lists their sizes or strides"
    return None


def _contradiction_of_convs(found: Limits) -> str | None:
    strides = found.conv_strides
    if not found.strided_conv and found.strided_kernel_sizes:
        return "it accepts no strided convolutions and lists their kernel sizes"
    # Then no convolution at all would be accepted, strided or not.
    if not found.strided_conv and strides is not None and 1 not in strides:
        return "it accepts no strided convolutions, and a stride of 1 is not among the strides"
    if found.strided_kernel_sizes and not _goes_beyond_one(strides):
        return "it lists kernel sizes of strided convolutions, and only 1 is among the strides"
    if found.sizes(strided=True) == frozenset():
        return "no kernel size of strided convolutions is among the kernel sizes"
    return None
