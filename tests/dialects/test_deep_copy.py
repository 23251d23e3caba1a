"""A copy has everything that the original has, shares nothing that can change, and keeps ties."""

from __future__ import annotations

import functools
import threading
import weakref
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest

from keras_downswap.dialects.copying.deep_copy import LayerCopier, Uncopyable


class Variable:
    def __init__(self, value: float) -> None:
        self.value = value


class Layer:
    def __init__(self, **attributes: Any) -> None:
        self.name = "layer"
        vars(self).update(attributes)


class GraphModel(Layer):
    pass


class Tensor:
    pass


class FakeDialect:
    """What a copier asks of a dialect, for classes that no framework has."""

    def is_layer(self, value: Any) -> bool:
        return isinstance(value, Layer)

    def is_variable(self, value: Any) -> bool:
        return isinstance(value, Variable)

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, Tensor)

    def is_constant(self, value: Any) -> bool:
        return False

    def has_graph(self, value: Any) -> bool:
        return isinstance(value, GraphModel)

    def special_handler(self, value: Any, copier: LayerCopier) -> None:
        return None

    def copy_variable(self, variable: Variable, copier: LayerCopier) -> Variable:
        return Variable(variable.value)

    def unconnected_tensor(self, tensor: Tensor) -> Tensor:
        return Tensor()


@pytest.fixture
def copier() -> LayerCopier:
    return LayerCopier(FakeDialect(), lambda model: GraphModel(rebuilt=True))


def test_a_variable_that_two_layers_hold_is_one_variable_in_the_copies(copier: LayerCopier) -> None:
    tied = Variable(1.0)
    one, two = Layer(kernel=tied), Layer(kernel=tied)
    new_one, new_two = copier.copy_layer(one), copier.copy_layer(two)
    assert new_one.kernel is new_two.kernel
    assert new_one.kernel is not tied


def test_a_container_that_two_attributes_share_stays_shared(copier: LayerCopier) -> None:
    shared = [Variable(1.0)]
    new = copier.copy_layer(Layer(first=shared, second={"same": shared}))
    assert new.first is new.second["same"]
    assert new.first is not shared


def test_a_layer_that_leads_back_to_itself_is_copied_once(copier: LayerCopier) -> None:
    layer = Layer()
    layer.parts = [layer]
    layer.parts.append(layer.parts)
    new = copier.copy_layer(layer)
    assert new.parts[0] is new
    assert new.parts[1] is new.parts


def test_a_closure_over_a_layer_closes_over_its_copy(copier: LayerCopier) -> None:
    inner = Layer(kernel=Variable(2.0))

    def function(x: float) -> float:
        return x * inner.kernel.value

    new = copier.copy_layer(Layer(function=function, inner=inner))
    new.inner.kernel.value = 5.0
    assert (function(1.0), new.function(1.0)) == (2.0, 5.0)


def test_defaults_and_partials_and_methods_lead_to_the_copies(copier: LayerCopier) -> None:
    class Owner:
        def __init__(self, layer: Layer) -> None:
            self.layer = layer

        def held(self) -> Layer:
            return self.layer

    inner = Layer()

    def with_default(layer: Layer = inner) -> Layer:
        return layer

    def plain(layer: Layer) -> Layer:
        return layer

    new = copier.copy_layer(
        Layer(
            inner=inner,
            default=with_default,
            partial=functools.partial(plain, inner),
            method=Owner(inner).held,
        )
    )
    assert new.default() is new.partial() is new.method() is new.inner
    assert new.inner is not inner


def test_a_function_that_closes_over_itself_and_a_layer_is_copied(copier: LayerCopier) -> None:
    inner = Layer()

    def function(depth: int) -> Any:
        return inner if depth == 0 else function(depth - 1)

    new = copier.copy_layer(Layer(function=function, inner=inner))
    assert new.function(3) is new.inner


def test_a_function_that_holds_no_part_of_a_model_stays_the_same_object(
    copier: LayerCopier,
) -> None:
    factor = 3.0

    def function(x: float) -> float:
        return x * factor

    assert copier.copy_layer(Layer(function=function)).function is function


