"""The walks through a graph that rules share, and their refusals."""

from __future__ import annotations

from itertools import pairwise

from keras_downswap.ir.graph import Call, Graph, Role
from keras_downswap.ir.predicates import is_elementwise
from keras_downswap.ir.walks import paths_upstream
from keras_downswap.rulekit.preconditions import require_conv, require_free_name, require_window
from keras_downswap.rulekit.rule import require, skip_unless


def branches_upstream(graph: Graph, pool: Call, padded: bool = False) -> list[tuple[Call, ...]]:
    """Find the convolutions behind a pool, one for each branch that leads to it.

    Args:
        graph: The graph.
        pool: The pool.
        padded: Whether the pool may take a ZeroPadding layer right in front of it with it.

    Returns:
        For each branch the convolution, the calls between, and the pool.

    Raises:
        Refused: If the pool is no downsampling site, some branch ends in no convolution, or another
            consumer would see the change.
    """
    require_window(graph, pool)
    paths = paths_upstream(graph, pool, padded)
    for path in paths:
        conv = path[0]
        which = "" if len(paths) == 1 else f" along one of {len(paths)} branches"
        require(
            conv.role in (Role.CONV, Role.OTHER_CONV),
            f"no convolution stands behind {pool.label}: upstream{which} is {conv.label}{_and_what_it_does(conv)}",
        )
        require_conv(conv)
        for call, after in pairwise(path):
            _require_sole_consumer(graph, call, after)
        require(
            (conv.wrapped is None) == (pool.wrapped is None)
            and len(conv.windows) == len(pool.windows),
            f"{conv.label} and {pool.label} slide over different axes",
        )
        require(
            conv.channels_last == pool.channels_last,
            f"{conv.label} and {pool.label} differ in data_format",
        )
        given, wanted = (graph.tensors[c.outputs[0]].dtype for c in path[-2:])
        require(
            given == wanted, f"{pool.label} turns {given} into {wanted}, which a swap would lose"
        )
    return paths


def _and_what_it_does(call: Call) -> str:
    return ", which upsamples" if "Transpose" in call.class_name else ""


def _require_sole_consumer(graph: Graph, call: Call, after: Call) -> None:
    users = graph.consumers[call.outputs[0]]
    others = [graph.calls[u].label for u in users if u != after.index] or ["itself a second time"]
    require(len(users) == 1, f"the output of {call.label} has a second consumer, {others[0]}")
    require(not graph.is_output(call), f"the output of {call.label} is also an output of the model")


def conv_downstream(graph: Graph, pool: Call, linear: bool = True) -> tuple[Call, ...]:
    """Find the convolution that alone consumes what a pool makes.

    Args:
        graph: The graph.
        pool: The pool.
        linear: Whether only per-channel affine calls may stand between; else any elementwise ones.

    Returns:
        The pool, the calls between, and the convolution.

    Raises:
        Refused: If the pool is no downsampling site, or the convolution is none that could take it.
        NotApplicable: If something else consumes or changes what it makes.
    """
    require_window(graph, pool)
    run = [pool]
    while run[-1].role is not Role.CONV or run[-1] is pool:
        users = graph.consumers.get(run[-1].outputs[0], ())
        nexts = " and ".join(graph.calls[u].label for u in users) or "nothing"
        alone = len(users) == 1 and not graph.is_output(run[-1])
        skip_unless(
            alone,
            f"no convolution alone takes what {pool.label} makes: {run[-1].label} feeds {nexts}",
        )
        call = graph.calls[users[0]]
        elementwise = (
            is_elementwise(graph, call, pool.channels_last) and call.wrapped == pool.wrapped is None
        )
        through = elementwise and not (linear and call.role is not Role.LINEAR)
        skip_unless(
            through or call.role is Role.CONV,
            f"{call.label}, not a convolution, takes what {pool.label} makes",
        )
        run.append(call)
    conv = run[-1]
    require_conv(conv)
    same = (conv.wrapped is None) == (pool.wrapped is None) and len(conv.windows) == len(
        pool.windows
    )
    require(
        same and conv.channels_last == pool.channels_last,
        f"{conv.label} and {pool.label} slide over other axes",
    )
    given, wanted = (graph.tensors[t].dtype for t in (pool.inputs[0], conv.inputs[0]))
    require(
        given == wanted,
        f"{pool.label} takes {given} and {conv.label} {wanted}: a swap would lose that",
    )
    require(
        "float" in given,
        f"{pool.label} pools {given}, and the swap computes with floating-point numbers only",
    )
    return tuple(run)


def pointwise_run(graph: Graph, conv: Call) -> tuple[Call, ...]:
    """Walk from a convolution downstream through elementwise calls that are the sole consumers of each other.

    Returns:
        The convolution and its followers. Stops before a call that names one of several outputs of
        the model.

    Raises:
        Refused: If the convolution itself names one of several outputs.
    """
    require_free_name(graph, conv)
    run = [conv]
    while True:
        call = graph.sole_consumer(run[-1])
        if call is None or not is_elementwise(graph, call, conv.channels_last):
            return tuple(run)
        if (call.wrapped is None) != (conv.wrapped is None):
            return tuple(run)
        if graph.scope == 0 and len(graph.outputs) > 1 and graph.is_output(call):
            return tuple(run)
        run.append(call)
