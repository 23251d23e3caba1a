"""What must hold of a rewritten model, as `assert_*` helpers; `test_laws.py` shows that each can
fail.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from support.looking import (
    BACKEND,
    CONVS,
    array,
    is_sequential,
    owed,
    owned,
    parts,
    root_of,
    unwrapped,
)

from keras_downswap import NothingSwapped, Report, swap_downsampling
from keras_downswap.planning.sites import Site


def sample_for(model: Any, batch: int = 2, length: int = 20, seed: int = 0) -> Any:
    """Return random inputs in the model's own structure; `length` where a size is unknown."""
    import tensorflow as tf

    rng = np.random.default_rng(seed)

    def one(tensor: Any) -> Any:
        first, *rest = tensor.shape
        shape = (first or batch, *(length if n is None else n for n in rest))
        dtype = getattr(tensor.dtype, "name", tensor.dtype)
        if dtype == "string":
            return tf.constant(rng.choice(["a", "b", "z"], shape))
        drawn = rng.integers(0, 8, shape) if "int" in dtype else rng.uniform(-1, 1, shape)
        if dtype == "bool":
            drawn = drawn > 0
        if BACKEND != "tensorflow":
            return np.asarray(drawn, dtype)
        dense = tf.constant(drawn, dtype)
        kind = type(getattr(tensor, "type_spec", None)).__name__
        if kind == "SparseTensorSpec" or getattr(tensor, "sparse", False) is True:
            return tf.sparse.from_dense(dense)
        return tf.RaggedTensor.from_tensor(dense) if kind == "RaggedTensorSpec" else dense

    structure = model.inputs[0] if is_sequential(model) else model.input
    return tf.nest.map_structure(one, structure)


def boundary(model: Any) -> Any:
    """Return names, structure, shapes and dtypes of inputs and outputs."""
    import tensorflow as tf

    plain = is_sequential(model)
    given, made = (model.inputs, model.outputs) if plain else (model.input, model.output)
    facts = tf.nest.map_structure(
        lambda t: str((tuple(t.shape), getattr(t.dtype, "name", t.dtype))), (given, made)
    )
    names = list(getattr(model, "output_names", ())), [t.name.split("/")[0] for t in model.inputs]
    return facts, names


def assert_same_boundary(old: Any, new: Any) -> None:
    """Inputs and outputs have the same names, structure, shapes and dtypes."""
    assert boundary(new) == boundary(old)


def bits(variable: Any) -> tuple[Any, ...]:
    """Return the bits of a variable, or the words of a vocabulary that stands among a layer's
    weights.
    """
    if hasattr(variable, "get_tensors"):
        return tuple(array(tensor).tolist() for tensor in variable.get_tensors())
    value = array(variable)
    return value.shape, value.dtype, value.tobytes()


def assert_weights_kept(old: Any, new: Any, except_layers: Iterable[str]) -> None:
    """Every weight outside the layers excepted by path is bit-equal under the same path, and none
    was added.
    """
    excepted = set(except_layers)
    weighted = (
        {p: getattr(lay, "weights", ()) for p, lay in parts(m) if p not in excepted}
        for m in (old, new)
    )
    olds, news = (
        {path: weights for path, weights in found.items() if weights} for found in weighted
    )
    assert news.keys() == olds.keys()
    for path, weights in olds.items():
        assert len(news[path]) == len(weights), f"{path}: number of weights"
        for one, two in zip(weights, news[path], strict=True):
            assert bits(one) == bits(two), f"{path}: {getattr(one, 'name', 'vocabulary')} changed"


def assert_nothing_shared(old: Any, new: Any) -> None:
    """No variable, layer or node is used by both models, through whatever attribute, closure or
    call argument.
    """
    common = owned(old).keys() & (mine := owned(new)).keys()
    shared = [f"{type(mine[i]).__name__} {getattr(mine[i], 'name', '')}" for i in common]
    assert not common, f"shared: {shared}"


