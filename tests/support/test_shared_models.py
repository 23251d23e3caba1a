"""The model that laws share is built once, and each kind of result is saved."""

from __future__ import annotations

from typing import Any

from support.shared_models import SAVED_BY_RULE, shared_model


def test_a_model_is_built_once_for_tests_in_a_row(K: Any) -> None:
    first = shared_model(K, "article_pair")
    assert shared_model(K, "article_pair") is first
    assert shared_model(K, "conv_average").model is not first.model
    assert shared_model(K, "article_pair").model is not first.model


def test_each_model_is_saved_once_and_each_rule_with_some_models(K: Any) -> None:
    names = ("article_pair", "conv_average")
    for turn in range(SAVED_BY_RULE):
        assert shared_model(K, names[turn % 2]).owes_saving({"a rule of its own"})
    shared = shared_model(K, names[0])
    assert shared.owes_saving({"a rule of its own"}), "no swap of this model was saved"
    assert not shared.owes_saving({"a rule of its own"})
    assert shared.owes_saving({"a rule of its own", "another rule"})


def test_models_with_names_that_are_hard_to_handle_are_always_saved(K: Any) -> None:
    shared = shared_model(K, "taken_names")
    for _ in range(SAVED_BY_RULE + 2):
        assert shared.owes_saving({"a third rule"})
