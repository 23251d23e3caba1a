"""Which layers of a swapped model a closed form can fit, and to what in the old one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from keras_downswap.calibration.execution.calls import CallChain
from keras_downswap.calibration.execution.interpreter import CallRef, ScopePath, TensorRef
from keras_downswap.calibration.execution.live_kernel import Join, LiveKernel
from keras_downswap.calibration.pairing.pairs import Pairs
from keras_downswap.dialects.reading import Reading
from keras_downswap.ir.facts import ElementwiseFacts, LayerKind
from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import ALONG_LAST_AXIS, is_elementwise, is_position_wise

_NOTHING_PAIRED = "before anything stands for a tensor of the original"


@dataclass(frozen=True)
class FitTarget:
    """A layer that a closed form fits, and the tensor after it that is compared.

    Attributes:
        call_ref: The layer's call in the new model.
        name: Its name in reports, as `outer/inner` where nested.
        call: The call.
        following: The calls between it and what is compared, in order.
        end: The tensor of the new model that is compared.
        goal: The tensor of the old model that it stands for.
        rank: Number of axes between batch and channels of the layer's output.
        scope: The number of the graph that holds the calls.
    """

    call_ref: CallRef
    name: str
    call: Call
    following: tuple[Call, ...]
    end: TensorRef
    goal: TensorRef
    rank: int
    scope: int

    def call_chain(self, new: Reading) -> CallChain:
        """Return the layer's call, and those after it, in the live model."""
        return CallChain(new, self.call, self.following, self.rank, self.scope)


@dataclass(frozen=True)
class KernelTarget(FitTarget):
    """A layer whose kernel is fitted; elementwise calls and joins with other branches may follow.

    Attributes:
        joins: The joins among the following calls, by the number of the call.
        side_tensors: The tensors of the new model that these consume besides, in order.
        site: Whether the layer downsamples otherwise than in the old model.
    """

    joins: Mapping[int, Join]
    side_tensors: tuple[TensorRef, ...]
    site: bool

    def live_kernel(self, new: Reading) -> LiveKernel:
        """Return the live side of the layer."""
        return LiveKernel.of(self.call_chain(new), self.site, self.joins)


@dataclass(frozen=True)
class AffectedCall:
    """A call whose output differs from that of the old model.

    Attributes:
        ref: The call.
        name: Its layer's name, as `outer/inner` where nested.
        call: The call itself.
        graph: The graph that holds it.
    """

    ref: CallRef
    name: str
    call: Call
    graph: Graph


def affected_calls(graph: Graph, pairs: Pairs) -> list[AffectedCall]:
    """Return the calls that some site's output reaches, and sites, in the order of the graph."""
    walk = _AffectedWalk(pairs)
    walk.visit(graph, (), "")
    return walk.found


@dataclass
class _AffectedWalk:
    """Follows the outputs of sites through a model.

    Attributes:
        pairs: Which calls are sites.
        changed: The tensors that are affected so far.
        found: The calls that are affected so far.
    """

    pairs: Pairs
    changed: set[TensorRef] = field(default_factory=set)
    found: list[AffectedCall] = field(default_factory=list)

    def visit(self, graph: Graph, path: ScopePath, prefix: str) -> None:
        """Follow through one scope."""
        for call in graph.calls:
            inputs = {(path, tensor) for tensor in call.inputs}
            is_site = self.pairs.is_site((path, call.index))
            affected = is_site or not inputs.isdisjoint(self.changed)
            # A nested model is affected where something inside it is: it may hold a site itself.
            if call.nested_graph is not None:
                found_before = len(self.found)
                self._visit_nested(call, call.nested_graph, path, prefix)
                affected = affected or len(self.found) > found_before
            elif affected:
                name = prefix + call.path
                found = AffectedCall((path, call.index), name, call, graph)
                self.found.append(found)
            if affected:
                self.changed.update((path, t) for t in call.outputs)

    def _visit_nested(self, call: Call, nested: Graph, path: ScopePath, prefix: str) -> None:
        inner_path = (*path, call.index)
        arguments = zip(nested.inputs, call.inputs, strict=False)
        for inner, outer in arguments:
            if (path, outer) in self.changed:
                self.changed.add((inner_path, inner))
        self.visit(nested, inner_path, f"{prefix}{call.path}/")


