"""Holds a saved model's configuration to what is Keras' own, before any loader sees the file.

Law of the sizes: every variable has a stored value, so a configuration may not ask for many more
parameters than the file holds; and Keras does not compress, so a file may not declare many more
bytes than it has.
"""

import contextlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from keras_downswap.dialects import storage
from keras_downswap.errors import FileRefused

CONFIG_BYTES = 32 << 20
DECLARED_BYTES, DECLARED_RATIO = 256 << 20, 100
SPARE_PARAMETERS, PARAMETER_RATIO = 50_000_000, 4

_RUNS_CODE = (
    "Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TensorFlowOpLayer", "PyMetric",
    "ModuleWrapper", "ClassMethod", "InstanceMethod", "InstanceProperty", "Function", "Cond", "Switch", "Map", "Scan",
    "VectorizedMap", "AssociativeScan", "ForiLoop", "WhileLoop",
)  # fmt: skip
_VALUES = {
    f"__{tag}__"
    for tag in ("tensor", "numpy", "bytes", "ellipsis", "slice", "keras_tensor", "tuple")
}
_SPECS = ("tf.TensorSpec", "tf.RaggedTensorSpec", "tf.SparseTensorSpec")
_PATH_KEYS = ("vocabulary", "vocabulary_file", "filepath", "file_path")
_MADE = (("units",), ("filters",), ("output_dim",), ("num_heads", "key_dim"))
_LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization")
_PLAIN_SYMBOLS = {
    "__operators__.": "add getitem",
    "math.": "abs add add_n argmax argmin ceil cos cumsum divide divide_no_nan equal exp floor floordiv floormod "
    "greater greater_equal l2_normalize less less_equal log log1p maximum minimum multiply negative not_equal pow "
    "reciprocal reduce_logsumexp reduce_max reduce_mean reduce_min reduce_prod reduce_std reduce_sum reduce_variance "
    "round rsqrt sigmoid sign sin softplus sqrt square squared_difference subtract tanh truediv",
    "nn.": "avg_pool avg_pool1d avg_pool2d avg_pool3d bias_add conv1d conv2d conv3d depth_to_space depthwise_conv2d "
    "elu gelu leaky_relu log_softmax max_pool max_pool1d max_pool2d max_pool3d pool relu relu6 selu silu softmax "
    "softsign space_to_depth local_response_normalization",
    "image.": "flip_left_right flip_up_down resize resize_bilinear resize_nearest_neighbor rgb_to_grayscale",
    "": "broadcast_to cast clip_by_value concat convert_to_tensor einsum expand_dims floor_div gather identity "
    "linalg.matmul one_hot ones_like pad repeat reshape reverse roll shape slice split squeeze stack stop_gradient "
    "strided_slice tensordot tile transpose unstack where zeros_like",
}
_PLAIN = {space + name for space, names in _PLAIN_SYMBOLS.items() for name in names.split()}
_SYMBOLS = _PLAIN | {"compat.v1." + name for name in _PLAIN}


def vet(origin: storage.Origin) -> None:
    """Refuse a file that could run a stranger's code, read other files or ask for much memory; no loader sees it.

    Raises:
        FileRefused: One sentence that names what was found; it says that `--trust` loads the file
            anyway.
    """
    path, own = origin.path, storage.own_names(origin.keras)
    with damage_refused(path):
        stored, config = _stored_elements(path, origin.format), read_config(path, origin.format)
        for layer, entry in entries(config):
            if found := next(filter(None, (rule(entry, own) for rule in _RULES)), None):
                raise _unsafe(path, f"{layer} {found}")
            if origin.format == "savedmodel" and entry.get("class_name") in _LOOKUPS:
                raise _unsafe(
                    path,
                    f"{layer} has a lookup table, which only the SavedModel's own graph can fill",
                )
        asked = implied_parameters(config)
    if asked > PARAMETER_RATIO * stored + SPARE_PARAMETERS:
        raise _unsafe(
            path, f"its configuration asks for about {asked:,} parameters, but it holds {stored:,}"
        )


def _unsafe(path: Path, found: str) -> FileRefused:
    return FileRefused(
        f"{path} was not loaded: {found}; if you trust whoever made it, --trust loads it anyway."
    )


