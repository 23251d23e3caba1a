"""Holds a new model to its promises: shapes, names, weights, an untouched original, and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_downswap.checks import Check, check_or_break
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.graph import Call
from keras_downswap.ir.replacement import KEEP, Make, MakeConv, Step
from keras_downswap.planning.sites import Site
from keras_downswap.rebuilding.broken_rules import naming_the_rule
from keras_downswap.rebuilding.lengths import length_checks
from keras_downswap.rebuilding.make_layers import kernels
from keras_downswap.rebuilding.rewritten import Rewritten
from keras_downswap.rebuilding.swapped_site import SwappedSite
from keras_downswap.rebuilding.value_check import compare_values


def traces(reading: Reading) -> tuple[tuple[int, int], ...]:
    """Return how many nodes each layer of a reading has, to see later whether any was added."""
    return tuple(reading.dialect.node_count(layer) for layer in reading.layers)


def verify(
    reading: Reading, before: Sequence[tuple[int, int]], sites: Sequence[Site], new: Rewritten
) -> tuple[Check, ...]:
    """Check a new model against the old one.

    Args:
        reading: The old model.
        before: What `traces` gave before the rewrite.
        sites: The plan.
        new: The rewritten model.

    Returns:
        What was checked, in order.

    Raises:
        BrokenPromise: At the first check that fails.
    """
    untouched = traces(reading) == tuple(before)
    check_or_break(untouched, "the original model's layers grew or lost nodes")
    checks = [Check("original", "model", "no layer of the original gained or lost a node")]
    checks.append(_boundary(reading, new))
    for site in sites:
        if site.status == "swapped":
            with naming_the_rule(site, "that can be checked"):
                checks += _site_checks(reading, site, new)
    checks.append(_weights(reading, sites, new))
    return tuple(checks)


def _boundary(reading: Reading, new: Rewritten) -> Check:
    """Check what the rest of the world sees: shapes, dtypes, names and structure."""
    dialect = reading.dialect
    olds = dialect.boundary(reading.model)
    news = dialect.boundary(new.model)
    for which, old, made in zip(("inputs", "outputs"), olds, news, strict=True):
        expected, received = _specs(dialect, old), _specs(dialect, made)
        check_or_break(
            expected == received, f"the model's {which} changed from {expected} to {received}"
        )
    expected_names = dialect.boundary_names(reading.model)
    received_names = dialect.boundary_names(new.model)
    check_or_break(
        expected_names == received_names,
        "the names or structure of inputs and outputs changed "
        f"from {expected_names} to {received_names}",
    )
    graph = reading.graph
    shapes = [str(graph.tensors[number].shape) for number in graph.outputs]
    checked = "names, order, structure, dtypes and shapes of inputs and outputs"
    return Check("boundary", "model", f"{checked}; outputs {', '.join(shapes)}")


def _specs(dialect: Any, structure: Any) -> list[tuple[Any, str]]:
    tensors = dialect.flatten(structure)
    return [(dialect.shape(tensor), dialect.dtype(tensor)) for tensor in tensors]


def _site_checks(reading: Reading, site: Site, new: Rewritten) -> Iterator[Check]:
    dialect = reading.dialect
    graph = reading.scopes[site.scope].graph
    layers = {}
    for index in site.calls:
        layers[index] = list(_new_layers(site, graph.calls[index], new))
    swapped = SwappedSite(reading, graph, site, layers)
    where = swapped.where

    old = graph.tensors[swapped.end]
    made = new.tensors[site.scope, swapped.end]
    expected = (old.shape, old.dtype)
    received = (dialect.shape(made), dialect.dtype(made))
    shape, dtype = received
    check_or_break(
        expected == received, f"{where}: expected {old.shape} {old.dtype}, got {shape} {dtype}"
    )
    yield Check("shape", where, f"{shape} {dtype}")
    # Branches of a join often have the same laws: each is reported once.
    reported = set()
    for path in swapped.paths:
        for check in length_checks(swapped, path):
            if check not in reported:
                reported.add(check)
                yield check
    yield from _moved_weights(reading, site, new)
    if site.promise == "exact":
        yield compare_values(swapped)


def _steps_of(site: Site) -> Mapping[int, tuple[Step, ...]]:
    return {} if site.replacement is None else site.replacement.steps


def _new_layers(site: Site, call: Call, new: Rewritten) -> Iterator[Any]:
    """Yield the layers that the site now calls in place of one call, in order."""
    made = iter(new.made.get((site.scope, call.index), ()))
    for step in _steps_of(site).get(call.index, (KEEP,)):
        yield next(made) if isinstance(step, Make) else new.layers[call.layer]


@dataclass(frozen=True)
class _Successor:
    """A layer that a swap made from another: the step, and both layers without wrappers."""

    step: MakeConv
    old: Any
    made: Any


def _successors(reading: Reading, site: Site, new: Rewritten) -> Iterator[_Successor]:
    """Yield the layers that a site's swap made from others."""
    dialect = reading.dialect
    for index, steps in _steps_of(site).items():
        makes = [step for step in steps if isinstance(step, Make)]
        layers = new.made.get((site.scope, index), ())
        for step, layer in zip(makes, layers, strict=True):
            if isinstance(step, MakeConv) and step.like is not None:
                old = dialect.unwrapped(reading.layers[step.like])
                yield _Successor(step, old, dialect.unwrapped(layer))