COMPOSING = (
    "average_pool_into_kernel",
    "average_pool_into_next_kernel",
    "average_pool_into_polyphase",
)
COMPOSING += (
    "stride_into_depth",
    "shortcut_into_pool",
    "kernel_into_larger",
    "pool_into_cover",
    "pool_into_wide",
)
FIXED = (
    "average_pool_into_depthwise",
    "extra_conv",
    "max_pool_into_relus",
    "average_pool_into_polyphase",
    "_into_blur",
)


def composed(old: Any, new: Any, report: Report) -> set[str]:
    """Return the paths, by each way that leads to them, of the convolutions whose kernels exact
    swaps made.
    """
    found: set[str] = set()
    for model, rules in ((old, COMPOSING), (new, COMPOSING + FIXED)):
        bounded = report.to.startswith("profile:")
        sites = [
            site
            for site in report.sites
            if bounded or any(rule in str(site.rule) for rule in rules)
        ]
        named = [re.escape(name) for site in sites for name in site.layers]
        more = r"(_round\d+|_blur|_narrow)"
        wrapped = [f"{name.rpartition('/')[0]}{more}(_\\d+)?/.*" for name in named if "/" in name]
        stems = re.compile(
            rf"({'|'.join(named)}){more}?(_\d+)?" + "".join(f"|{w}" for w in wrapped)
            if named
            else "(?!)"
        )
        kinds = [(path, layer, type(unwrapped(layer)).__name__) for path, layer in parts(model)]
        remade = {
            id(layer) for path, layer, kind in kinds if stems.fullmatch(path) and kind in CONVS
        }
        found |= {path for path, layer, _ in kinds if id(layer) in remade}
    return found


@dataclass(frozen=True)
class Snapshot:
    """All that a rewrite must leave alone in a model."""

    config: str
    weights: tuple[tuple[int, tuple[Any, ...]], ...]
    nodes: tuple[tuple[str, int, int], ...]
    flags: tuple[bool, ...]


def snapshot_of(model: Any) -> Snapshot:
    """Return config, weights, node counts, trainable flags and variable identities of a model."""
    layers = [model, *(lay for _, lay in parts(model)), *getattr(model, "operations", ())]
    return Snapshot(
        _config(model),
        tuple((id(w), bits(w)) for w in model.weights),
        tuple((lay.name, len(lay._inbound_nodes), len(lay._outbound_nodes)) for lay in layers),
        tuple(bool(getattr(lay, "trainable", False)) for lay in layers),
    )


