"""A plan is a value: it prints in one line, pickles, copies without its model, applies later."""

import copy
import inspect
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
from support import laws
from support.model_zoo import ZOO
from support.teacher import images, network

from keras_downswap import BadRequest, Plan, load, plan_swaps, save, swap_downsampling
from keras_downswap.ir.graph import Call, Graph
from keras_downswap.ir.replacement import Replacement
from keras_downswap.rules import all_rules

NAMES = ["article_pair", "conv_norm_average", "nested", "stem_of_resnet", "shared_conv"]
NAMES = [name for name in NAMES if name in ZOO]
pytestmark = pytest.mark.filterwarnings("ignore::keras_downswap.NothingSwapped")
POOL_RULES = [rule for rule in all_rules() if rule.name == "pool_into_stride"]


def again(plan: Plan) -> Plan:
    copied: Plan = pickle.loads(pickle.dumps(plan))
    return copied


def weights(model: Any) -> list[Any]:
    return [laws.array(weight).tolist() for weight in model.weights]


@pytest.mark.parametrize("to", ["strided_conv", "conv_relu", "cheapest", "space_to_depth"])
@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_plan_makes_the_same_model(K: Any, name: str, to: str) -> None:
    model = ZOO[name](K)
    plan = plan_swaps(model, to=to)
    new, report = again(plan).apply(model, return_report=True)
    wanted, account = plan.apply(return_report=True)
    assert report.to_dict() == account.to_dict()
    assert weights(new) == weights(wanted)


def test_every_target_makes_plans_that_pickle(K: Any) -> None:
    model = ZOO["stem_of_resnet"](K)
    for to in sorted({target for rule in all_rules() for target in rule.targets}):
        plan = plan_swaps(model, to=to)
        assert str(again(plan)) == str(plan)


def test_an_unpickled_plan_asks_for_its_model(K: Any) -> None:
    plan = again(plan_swaps(ZOO["article_pair"](K)))
    with pytest.raises(BadRequest, match=r"holds no model: give it, as in plan\.apply\(model\)"):
        plan.apply()


def test_a_plan_applies_to_the_model_loaded_again(K: Any, tmp_path: Path) -> None:
    model = ZOO["article_pair"](K)
    plan = plan_swaps(model)
    save(model, tmp_path / "model.keras")
    new = again(plan).apply(load(tmp_path / "model.keras"))
    assert weights(new) == weights(plan.apply())


def image_model(K: Any, size: int = 3, filters: int = 4, name: str = "conv") -> Any:
    image = K.Input((16, 16, 3), name="image")
    x = K.layers.Conv2D(filters, size, padding="same", name=name)(image)
    return K.Model(image, K.layers.MaxPooling2D(2, name="pool")(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 5}, r"windows of Conv2D 'conv' was .*size=3.*, received .*size=5"),
        ({"name": "other"}, "expected Conv2D 'conv', received Conv2D 'other'"),
        ({"filters": 5}, "of Conv2D 'conv' was .*4.*, received .*5"),
    ],
)
def test_another_model_is_refused_with_the_difference(
    K: Any, options: dict[str, Any], words: str
) -> None:
    plan = plan_swaps(image_model(K))
    with pytest.raises(BadRequest, match=f"made for another model: .*{words}"):
        plan.apply(image_model(K, **options))


def test_a_model_with_more_layers_is_refused(K: Any) -> None:
    plan = plan_swaps(image_model(K))
    model = image_model(K)
    longer = K.Model(model.input, K.layers.ReLU()(model.output))
    with pytest.raises(BadRequest, match="expected 3 calls of layers, received 4"):
        plan.apply(longer)


def test_a_copied_plan_keeps_its_model_and_does_not_copy_it(K: Any) -> None:
    model = ZOO["article_pair"](K)
    plan = copy.deepcopy(plan_swaps(model))
    assert plan.reading.model is model
    assert copy.deepcopy([plan])[0].reading.model is model
    laws.assert_nothing_shared(model, plan.apply())