@contextlib.contextmanager
def damage_refused(path: Path) -> Iterator[None]:
    """Turn whatever reading a stranger's bytes may raise into a FileRefused of one sentence."""
    try:
        yield
    except FileRefused:
        raise
    except Exception as error:
        raise FileRefused(
            f"{path} could not be read, it may be damaged or cut short: {error!r}"
        ) from error


def read_json(text: Any, path: Path) -> dict[str, Any]:
    """Parse a JSON object of a bounded size; FileRefused for anything else."""
    if not isinstance(text, (str, bytes)) or len(text) > CONFIG_BYTES:
        raise FileRefused(
            f"{path}: expected a configuration of at most {CONFIG_BYTES >> 20} MiB, found none."
        )
    with damage_refused(path):
        return dict(json.loads(text))


def read_member(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """Read a member of an archive; None where it declares to be larger than a configuration may be."""
    return archive.read(name) if archive.getinfo(name).file_size <= CONFIG_BYTES else None


def read_config(path: Path, saved_as: storage.Format) -> dict[str, Any]:
    """Read the configuration of the whole model, without what only compiling would use, and without Keras.

    Raises:
        FileRefused: There is no configuration, or it is not one of a model.
    """
    if saved_as == "keras":
        with zipfile.ZipFile(path) as archive:
            config = read_json(read_member(archive, "config.json"), path)
    elif saved_as == "h5":
        with h5py.File(path, "r") as file:
            config = read_json(file.attrs.get("model_config"), path)
    else:
        config = read_json(storage.saved_model_root(path), path).get("model_config") or {}
        if not isinstance(config.get("config"), dict):
            raise _unsafe(
                path,
                "its model is a class of its author's own, which only the stored graph can run",
            )
    if "class_name" not in config:
        raise FileRefused(
            f"{path}: its configuration names no class; expected that of a Keras model."
        )
    return {key: value for key, value in config.items() if key != "compile_config"}


def entries(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every dict anywhere in a configuration, in order, with words for the innermost layer that holds it."""
    todo: list[tuple[str, Any]] = [("the model", config)]
    while todo:
        layer, here = todo.pop()
        if isinstance(here, dict):
            inner = here.get("config")
            name = inner.get("name") if isinstance(inner, dict) and "class_name" in here else None
            layer = f"the layer {name!r}" if isinstance(name, str) else layer
            yield layer, here
        if isinstance(here, (dict, list)):
            todo += [
                (layer, value)
                for value in reversed(list(here.values()) if isinstance(here, dict) else here)
            ]


def _foreign_class(entry: dict[str, Any], own: storage.OwnNames) -> str | None:
    if "class_name" not in entry:
        return None
    name, module, registered = (
        str(entry.get(key) or "") for key in ("class_name", "module", "registered_name")
    )
    if name in _RUNS_CODE:
        return f"is a {name}, which runs code that the file brings along"
    if (
        name in _VALUES
        or name == "TensorShape"
        or (name == "TypeSpec" and entry.get("type_spec") in _SPECS)
    ):
        return None
    if name == "function":
        name = str(entry.get("config"))
        known = (module, name) in own.functions
    else:
        known = (module, name) in own.pairs if module else name in own.classes
    if known and registered in ("", name, f"Custom>{name}"):
        return None
    what = registered if known else f"{module}.{name}".lstrip(".")
    return f"uses {what}, which is not Keras' own, so a stranger's code would run"


def _foreign_word(entry: dict[str, Any], own: storage.OwnNames) -> str | None:
    for kind, words in own.words.items():
        for key, value in entry.items():
            if (
                isinstance(value, str)
                and (key == kind or key.endswith("_" + kind))
                and value not in words
            ):
                return f"has {key} {value!r}, which is no {kind} of Keras' own"
    return None


def _foreign_symbol(entry: dict[str, Any], own: storage.OwnNames) -> str | None:
    if entry.get("class_name") not in ("TFOpLambda", "SlicingOpLambda"):
        return None
    symbol = str((entry.get("config") or {}).get("function"))
    return (
        None
        if symbol in _SYMBOLS
        else f"calls tf.{symbol}, which is not on the list of plain tensor functions"
    )


def _path_outside(entry: dict[str, Any], own: storage.OwnNames) -> str | None:
    for key in _PATH_KEYS:
        value = entry.get(key)
        if isinstance(value, str) or (
            isinstance(value, dict) and value.get("class_name") == "__bytes__"
        ):
            return f"reads its {key} from another file, {value!r}"
    return None


_RULES: tuple[Callable[..., str | None], ...] = (
    _foreign_class,
    _foreign_word,
    _foreign_symbol,
    _path_outside,
)


def implied_parameters(config: dict[str, Any]) -> int:
    """Estimate how many parameters a configuration asks for, each layer's input as wide as the output listed before."""
    total, shape, width = 0, [1], 1
    for layer in (entry for _, entry in entries(config) if "class_name" in entry):
        inner = layer.get("config")
        if not isinstance(inner, dict):
            continue
        built = (layer.get("build_config") or {}).get("input_shape")
        told = built or inner.get("batch_input_shape") or inner.get("batch_shape")
        shape, width = told or shape, _product(told, width, slice(-1, None))
        made = max(_product([inner.get(key) for key in keys], 0) for keys in _MADE)
        kernel, depth = (
            _product(inner.get("kernel_size"), 1),
            _product(inner.get("depth_multiplier"), 0),
        )
        dense = (
            made
            * kernel
            * _product(inner.get("input_dim"), width)
            // _product(inner.get("groups"), 1)
        )
        total += width * depth * (kernel + made) if depth else dense
        total += made * made * ("recurrent_initializer" in inner) + width * (
            "gamma_initializer" in inner
        )
        total += _product(shape, width, slice(1, None)) * ("alpha_initializer" in inner)
        width = made or width
    return total


def _product(given: Any, otherwise: int, part: slice = slice(None)) -> int:
    """The product of a part of some sizes, or another number where one of them is not known."""
    given = given.get("items") if isinstance(given, dict) else given
    sizes = given[part] if isinstance(given, list) else [given]
    return math.prod(sizes) if sizes and all(type(n) is int and n > 0 for n in sizes) else otherwise


def _stored_elements(path: Path, saved_as: storage.Format) -> int:
    """Check what a file holds beside its configuration; return how many numbers it stores, or bytes of a SavedModel."""
    if saved_as == "savedmodel":
        return sum(part.stat().st_size for part in (path / "variables").glob("*"))
    if saved_as == "h5":
        with h5py.File(path, "r") as file:
            return _vet_hdf5(file, path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        for name in names:
            plain = name in ("metadata.json", "config.json", "model.weights.h5") or name.startswith(
                "assets/"
            )
            if not plain or ".." in name or names.count(name) > 1:
                raise _unsafe(path, f"it holds {name!r}, which Keras would not have written there")
        _vet_ratio(sum(member.file_size for member in archive.infolist()), path)
        with archive.open("model.weights.h5") as weights, h5py.File(weights, "r") as file:
            return _vet_hdf5(file, path)


def _vet_ratio(declared: int, path: Path) -> None:
    if declared > DECLARED_BYTES and declared > DECLARED_RATIO * path.stat().st_size:
        raise _unsafe(path, f"it has {path.stat().st_size:,} bytes but declares {declared:,}")


def _vet_hdf5(file: Any, path: Path) -> int:
    """Check that an HDF5 file keeps to itself; return how many numbers it stores."""
    todo, seen, elements, declared = [file], set(), 0, 0
    while todo:
        group = todo.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _unsafe(path, f"the group {group.name!r} links {name!r} to another place")
            thing = group[name]
            address = h5py.h5o.get_info(thing.id).addr
            if address in seen:
                continue
            seen.add(address)
            if isinstance(thing, h5py.Group):
                todo.append(thing)
            elif isinstance(thing, h5py.Dataset):
                if thing.external or thing.is_virtual:
                    raise _unsafe(path, f"{thing.name!r} reads its values from another file")
                elements, declared = elements + thing.size, declared + thing.nbytes
    _vet_ratio(declared, path)
    return elements