def find_kernel_targets(new: Graph, pairs: Pairs) -> tuple[list[KernelTarget], dict[str, str]]:
    """Find the layers whose kernel can be fitted: sites, and what their output reaches.

    Args:
        new: The new model.
        pairs: What in it stands for what in the old one.

    Returns:
        The layers in the order of the graph, and for each site that is none of them the reason.
    """
    uses = new.uses()
    found: list[KernelTarget] = []
    reasons: dict[str, str] = {}
    for affected in affected_calls(new, pairs):
        call, graph = affected.call, affected.graph
        if call.role is not Role.CONV and call.class_name != LayerKind.DENSE:
            continue
        reason = fit_obstacle(graph, call, call.uses(uses))
        path = affected.ref[0]
        route = None if reason else _route_to_goal(graph, path, call, pairs)
        if route is not None:
            found.append(_kernel_target(affected, route, pairs))
        elif pairs.is_site(affected.ref):
            reasons[affected.name] = reason or _why_not_compared(graph, call)
    return found, reasons


def _kernel_target(affected: AffectedCall, route: _Route, pairs: Pairs) -> KernelTarget:
    path = affected.ref[0]
    end = (path, route.tensor)
    return KernelTarget(
        call_ref=affected.ref,
        name=affected.name,
        call=affected.call,
        following=route.following,
        end=end,
        goal=pairs.tensors[end],
        rank=len(affected.graph.tensors[route.tensor].shape) - 2,
        scope=affected.graph.scope,
        joins=route.joins,
        side_tensors=tuple((path, tensor) for tensor in route.side_tensors),
        site=pairs.is_site(affected.ref),
    )


def fit_obstacle(graph: Graph, call: Call, uses: int) -> str:
    """Say why a layer cannot be fitted by one of its calls; empty where it can.

    Args:
        graph: The graph that holds the call.
        call: The call.
        uses: How often the layer is called in the whole model.
    """
    if uses > 1:
        return f"{call.label} is called in {uses} places, and one kernel serves them all"
    if call.windows:
        spatial_axes = len(graph.input_shape(call)) - 2
        if len(call.windows) != spatial_axes:
            return f"{call.label} slides over the last axes of a map that has more"
    if call.wrapped is not None and not call.channels_last:
        return f"{call.label} runs inside a TimeDistributed layer with its channels first"
    # A transposed convolution is no product of input windows; `training=` may change any layer.
    if call.role is Role.OTHER_CONV or call.frozen_training is not None:
        return f"{call.label} is called in a way of its own"
    if call.obstacle is not None:
        return f"{call.label} {call.obstacle}"
    return ""


def _why_not_compared(graph: Graph, call: Call) -> str:
    """Say what keeps the output of a layer from being compared with the old model."""
    route = _Route(call.outputs[0])
    further = _next_step(graph, call, route, compared=False)
    while further is not None:
        route = further
        further = _next_step(graph, call, route, compared=False)
    user = graph.sole_consumer(route.last_call(call))
    if user is None:
        return f"{call.label} is followed by several layers, or none, {_NOTHING_PAIRED}"
    others = _other_inputs(user, route)
    if user.role is Role.JOIN and not _run_before(graph, call, others):
        return (
            f"{call.label} meets branches in {user.label} that run later, "
            "and these take up what it gets wrong"
        )
    return f"{call.label} is followed by {user.label} {_NOTHING_PAIRED}"


@dataclass(frozen=True)
class _Route:
    """The calls that lead from a layer to a tensor after it: see `FitTarget` and `KernelTarget`."""

    tensor: int
    following: tuple[Call, ...] = ()
    joins: Mapping[int, Join] = field(default_factory=dict)
    side_tensors: tuple[int, ...] = ()

    def last_call(self, first: Call) -> Call:
        """Return the call that makes the tensor; `first` is where the route begins."""
        return self.following[-1] if self.following else first

    def through(self, call: Call) -> _Route:
        """Return the route that goes on through a call of the tensor alone."""
        following = (*self.following, call)
        return _Route(call.outputs[0], following, self.joins, self.side_tensors)

    def through_join(self, call: Call, join: Join, others: tuple[int, ...] = ()) -> _Route:
        """Return the route that goes on through a join with other tensors."""
        following = (*self.following, call)
        joins = {**self.joins, call.index: join}
        side_tensors = (*self.side_tensors, *others)
        return _Route(call.outputs[0], following, joins, side_tensors)


