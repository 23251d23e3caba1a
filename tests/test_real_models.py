"""Every saved model in ../shared/models goes through the command line, where that folder exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import laws
from support.installed import skip_if_newer_than_installed
from typer.testing import CliRunner

from keras_downswap.cli.main import app
from keras_downswap.files import io as files

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"
NEGATIVE = {
    "crepe_tiny_weights_only.h5": "weights only",
    "neg_keras1_cifar10_avgpool.h5": "Keras 1",
}
NAMES = sorted(p.name for p in MODELS.iterdir() if p.suffix != ".md") if MODELS.is_dir() else []
LOADABLE = [name for name in NAMES if name not in NEGATIVE]

pytestmark = pytest.mark.skipif(not NAMES, reason="there is no folder ../shared/models")


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("to", ["strided_conv", "max_pool", "average_pool", "subsample"])
@pytest.mark.parametrize("name", LOADABLE)
@pytest.mark.filterwarnings("ignore:.*Theano")
def test_converts_and_loads_again(name: str, to: str, tmp_path: Path) -> None:
    origin = files.identify(MODELS / name)
    skip_if_newer_than_installed(origin)
    ending = {
        "strided_conv": ".keras",
        "max_pool": ".h5",
        "average_pool": ".keras",
        "subsample": "",
    }[to]
    if ending == "" and origin.keras == "keras":
        ending = ".keras"
    target, report = tmp_path / f"out{ending}", tmp_path / "report.json"
    done = run("convert", MODELS / name, target, "--to", to, "--report", report)
    assert done.exit_code == 0, done.output
    sites = json.loads(report.read_text("utf-8"))["sites"]
    old, new = files.load(MODELS / name), files.load(target)
    assert [tuple(t.shape) for t in new.outputs] == [tuple(t.shape) for t in old.outputs]
    assert [tuple(t.shape) for t in new.inputs] == [tuple(t.shape) for t in old.inputs]
    x = laws.sample_for(old)
    exact = all(site["promise"] != "approximate" for site in sites)
    for a, b in zip(laws.values(old, x), laws.values(new, x), strict=True):
        assert a.shape == b.shape
        assert not exact or abs(a - b).max() <= 1e-5 * max(1.0, abs(a).max())


def test_a_model_without_a_site_says_so(tmp_path: Path) -> None:
    done = run("convert", MODELS / "strww_dwconv.h5", tmp_path / "out.h5")
    assert done.exit_code == 0
    assert "the model has no pool and no strided convolution" in done.stderr


@pytest.mark.parametrize(("name", "words"), NEGATIVE.items())
def test_what_cannot_be_converted_is_refused_in_one_line(
    name: str, words: str, tmp_path: Path
) -> None:
    done = run("convert", MODELS / name, tmp_path / "out.keras")
    assert done.exit_code == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