def test_an_empty_cell_stays_empty(copier: LayerCopier) -> None:
    inner = Layer()

    def function() -> Any:
        return inner, later

    new = copier.copy_layer(Layer(function=function))
    with pytest.raises(NameError):
        new.function()
    later = 1
    assert function() == (inner, later)


@pytest.mark.parametrize("name", ["_inbound_nodes", "_outbound_nodes"])
def test_nodes_start_anew(copier: LayerCopier, name: str) -> None:
    assert vars(copier.copy_layer(Layer(**{name: [object()]})))[name] == []


def test_compiled_functions_start_anew_wherever_they_are_listed(copier: LayerCopier) -> None:
    Reference = namedtuple("Reference", "name ref")
    kept, compiled = Layer(), object()
    new = copier.copy_layer(
        Layer(
            train_function=compiled,
            _self_unconditional_checkpoint_dependencies=[
                Reference("kernel", kept),
                Reference("train_function", compiled),
            ],
            _self_unconditional_dependency_names={"kernel": kept, "train_function": compiled},
        )
    )
    assert new.train_function is None
    assert [r.name for r in new._self_unconditional_checkpoint_dependencies] == ["kernel"]
    assert list(new._self_unconditional_dependency_names) == ["kernel"]


def test_a_model_with_a_graph_is_rebuilt_not_copied(copier: LayerCopier) -> None:
    model = GraphModel()
    new = copier.copy_layer(Layer(model=model, again=model))
    assert new.model.rebuilt
    assert new.model is new.again


def test_a_copy_that_fails_leaves_nothing(copier: LayerCopier) -> None:
    shared = [1]
    with pytest.raises(Uncopyable, match="generator"):
        copier.copy_layer(Layer(shared=shared, stream=(i for i in range(3))))
    assert copier.memo == {}
    assert copier.copy_layer(Layer(shared=shared)).shared == [1]


def test_a_weak_reference_refers_to_the_copy(copier: LayerCopier) -> None:
    inner = Layer()
    new = copier.copy_layer(Layer(inner=inner, reference=weakref.ref(inner)))
    assert new.reference() is new.inner


@pytest.mark.parametrize("kind", [threading.Lock, threading.RLock, threading.local])
def test_locks_are_new(copier: LayerCopier, kind: Callable[[], Any]) -> None:
    lock = kind()
    new = copier.copy_layer(Layer(lock=lock)).lock
    assert type(new) is type(lock)
    assert new is not lock


def test_containers_keep_their_kind(copier: LayerCopier) -> None:
    Pair = namedtuple("Pair", "left right")
    values = {
        "default": defaultdict(list, a=[1]),
        "ordered": OrderedDict(a=[1]),
        "pair": Pair([1], [2]),
        "frozen": frozenset({1}),
        "tuple": ([1],),
    }
    new = copier.copy_layer(Layer(**values))
    for name, value in values.items():
        copied = getattr(new, name)
        assert type(copied) is type(value)
        assert copied == value
    assert new.default["missing"] == []
    assert new.pair.left is not values["pair"].left  # type: ignore[attr-defined]


def test_slots_are_copied_private_ones_too(copier: LayerCopier) -> None:
    class Slotted:
        __slots__ = ("__hidden", "shown")

        def __init__(self) -> None:
            self.shown = [1]
            self.__hidden = [2]

        def hidden(self) -> list[int]:
            return self.__hidden

    old = Slotted()
    new = copier.copy_layer(Layer(slotted=old)).slotted
    assert (new.shown, new.hidden()) == ([1], [2])
    assert new.shown is not old.shown
    assert new.hidden() is not old.hidden()


def test_no_constructor_and_no_setattr_of_a_layer_runs(copier: LayerCopier) -> None:
    class Strict(Layer):
        def __init__(self, key: str) -> None:
            if key != "open":
                raise AssertionError
            super().__init__(kernel=Variable(1.0))

        def __setattr__(self, name: str, value: Any) -> None:
            if name != "name":
                raise AssertionError(name)
            super().__setattr__(name, value)

    old = Strict("open")
    assert copier.copy_layer(old).kernel is not old.kernel


def test_originals_live_as_long_as_the_memo(copier: LayerCopier) -> None:
    layer = Layer()
    gone = weakref.ref(layer)
    new = copier.copy_layer(layer)
    del layer
    assert gone() is not None
    assert copier.copy_layer(gone()) is new