def _route_to_goal(graph: Graph, path: ScopePath, call: Call, pairs: Pairs) -> _Route | None:
    """Return the route to the last paired tensor after a call, through elementwise calls and joins.

    The last one, so that the fit sees the activation. But a map that mixes channels has no slope of
    its own for each of them: where something before it can be compared, the route ends there. It
    goes through a join only where all other branches have run before the call.
    """
    best: _Route | None = None
    route: _Route | None = _Route(call.outputs[0])
    while route is not None:
        # A tensor further on is the better goal, even if this one can be compared: what the
        # activation cuts off need not be met.
        if (path, route.tensor) in pairs.tensors:
            best = route
        route = _next_step(graph, call, route, compared=best is not None)
    return best


def _next_step(graph: Graph, call: Call, route: _Route, compared: bool) -> _Route | None:
    """Return the route with one call more; None where it cannot go on.

    Args:
        graph: The graph.
        call: Where the route begins.
        route: The route so far.
        compared: Whether a tensor on it can be compared.
    """
    user = graph.sole_consumer(route.last_call(call))
    if user is None or user.frozen_training:
        return None
    if user.role is Role.JOIN:
        return _step_through_join(graph, call, route, user)
    if not is_elementwise(graph, user, call.channels_last):
        return None
    # After a join, the fit knows its own channels alone, and mixing needs all of them.
    if mixes_channels(user) and (compared or route.joins):
        return None
    return route.through(user)


def _step_through_join(graph: Graph, call: Call, route: _Route, join: Call) -> _Route | None:
    """Return the route through a join; None where the values of other branches are not known."""
    if not is_position_wise(graph, join, call.channels_last):
        return None
    rank = len(graph.tensors[route.tensor].shape)
    channel_axis = rank - 1 if call.channels_last else 1
    shapes = [graph.tensors[tensor].shape for tensor in join.inputs]
    widths = [shape[channel_axis] for shape in shapes]
    width_after = graph.tensors[join.outputs[0]].shape[channel_axis]
    if None in widths or width_after is None:
        return None
    position = join.inputs.index(route.tensor)
    if join.axis is not None:
        before = sum(width or 0 for width in widths[:position])
        after = sum(width or 0 for width in widths[position + 1 :])
        return route.through_join(join, Join(position, 0, (before, after)))
    # A join that spreads one channel over many (broadcasting) is no function of each channel.
    if width_after != widths[position]:
        return None
    others = _other_inputs(join, route)
    if not _run_before(graph, call, others):
        return None
    return route.through_join(join, Join(position, len(others)), others)


def _other_inputs(join: Call, route: _Route) -> tuple[int, ...]:
    return tuple(tensor for tensor in join.inputs if tensor != route.tensor)


def _run_before(graph: Graph, call: Call, tensors: tuple[int, ...]) -> bool:
    """Tell whether an interpreter has computed tensors before it comes to a call."""
    # A fit happens while a run waits before the call: what runs later is not known, and cannot be,
    # since it may depend on the fit.
    order = [other.index for other in graph.branch_by_branch]
    ran_before = set(order[: order.index(call.index)])
    producers = {graph.tensors[tensor].producer for tensor in tensors}
    return producers <= ran_before


def mixes_channels(call: Call) -> bool:
    """Tell whether each output channel depends on all input channels, as with a softmax."""
    facts = call.facts
    if isinstance(facts, ElementwiseFacts) and facts.mixes:
        return True
    return call.activation in ALONG_LAST_AXIS


def run_order(graph: Graph, path: ScopePath = ()) -> Iterator[CallRef]:
    """Yield every call in the order in which an interpreter begins them."""
    for call in graph.branch_by_branch:
        yield path, call.index
        if call.nested_graph is not None and call.is_inlinable:
            yield from run_order(call.nested_graph, (*path, call.index))
