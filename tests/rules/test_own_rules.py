"""Rules of others: handed over, or offered by an installed package; one that lies is found out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.graphs import Sketch

from keras_downswap import BadRequest, plan_swaps, swap_downsampling
from keras_downswap.errors import BrokenPromise
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import KEEP, Replacement
from keras_downswap.planning.find import find_sites
from keras_downswap.rulekit.rule import Promise
from keras_downswap.rules import checked_rules
from keras_downswap.rules.pool_into_cover import pool_into_cover
from keras_downswap.rules.pool_into_stride import pool_into_stride

ROOT = Path(__file__).resolve().parents[2]


def pair(K: Any) -> Any:
    image = K.Input((16, 16, 3))
    x = K.layers.Conv2D(4, 3, activation="relu", name="conv")(image)
    return K.Model(image, K.layers.MaxPooling2D(2, name="pool")(x))


def test_a_rule_of_ones_own_is_asked_first(K: Any) -> None:
    mine = replace(pool_into_stride, name="mine")
    (site,) = plan_swaps(pair(K), rules=[mine]).sites
    assert (site.rule, site.promise) == ("mine", "approximate")
    (site,) = plan_swaps(pair(K)).sites
    assert site.rule == "pool_into_stride"


def test_a_rule_of_ones_own_is_asked_before_exact_ones_too(K: Any) -> None:
    mine = replace(pool_into_stride, name="mine")
    image = K.Input((16, 16, 3))
    model = K.Model(image, K.layers.AveragePooling2D(2)(K.layers.Conv2D(4, 3)(image)))
    assert [site.rule for site in plan_swaps(model, rules=[mine]).sites] == ["mine"]
    assert [site.rule for site in plan_swaps(model).sites] == ["average_pool_into_kernel"]


def test_a_target_of_ones_own_needs_no_file(K: Any) -> None:
    mine = replace(pool_into_stride, name="mine", targets=frozenset({"mine"}))
    new, report = swap_downsampling(pair(K), "mine", rules=[mine], return_report=True)
    assert [site.rule for site in report.sites] == ["mine"]
    assert new.get_layer("conv").strides == (2, 2)
    with pytest.raises(BadRequest, match="unknown target to='mine'"):
        plan_swaps(pair(K), "mine")


def test_a_rule_that_promises_values_and_keeps_shapes_only_is_found_out(K: Any) -> None:
    liar = replace(pool_into_stride, name="liar", promise=Promise.EXACT)
    with pytest.raises(
        BrokenPromise, match=r"the rule liar broke its promise: .*exact values differ"
    ):
        swap_downsampling(pair(K), rules=[liar])


def test_a_rule_that_changes_a_length_is_found_out(K: Any) -> None:
    def away(graph: Graph, pool: Call, to: str) -> Replacement:
        return Replacement((pool.index,), {pool.index: ()})

    with pytest.raises(BrokenPromise, match=r"the rule away broke its promise: pool: expected"):
        swap_downsampling(pair(K), rules=[replace(pool_into_stride, name="away", apply=away)])


def test_a_rule_that_always_finds_something_ends() -> None:
    def again(graph: Graph, pool: Call, to: str) -> Replacement:
        return Replacement((pool.index,), {pool.index: (KEEP,)})

    sketch = Sketch()
    sketch.pool(sketch.input(32))
    (site,) = find_sites(sketch.graph(), [replace(pool_into_stride, apply=again)], "strided_conv")
    assert site.status == "swapped"


AIMLESS = replace(pool_into_stride, targets=frozenset())


@pytest.mark.parametrize("wrong", [[3], [AIMLESS], [pool_into_stride] * 2])
def test_what_is_no_rule_is_refused(wrong: Any) -> None:
    with pytest.raises(BadRequest, match=r"expected keras_downswap|two rules are named"):
        checked_rules(wrong, [])


def test_a_rule_cannot_bear_the_name_of_one_that_there_is(K: Any) -> None:
    with pytest.raises(BadRequest, match="two rules are named 'pool_into_stride'"):
        plan_swaps(pair(K), rules=[pool_into_stride])


def test_a_rule_that_says_it_moves_weights_unchanged_and_changes_them_is_found_out(K: Any) -> None:
    liar = replace(pool_into_cover, name="liar", verbatim=True, form="", rank=-9)
    with pytest.raises(BadRequest, match="the rule liar says that all weights move verbatim"):
        plan_swaps(pair(K), method="copy", rules=[liar])


OFFER = """[keras_downswap.rules]
mine = others_rules:RULE
"""


def listed(folder: Path, module: str) -> subprocess.CompletedProcess[str]:
    """Return what a fresh Python says of the rules, with a package installed in a folder that
    offers one.
    """
    (folder / "others-1.0.dist-info").mkdir()
    (folder / "others-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: others\nVersion: 1.0\n"
    )
    (folder / "others-1.0.dist-info" / "entry_points.txt").write_text(OFFER)
    (folder / "others_rules.py").write_text(module)
    code = (
        "from keras_downswap.planning.targets import names_of_targets\n"
        "from keras_downswap.rules import all_rules\n"
        "print([rule.name for rule in all_rules()], names_of_targets(all_rules()))"
    )
    paths = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def test_an_installed_package_offers_its_rules(tmp_path: Path) -> None:
    module = (
        "from dataclasses import replace\n"
        "from keras_downswap.rules.pool_into_stride import pool_into_stride as RULE\n"
        "RULE = replace(RULE, name='theirs', targets=frozenset({'theirs'}))\n"
    )
    done = listed(tmp_path, module)
    assert done.returncode == 0, done.stderr
    assert "'theirs'" in done.stdout.split("]")[0]
    assert "'theirs'" in done.stdout.split("]")[1]


def test_a_rule_that_does_not_load_is_an_error(tmp_path: Path) -> None:
    done = listed(tmp_path, "RULE = 3\n")
    assert done.returncode != 0
    assert "rules: expected keras_downswap.rulekit.Rule objects" in done.stderr