def _config(model: Any) -> str:
    """Return a model's config in words, or the error of a layer that has none.

    The bytes of a lambda are left out: marshal writes them otherwise where the same constant is
    referred to more often.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return re.sub(r"'([\w+/=]|\\n){60,}'", "'...'", str(model.get_config()))
        except (ValueError, TypeError, NotImplementedError) as error:
            return str(error)


def assert_untouched(before: Snapshot, model: Any) -> None:
    """The model is as it was when the snapshot was taken."""
    assert snapshot_of(model) == before


@contextmanager
def at_rest(model: Any) -> Iterator[None]:
    """Give a model back the state (of stateful layers, of statistics and seeds) that it had before
    a run.
    """
    import tensorflow as tf

    states = [
        getattr(layer, "states", None)
        for _, layer in (parts(model) if hasattr(model, "layers") else ())
    ]
    moving = [
        *getattr(model, "variables", ()),
        *(v for v in tf.nest.flatten(states) if hasattr(v, "assign")),
    ]
    before = [
        (variable, array(variable).copy()) for variable in moving if hasattr(variable, "assign")
    ]
    yield
    for variable, value in before:
        if array(variable).tobytes() != value.tobytes():
            variable.assign(value)


def values(model: Any, x: Any) -> list[np.ndarray[Any, Any]]:
    """Return all outputs of a model at inference, and leave its state as it was."""
    import tensorflow as tf

    with at_rest(model):
        return [array(y) for y in tf.nest.flatten(model(x, training=False))]


def assert_same_values(old: Any, new: Any, x: Any, rtol: float) -> None:
    """At inference every output agrees to `rtol` of its largest magnitude; bit by bit where `rtol`
    is 0.
    """
    olds, news = values(old, x), values(new, x)
    assert len(olds) == len(news)
    for number, (a, b) in enumerate(zip(olds, news, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), (
            f"output {number}: {a.shape} {a.dtype}, {b.shape} {b.dtype}"
        )
        if rtol == 0 or a.dtype.kind not in "fV":
            assert a.tobytes() == b.tobytes() if a.dtype.kind != "O" else a.tolist() == b.tolist()
            continue
        one, two = a.astype(np.float64), b.astype(np.float64)
        worst, scale = np.abs(one - two).max(), np.abs(one).max()
        assert worst <= rtol * scale, (
            f"output {number}: differs by {worst:.1e} at scale {scale:.1e}"
        )


def assert_close(olds: list[Any], news: list[Any], tolerance: float) -> None:
    """Outputs agree within a tolerance of the largest of them all, bit by bit where it is 0."""
    scale = max(
        [1.0, *(float(np.abs(y[np.isfinite(y)].astype(np.float64)).max(initial=0)) for y in olds)]
    )
    for number, (a, b) in enumerate(zip(olds, news, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if tolerance == 0:
            assert a.tobytes() == b.tobytes(), f"output {number} is not the same, bit by bit"
        np.testing.assert_allclose(
            b.astype(np.float64), a.astype(np.float64), rtol=0, atol=tolerance * scale
        )


def assert_accounted(model: Any, report: Report) -> None:
    """The report has an entry for every pool and strided convolution, and says of each kept one
    why.
    """
    for names in owed(model):
        wanted = [together if report.to == "strided_conv" else together[-1:] for together in names]
        found = any(
            {*one} <= {*site.layers} or _stands_alone(one[-1], site)
            for one in wanted
            for site in report.sites
        )
        assert found, f"{names} is missing in\n{report}"
    for site in report.sites:
        assert site.status == "swapped" or len(site.reason) > 10, (
            f"{site.layers} is kept without a reason"
        )


def _stands_alone(pool: str, site: Site) -> bool:
    """Tell whether a site need not mention the convolution before its pool."""
    return pool in site.layers and (
        site.status == "swapped" or (pool == site.layers[0] and len(site.layers) > 1)
    )


def assert_survives_saving(model: Any, tmp_path: Path) -> None:
    """Saved as `.keras` and loaded again, the model has the same structure and shapes and gives the
    same values.
    """
    file = tmp_path / f"{root_of(model)}.keras"
    model.save(file)
    again = sys.modules[root_of(model)].models.load_model(file, compile=False, safe_mode=False)
    assert boundary(again)[0] == boundary(model)[0]
    assert_same_values(model, again, sample_for(model), rtol=0)


def assert_survives_as_the_original_does(old: Any, new: Any, tmp_path: Path) -> None:
    """The new model survives saving, unless Keras itself loses the old one."""
    try:
        assert_survives_saving(new, tmp_path)
    except Exception:
        try:
            assert_survives_saving(old, tmp_path)
        except Exception:  # noqa: BLE001 (whatever Keras makes of it)
            return
        raise


def assert_idempotent(model: Any, to: str, method: Any = "auto", **options: Any) -> None:
    """A second swap to the same target changes nothing and warns."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again, report = swap_downsampling(
            model, to=to, method=method, return_report=True, **options
        )
    warned = [w for w in caught if w.category is NothingSwapped]
    assert warned, f"it swapped again:\n{report}"
    assert "nothing was swapped" in str(warned[0].message)
    assert [(p, type(lay)) for p, lay in parts(again)] == [
        (p, type(lay)) for p, lay in parts(model)
    ]
    assert_weights_kept(model, again, ())