def test_a_plan_is_frozen(K: Any) -> None:
    plan = plan_swaps(ZOO["article_pair"](K))
    with pytest.raises(FrozenInstanceError):
        plan.sites = ()  # type: ignore[misc]


def test_a_selector_that_does_not_pickle_leaves_its_choice_in_the_plan(K: Any) -> None:
    model = image_model(K)
    plan = plan_swaps(model, exclude=lambda site: "pool" in site.layers)
    copied = again(plan)
    assert str(copied) == str(plan)
    assert "left out by include or exclude" in str(copied)
    assert copied.apply(model).count_params() == model.count_params()
    with pytest.raises(BadRequest, match="exclude could not be pickled with the plan"):
        copied.in_forms({})


def test_a_rule_that_does_not_pickle_leaves_its_answer_in_the_plan(K: Any) -> None:
    def pool_away(graph: Graph, pool: Call, to: str) -> Replacement:
        return POOL_RULES[0].apply(graph, pool, to)

    model = image_model(K)
    own = replace(POOL_RULES[0], name="own", apply=pool_away)
    plan = plan_swaps(model, rules=[own])
    copied = again(plan)
    assert [site.rule for site in copied.sites] == ["own"]
    assert weights(copied.apply(model)) == weights(plan.apply())


def test_a_plan_applies_in_another_process(K: Any, tmp_path: Path) -> None:
    model = image_model(K)
    save(model, tmp_path / "model.keras")
    (tmp_path / "plan.pickle").write_bytes(pickle.dumps(plan_swaps(model)))
    code = (
        "import pickle, pathlib, keras_downswap\n"
        "model = keras_downswap.load('model.keras')\n"
        "plan = pickle.loads(pathlib.Path('plan.pickle').read_bytes())\n"
        "print(plan.apply(model).get_layer('conv').strides)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.strip().endswith("(2, 2)")


def test_a_plan_takes_the_arguments_of_the_swap() -> None:
    fitting = {
        "return_report",
        "calibration_data",
        "max_drop",
        "budget",
        "seed",
        "scope",
        "verbose",
    }
    planned = {"to", "method", "form", "include", "exclude", "rules"}
    swap = inspect.signature(swap_downsampling).parameters
    apply = inspect.signature(Plan.apply).parameters
    assert set(swap) - {"model"} == fitting | planned
    assert set(apply) - {"model", "self"} == fitting
    assert set(inspect.signature(plan_swaps).parameters) - {"model"} == planned
    for name in fitting:
        assert apply[name].default == swap[name].default


def test_public_values_print_in_one_line(K: Any) -> None:
    plan = plan_swaps(ZOO["conv_norm_relu_max"](K))
    _, report = plan.apply(return_report=True)
    assert repr(plan) == "<Plan to='strided_conv', method='auto': 1 swapped, 0 kept>"
    assert repr(report).startswith("<Report to='strided_conv', method='auto': 1 swapped, 0 kept, ")
    for value in (plan, report, *report.sites, *report.checks):
        assert "\n" not in repr(value)
        assert len(repr(value)) < 400


def test_a_calibration_prints_in_one_line(K: Any) -> None:
    _, report = plan_swaps(network(K)).apply(
        return_report=True, calibration_data=images(70), verbose=False, scope="sites", seed=1
    )
    assert repr(report.calibration).startswith("<CalibrationReport method='auto': ")
    assert "\n" not in repr(report.calibration)
    html = report._repr_html_()
    assert "<li>calibrated on 6" in html


def test_a_notebook_shows_a_table_with_names_escaped(K: Any) -> None:
    plan = plan_swaps(image_model(K))
    site = replace(plan.sites[0], layers=("<b>conv</b>", "pool"))
    site = site.kept("a < b")
    html = replace(plan, sites=(site,))._repr_html_()
    assert "&lt;b&gt;conv&lt;/b&gt;<br>pool" in html
    assert "a &lt; b" in html
    assert html.startswith("<table>")
    _, report = plan.apply(return_report=True)
    assert "checks passed</li>" in report._repr_html_()
