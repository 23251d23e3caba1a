"""The law of the package, as docs/architecture.md states it, checked on the syntax trees.

Each check is also shown a made-up tree that breaks the law: one that sees nothing proves nothing.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from support.imports import (
    FRAMEWORKS,
    circles,
    frameworks_imported,
    frameworks_named,
    imports_between_rules,
    imports_of,
    imports_of_package,
    imports_upwards,
    is_under,
    modules_at_the_top,
    subpackage_of,
    too_large,
)
from support.statements import long_lines, statements_of

import keras_downswap

PACKAGE = Path(keras_downswap.__file__).parent
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}

LEVELS = (
    ("errors",),
    ("ir",),
    ("checks", "rulekit", "dialects"),
    ("rules", "planning", "files"),
    ("request",),
    ("rebuilding",),
    ("calibration",),
    ("report",),
    ("search",),
    ("plan", "deprecated"),
    ("api",),
    ("demo",),
    ("__init__",),
    ("cli",),
    ("__main__",),
)
"""The lowest first. A module imports from its own subpackage and from lower levels."""
MODULES_AT_THE_TOP = 12

IMPORTS_A_FRAMEWORK = ("dialects", "calibration/distillation", "calibration/data/images.py")
NAMES_A_FRAMEWORK = (*IMPORTS_A_FRAMEWORK, "files", "cli/demo.py")
"""Formats of files name the Keras that wrote them, the demo names the one that it shows."""

LINES = 400
FUNCTION_STATEMENTS = 50
COLUMNS = 100
TOKENS = 18
LONG_PERCENT = 2
COMMENTS_PERCENT = (3, 10)


def test_imports_lead_to_lower_levels() -> None:
    assert imports_upwards(SOURCES, LEVELS) == []


def test_an_import_of_a_higher_level_is_seen() -> None:
    tree = {"ir/graph.py": "from keras_downswap.planning.sites import Site"}
    assert imports_upwards(tree, LEVELS)


def test_an_import_within_a_level_is_seen() -> None:
    tree = {"dialects/keras2.py": "import keras_downswap.rulekit.rule"}
    assert imports_upwards(tree, LEVELS)


def test_an_import_for_the_checker_of_types_is_seen() -> None:
    text = "if TYPE_CHECKING:\n    from keras_downswap import plan"
    assert imports_upwards({"rules/rule.py": text}, LEVELS)


def test_an_import_of_a_lower_level_is_none_to_see() -> None:
    tree = {"planning/find.py": "from keras_downswap.ir import graph\nimport ast"}
    assert imports_upwards(tree, LEVELS) == []


def test_the_levels_name_every_subpackage() -> None:
    named = [name for level in LEVELS for name in level]
    assert sorted(named) == sorted({subpackage_of(path) for path in SOURCES})


def test_the_page_of_the_architecture_has_the_same_levels() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    sentence = " <- ".join(", ".join(level) for level in LEVELS)
    assert sentence in " ".join(page.split())


def test_imports_go_in_no_circle() -> None:
    assert circles(SOURCES) == []


def test_a_circle_is_seen_also_if_only_the_checker_of_types_follows_it() -> None:
    tree = {
        "ir/a.py": "import keras_downswap.ir.b",
        "ir/b.py": "from keras_downswap.ir import c",
        "ir/c.py": "if TYPE_CHECKING:\n    from keras_downswap.ir.a import A",
        "ir/d.py": "from keras_downswap.ir.a import A",
    }
    assert circles(tree) == [f"keras_downswap.ir.{name}" for name in "abc"]


def test_planning_names_no_rule() -> None:
    assert imports_of_package(SOURCES, "planning", "rules") == []


def test_a_rule_that_planning_names_is_seen() -> None:
    tree = {"planning/find.py": "from keras_downswap.rules import conv_pool"}
    assert imports_of_package(tree, "planning", "rules")


def test_no_rule_names_another() -> None:
    assert imports_between_rules(SOURCES) == []


def test_a_rule_that_names_another_is_seen() -> None:
    tree = {"rules/one.py": "from keras_downswap.rules.other import other"}
    assert imports_between_rules(tree)


def test_dialects_and_calibration_know_nothing_of_rules() -> None:
    for part in ("dialects", "calibration"):
        assert imports_of_package(SOURCES, part, "rulekit") == []
        assert imports_of_package(SOURCES, part, "rules") == []


def test_a_dialect_or_a_calibration_that_knows_of_rules_is_seen() -> None:
    for part in ("dialects", "calibration"):
        tree = {f"{part}/some.py": "from keras_downswap.rulekit.rule import Rule"}
        assert imports_of_package(tree, part, "rulekit")


def test_few_files_import_a_framework_and_few_more_name_one() -> None:
    for path, text in SOURCES.items():
        if not is_under(path, IMPORTS_A_FRAMEWORK):
            assert not frameworks_imported(text), path
        if not is_under(path, NAMES_A_FRAMEWORK):
            assert not frameworks_named(text), path


def test_each_place_that_may_name_a_framework_does() -> None:
    for place in IMPORTS_A_FRAMEWORK:
        texts = [text for path, text in SOURCES.items() if is_under(path, [place])]
        assert any(frameworks_imported(text) for text in texts), place
    for place in NAMES_A_FRAMEWORK:
        texts = [text for path, text in SOURCES.items() if is_under(path, [place])]
        assert any(frameworks_named(text) for text in texts), place


def test_a_framework_is_seen_in_whichever_way_it_is_imported() -> None:
    for text in (
        "import tensorflow as tf",
        "def later():\n    from keras.src import ops",
        "tf = sys.modules['tensorflow']",
        "keras = importlib.import_module('tf_keras.layers')",
    ):
        assert frameworks_imported(text), text
    assert frameworks_named("root = 'tf_keras'") == {"tf_keras"}
    assert not frameworks_named("import keras_downswap\nkind = 'keras-like'")


def test_importing_the_package_imports_no_framework() -> None:
    code = "import sys, keras_downswap; print(sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert not {*FRAMEWORKS} & set(ast.literal_eval(loaded))


def test_the_top_of_the_package_stays_small() -> None:
    assert len(modules_at_the_top(SOURCES)) <= MODULES_AT_THE_TOP


def test_a_module_at_the_top_is_seen() -> None:
    tree = {"api.py": "", "ir/graph.py": "", "ir/deep/er.py": ""}
    assert modules_at_the_top(tree) == ["api.py"]


def test_files_and_functions_stay_small() -> None:
    for path, text in SOURCES.items():
        assert too_large(path, text, LINES, FUNCTION_STATEMENTS) == []


def test_a_large_file_and_a_large_function_are_seen() -> None:
    text = "def f():\n" + "    pass\n" * 3
    assert too_large("a.py", text, lines=4, statements=2) == ["a.py: f"]
    assert too_large("a.py", text, lines=3, statements=3) == ["a.py"]


def test_statements_say_one_thing_and_comments_stand_where_it_is_difficult() -> None:
    found = statements_of(SOURCES.values())
    fewest, most = COMMENTS_PERCENT
    assert found.ninetieth_percentile <= TOKENS
    assert found.long_percent <= LONG_PERCENT
    assert fewest <= found.comments_percent <= most


def test_no_line_is_too_long() -> None:
    for path, text in SOURCES.items():
        assert long_lines(text, COLUMNS) == [], path


def test_a_dense_file_is_seen() -> None:
    plain = "count = 1\n"
    dense = f"total = {' + '.join(['count'] * 20)}\n"
    text = '"""What it does."""\n' + plain * 8 + dense + "# Why.\n" + dense
    found = statements_of([text])
    assert found.tokens == (3,) * 8 + (41, 41)
    assert found.ninetieth_percentile == 41
    assert found.long_percent == 20
    assert found.comments_percent == 10
    assert long_lines(text, columns=100) == [10, 12]


def test_a_statement_over_several_lines_is_one() -> None:
    found = statements_of(["def f(\n    a,  # why\n    b,\n):\n    '''Do.'''\n    return a\n"])
    assert found.tokens == (2, 9)
    assert (found.comments, found.code_lines) == (1, 5)


def test_every_file_of_the_zoo_is_in_its_index() -> None:
    tests = Path(__file__).parent
    index = imports_of((tests / "support" / "model_zoo.py").read_text("utf-8"))
    files = {path.stem for path in (tests / "support" / "zoo").glob("*.py")} - {"__init__"}
    assert {f"support.zoo.{name}" for name in files} <= index


def test_each_rule_file_is_named_like_its_rule_and_its_function() -> None:
    from keras_downswap.rules import all_rules

    files = {p.stem for p in (PACKAGE / "rules").glob("*.py")} - {"__init__"}
    own = [rule for rule in all_rules() if rule.apply.__module__.startswith("keras_downswap.rules")]
    assert {rule.name for rule in own} == files
    assert all(
        rule.apply.__name__ == rule.name == rule.apply.__module__.split(".")[-1] for rule in own
    )
