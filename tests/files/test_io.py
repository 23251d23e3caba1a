import importlib
import json
import os
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.installed import skip_if_newer_than_installed

from keras_downswap.errors import FileRefused
from keras_downswap.files.io import check_target, identify, load, save, write_text

REAL = Path(__file__).parents[3] / "shared" / "models"
needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"the folder of real models is absent: {REAL}"
)
GOOD = {
    "cifar10_vgg_max.h5": ("tf_keras", "h5", "2.21.0", "tensorflow", 217778),
    "cifar10_vgg_max.keras": ("tf_keras", "keras", "2.21.0", None, 217778),
    "cifar10_vgg_max_k3.keras": ("keras", "keras", "3.15.1", None, 217778),
    "gender_mini_xception.hdf5": ("tf_keras", "h5", "2.0.5", "tensorflow", 52658),
    "kws_dscnn_savedmodel": ("tf_keras", "savedmodel", "2.4.0", "tensorflow", 24908),
    "lenet5_avgpool.h5": ("tf_keras", "h5", "2.2.4", "tensorflow", 69902),
    "lenet5_avgpool_k3.keras": ("keras", "keras", "3.15.1", None, 69902),
    "lenet5_chfirst.h5": ("tf_keras", "h5", "2.2.4", "tensorflow", 212906),
    "resnet8_cifar10.h5": ("tf_keras", "h5", "2.4.0", "tensorflow", 78666),
    "resnet8_cifar10_keras37.h5": ("keras", "h5", "3.7.0", "tensorflow", 78666),
    "strww_dwconv.h5": ("tf_keras", "h5", "2.14.0", "tensorflow", 47707),
    "vww96_mobilenet.h5": ("tf_keras", "h5", "2.4.0", "tensorflow", 221794),
    "vww96_mobilenet_k3.keras": ("keras", "keras", "3.15.1", None, 221794),
}
KEPT = ["2.keras", "2.h5", "3.keras", "3.h5"]
NAMES = {
    "tf_keras": ["m.keras", "m.h5", "m.HDF5", "folder"],
    "keras": ["m.keras", "m.h5", "m.hdf5"],
}
SAVES = pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in NAMES for name in NAMES[kind]]
)


def small(kind):
    keras = importlib.import_module(kind)
    start = [
        keras.Input((8, 8, 2)),
        keras.layers.Conv2D(3, 3, activation="relu"),
        keras.layers.BatchNormalization(),
    ]
    model = keras.Sequential(
        [*start, keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    )
    model.set_weights(
        [
            np.random.default_rng(i).uniform(0.5, 1.5, w.shape)
            for i, w in enumerate(model.get_weights())
        ]
    )
    return model


def outputs(model):
    x = np.random.default_rng(1).normal(size=(3, *model.inputs[0].shape[1:])).astype("float32")
    return np.asarray(model(x, training=False))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for name in KEPT:
        save(small("keras" if name[0] == "3" else "tf_keras"), folder / name)
    return folder


@needs_real
@pytest.mark.filterwarnings("error:.*Theano")
@pytest.mark.parametrize("name", GOOD)
def test_real_file_is_identified_and_loads(name):
    *expected, parameters = GOOD[name]
    origin = identify(REAL / name)
    assert (origin.keras, origin.format, origin.version, origin.backend) == tuple(expected)
    skip_if_newer_than_installed(origin)
    model = load(REAL / name)
    assert type(model).__module__.startswith(origin.keras + ".")
    assert model.count_params() == parameters
    assert np.isfinite(outputs(model)).all()
    if origin.format == "savedmodel":
        theirs = importlib.import_module("tf_keras").models.load_model(REAL / name, compile=False)
        np.testing.assert_array_equal(outputs(model), outputs(theirs))


@needs_real
def test_theano_kernels_are_warned_of():
    with pytest.warns(UserWarning, match=r"Theano.*flipped.*predicts wrongly"):
        load(REAL / "lenet5_chfirst_9896_theano.h5")


BAD = {
    "crepe_tiny_weights_only.h5": "weights only, no architecture",
    "neg_keras1_cifar10_avgpool.h5": "found keras_version '1.1.0', Keras 1 or older",
}


@needs_real
@pytest.mark.parametrize("name", BAD)
def test_real_file_is_refused(name):
    for attempt in (identify, load):
        with pytest.raises(FileRefused, match=BAD[name]):
            attempt(REAL / name)


def _hdf5(path, **attributes):
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)


