"""How well two models agree, in figures and in words."""

from __future__ import annotations

import pytest

from keras_downswap.calibration.evaluation.agreement import Agreement


def test_numbers_are_described_by_their_relative_error_alone() -> None:
    assert str(Agreement(0.25, None, 0.25, ("numbers",))) == "relative error 0.2500"
    words = "90.0 % same class, drop 1.5 %, relative error 0.2500"
    assert str(Agreement(0.25, 0.9, 0.015, ("scores",))) == words


def test_the_former_name_of_the_relative_error_still_works() -> None:
    with pytest.warns(DeprecationWarning, match="write agreement.relative_error"):
        assert Agreement(0.25, None, 0.25, ("numbers",)).distance == 0.25
