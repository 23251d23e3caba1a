"""`calibrate(new, model, data)` still works, and says which of the two models it changes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from keras_downswap import calibrate
from keras_downswap.calibration.old_spelling import accepts_old_spelling


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


NEW, OLD = Named("strided"), Named("pooled")


@accepts_old_spelling
def stand_in(
    new: Any, *, original: Any, data: Any, method: str = "auto", seed: int = 0
) -> tuple[Any, ...]:
    return new, original, data, method, seed


OLD_SPELLINGS: dict[str, Any] = {
    "positions": lambda: stand_in(NEW, OLD, 1, "distill", seed=3),
    "model by name": lambda: stand_in(NEW, model=OLD, data=1, method="distill", seed=3),
    "model by position, data by name": lambda: stand_in(NEW, OLD, data=1, method="distill", seed=3),
    "original beside no position": lambda: stand_in(
        NEW, original=OLD, data=1, method="distill", seed=3
    ),
}


@pytest.mark.parametrize("spelling", list(OLD_SPELLINGS)[:3])
def test_the_old_spelling_does_the_same_and_names_the_models(spelling: str) -> None:
    with pytest.warns(DeprecationWarning, match="by name") as caught:
        received = OLD_SPELLINGS[spelling]()
    assert received == (NEW, OLD, 1, "distill", 3)
    (warning,) = caught
    assert warning.filename == __file__
    words = str(warning.message)
    assert "changes the first model, 'strided', and leaves the second, 'pooled', as it is" in words
    assert "calibrate(new, original=original, data=data, method=method, seed=seed)" in words


def test_the_new_spelling_warns_of_nothing(recwarn: Any) -> None:
    assert OLD_SPELLINGS["original beside no position"]() == (NEW, OLD, 1, "distill", 3)
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: stand_in(NEW), "missing 2 required keyword-only"),
        (lambda: stand_in(NEW, OLD, 1, data=2), "multiple values for argument 'data'"),
        (lambda: stand_in(NEW, OLD, original=OLD, data=1), "both 'original' and 'model'"),
        (lambda: stand_in(*[NEW] * 20), "positional argument"),
    ],
)
def test_what_was_never_right_stays_a_type_error(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_only_the_changed_model_can_be_given_by_position() -> None:
    parameters = inspect.signature(calibrate).parameters.values()
    by_position = [p.name for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert by_position == ["new"]