def _moved_weights(reading: Reading, site: Site, new: Rewritten) -> Iterator[Check]:
    """Check the weights that moved unchanged into the layers that a swap made from others."""
    where = " + ".join(site.layers)
    for successor in _successors(reading, site, new):
        step = successor.step
        names = []
        if successor.old.use_bias and step.bias is None:
            names.append("bias")
        for name in kernels(successor.old):
            if step.kernel is None or name == "pointwise_kernel":
                names.append(name)
        for name in names:
            before = getattr(successor.old, name)
            after = getattr(successor.made, name)
            same = reading.dialect.same_bits(before, after)
            check_or_break(same, f"{where}: the {name} was to move unchanged, and differs")
        moved = " and ".join(names) or "no weight"
        yield Check("weights", where, f"{moved} moved bit-equal")


@dataclass
class _Ties:
    """Which new weight stands for which old one; one old weight has one successor everywhere."""

    new_of: dict[int, int] = field(default_factory=dict)

    def check(self, old: Any, new: Any, name: str) -> None:
        """Break off where an old weight has a successor already, and it is another one."""
        successor = self.new_of.setdefault(id(old), id(new))
        tied = successor == id(new)
        check_or_break(tied, f"layer '{name}': a weight tied to another came apart")


def _weights(reading: Reading, sites: Sequence[Site], new: Rewritten) -> Check:
    """Check every weight of layers outside the swaps, and all ties between weights."""
    untied = ", ".join(dict.fromkeys(new.untied))
    check_or_break(
        not untied, f"something besides layer '{untied}' refers to its weights, and was untied"
    )
    ties = _Ties()
    compared = _check_kept_weights(reading, new, ties)
    for site in sites:
        for successor in _successors(reading, site, new):
            olds = reading.dialect.weights(successor.old)
            news = reading.dialect.weights(successor.made)
            # Not strict: a made layer may have a bias besides.
            for old, made in zip(olds, news, strict=False):
                ties.check(old, made, successor.old.name)
    detail = f"{compared} weights of layers outside the swaps are bit-equal and not shared"
    return Check("weights", "model", detail)


def _check_kept_weights(reading: Reading, new: Rewritten, ties: _Ties) -> int:
    """Check that kept layers have copies of their weights; return how many were compared."""
    dialect = reading.dialect
    weights: dict[int, list[Any]] = {}
    for number, layer in enumerate(reading.layers):
        # The weights of a nested model are those of its layers, which are listed themselves.
        if not dialect.has_graph(dialect.unwrapped(layer)):
            weights[number] = dialect.weights(layer)
    old_ids = {id(weight) for owned in weights.values() for weight in owned}
    compared = 0
    for number, layer in new.layers.items():
        if number not in weights:
            continue
        name = reading.layers[number].name
        may_share = number in new.sharing
        for old, made in zip(weights[number], dialect.weights(layer), strict=True):
            same = dialect.same_bits(old, made)
            check_or_break(same, f"layer '{name}': a weight that no swap concerns changed")
            shares = id(made) in old_ids
            check_or_break(
                may_share or not shares, f"layer '{name}' shares a variable with the original"
            )
            ties.check(old, made, name)
            compared += 1
    return compared
