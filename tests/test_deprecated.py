"""Older spellings of arguments keep working, and say what to write instead."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from support.model_zoo import ZOO

from keras_downswap import BadRequest, plan_swaps, swap_downsampling

FUNCTIONS = [plan_swaps, swap_downsampling]


@pytest.fixture
def model(K: Any) -> Any:
    return ZOO["article_pair"](K)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"kernel": "cover"}, {"form": "cover"}),
        ({"kernel": "same"}, {"form": "same"}),
        ({"method": "wide"}, {"form": "wide"}),
        ({"method": "wide", "kernel": "same"}, {"form": "wide"}),
        ({"method": "wide", "form": "wide"}, {"form": "wide"}),
    ],
)
def test_an_older_spelling_of_the_form_says_what_to_write(
    model: Any, function: Callable[..., Any], older: dict[str, str], newer: dict[str, str]
) -> None:
    with pytest.warns(DeprecationWarning, match=f"write form='{newer['form']}' instead"):
        made = function(model, **older)
    wanted = function(model, **newer)
    if function is plan_swaps:
        assert str(made) == str(wanted)
    else:
        assert made.count_params() == wanted.count_params()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_target_by_position_keeps_working(model: Any, function: Callable[..., Any]) -> None:
    words = rf"{function.__name__}\(model, 'blur_pool'\) is deprecated: write .*to='blur_pool'\)"
    with pytest.warns(DeprecationWarning, match=words) as caught:
        function(model, "blur_pool")
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "cover", "form": "wide"},
        {"kernel": "cover", "method": "wide"},
        {"method": "wide", "form": "cover"},
        {"kernel": "same", "form": "cover"},
    ],
)
def test_contradicting_spellings_are_refused(model: Any, options: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match="ask for different forms"):
        swap_downsampling(model, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("more", [("max_pool", "exact"), ("max_pool", "exact", None)])
def test_more_than_the_target_is_given_by_name(model: Any, more: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="give all others by name"):
        plan_swaps(model, *more)
    with pytest.raises(TypeError, match="give all others by name"):
        plan_swaps(model, "max_pool", to="max_pool")  # type: ignore[misc]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_signature_shows_the_newer_spellings(function: Callable[..., Any]) -> None:
    names = inspect.signature(function).parameters
    assert names["to"].kind is inspect.Parameter.KEYWORD_ONLY
    assert "form" in names
    assert "kernel" not in names


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "best"}, "unknown method='best': expected one of auto, exact, copy"),
        ({"form": "wider"}, "unknown form='wider': expected one of same, cover, wide"),
    ],
)
def test_unknown_choices_are_refused(model: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        swap_downsampling(model, **options)