def _zip(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name + ".json", json.dumps(content))


NEGATIVES = {
    "no such file": (lambda path: None, "no such file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "random": (
        lambda path: path.write_bytes(bytes(range(7, 207))),
        "expected a model saved by Keras",
    ),
    "folder": (lambda path: path.mkdir(), "no saved_model.pb"),
    "plain hdf5": (_hdf5, "not one of Keras"),
    "hdf5 of keras 4": (
        lambda path: _hdf5(path, keras_version="4.0", model_config="{}"),
        "version unknown here",
    ),
    "hdf5, no json": (
        lambda path: _hdf5(path, keras_version="2.9", model_config="}{"),
        "may be damaged",
    ),
    "plain zip": (lambda path: _zip(path, hello=1), "zip archive, but not one of Keras"),
    "keras core": (
        lambda path: _zip(path, metadata={"keras_version": "0.1"}, config={}),
        "keras_version '0.1'",
    ),
    "another savedmodel": (
        lambda path: (path.mkdir(), (path / "saved_model.pb").touch()),
        "Keras did not write",
    ),
    "broken savedmodel": (
        lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"\x12\x99")),
        "damaged",
    ),
}


@pytest.mark.parametrize("make", NEGATIVES)
def test_what_is_no_model_is_refused(tmp_path, make):
    write, words = NEGATIVES[make]
    write(tmp_path / "model")
    with pytest.raises(FileRefused, match=words):
        load(tmp_path / "model")


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_file_is_refused(saved, tmp_path, name, share):
    whole = (saved / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(FileRefused, match=r"damaged or cut short|could not load"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("ending", [".keras", ".h5", ".bin", ""])
def test_bytes_count_and_not_the_name(saved, tmp_path, name, ending):
    path = tmp_path / f"lie{ending}"
    path.write_bytes((saved / name).read_bytes())
    if ending == "" and name.endswith("h5"):
        with h5py.File(path, "r+") as file:
            del file.attrs["keras_version"]
    origin = identify(path)
    assert (origin.keras, origin.format) == ("tf_keras" if name[0] == "2" else "keras", name[2:])
    np.testing.assert_array_equal(outputs(load(path)), outputs(load(saved / name)))


def test_missing_keras_is_said(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(FileRefused, match=r"needs keras, which could not be imported"):
        load(saved / "3.h5", trust=True)


@SAVES
def test_saved_and_loaded_again_it_predicts_the_same(tmp_path, caplog, kind, name):
    model = small(kind)
    with warnings.catch_warnings(record=True) as advice, caplog.at_level("INFO"):
        warnings.simplefilter("always")
        save(model, tmp_path / name)
    assert "HDF5" not in f"{[str(warning.message) for warning in advice]} {caplog.text}"
    assert [left.name for left in tmp_path.iterdir()] == [name]
    if name == "folder":
        (tmp_path / name / "saved_model.pb").write_bytes(b"its stored graph is never read")
    np.testing.assert_array_equal(outputs(load(tmp_path / name)), outputs(model))


@SAVES
def test_what_is_there_stays_unless_asked_to_overwrite(tmp_path, kind, name):
    save(small(kind), tmp_path / name)
    other = small(kind)
    other.set_weights([weight * 0.5 for weight in other.get_weights()])
    with pytest.raises(FileRefused, match="exists already"):
        save(other, tmp_path / name)
    np.testing.assert_array_equal(outputs(load(tmp_path / name)), outputs(small(kind)))
    save(other, tmp_path / name, overwrite=True)
    np.testing.assert_array_equal(outputs(load(tmp_path / name)), outputs(other))


@SAVES
@pytest.mark.parametrize("old", [False, True])
def test_failed_save_changes_nothing(tmp_path, monkeypatch, kind, name, old):
    model = small(kind)
    if old:
        save(model, tmp_path / name)

    def half(self, path, **_):
        target = Path(path) / "saved_model.pb" if name == "folder" else Path(path)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"half")
        raise RuntimeError("the disk is full\nlong trace")

    monkeypatch.setattr(type(model), "save", half)
    with pytest.raises(FileRefused, match=r"nothing has changed: the disk is full$"):
        save(model, tmp_path / name, overwrite=old)
    assert [left.name for left in tmp_path.iterdir()] == [name] * old
    if old:
        np.testing.assert_array_equal(outputs(load(tmp_path / name)), outputs(model))


def test_what_appears_meanwhile_is_kept(tmp_path, monkeypatch):
    model, target = small("keras"), tmp_path / "m.keras"
    monkeypatch.setattr(
        type(model), "save", lambda _, path: (Path(path).touch(), target.write_bytes(b"theirs"))
    )
    with pytest.raises(FileRefused, match="exists already"):
        save(model, target)
    assert [(left.name, left.read_bytes()) for left in tmp_path.iterdir()] == [
        ("m.keras", b"theirs")
    ]


def test_folder_comes_back_when_renaming_fails(tmp_path, monkeypatch):
    replace, model = os.replace, small("tf_keras")
    save(model, tmp_path / "folder")
    monkeypatch.setattr(
        os,
        "replace",
        lambda a, b: replace(a, b if "-old" in f"{a}{b}" else tmp_path / "no" / "where"),
    )
    with pytest.raises(FileRefused, match="nothing has changed"):
        save(model, tmp_path / "folder", overwrite=True)
    assert [(left.name, identify(left).format) for left in tmp_path.iterdir()] == [
        ("folder", "savedmodel")
    ]


def test_target_is_checked_before_any_work(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "named.h5").mkdir()
    (tmp_path / "file").touch()
    for name, overwrite, keras, words in (
        ("m.onnx", False, "keras", r"expected the ending"),
        (".keras", False, "keras", r"expected the ending"),
        ("m", False, "keras", r"Keras 3 does not save .* SavedModel"),
        ("missing/m.keras", False, "keras", r"no folder .*missing; make it first"),
        ("full", True, "tf_keras", r"is not a SavedModel folder"),
        ("file", True, "tf_keras", r"is not a SavedModel folder"),
        ("named.h5", True, "keras", r"is not an HDF5 file"),
    ):
        with pytest.raises(FileRefused, match=words):
            check_target(tmp_path / name, overwrite, keras)
    assert check_target(tmp_path / "m.HDF5", True, "keras").name == "h5"
    with pytest.raises(FileRefused, match="received a dict"):
        save({}, tmp_path / "m.keras")


def test_text_is_written_whole_or_not_at_all(tmp_path):
    write_text(tmp_path / "a.json", "old", overwrite=False)
    with pytest.raises(FileRefused, match="exists already"):
        write_text(tmp_path / "a.json", "other", overwrite=False)
    write_text(tmp_path / "a.json", "größer\n", overwrite=True)
    with pytest.raises(FileRefused, match="nothing has changed"):
        write_text(tmp_path / "a.json", "\ud800", overwrite=True)
    assert [(p.name, p.read_text("utf-8")) for p in tmp_path.iterdir()] == [("a.json", "größer\n")]
    with pytest.raises(FileRefused, match="is not a file"):
        write_text(tmp_path, "other", overwrite=True)
