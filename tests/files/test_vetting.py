import importlib
import io
import json
import zipfile

import h5py
import numpy as np
import pytest

from keras_downswap.dialects.own_names import own_names
from keras_downswap.errors import FileRefused
from keras_downswap.files.io import identify, load, save
from keras_downswap.files.parameter_estimate import implied_parameters
from keras_downswap.files.vetting import vet

BOTH = pytest.mark.parametrize("kind", ["tf_keras", "keras"])
WAYS = [
    ("tf_keras", "m.keras"),
    ("tf_keras", "m.h5"),
    ("tf_keras", "folder"),
    ("keras", "m.keras"),
    ("keras", "m.h5"),
]
SAVES = pytest.mark.parametrize(("kind", "name"), WAYS)
FILES = pytest.mark.parametrize(("kind", "name"), [way for way in WAYS if way[1] != "folder"])


def sequential(kind, *layers, shape=(4, 4, 2), **options):
    keras = importlib.import_module(kind)
    return keras.Sequential([keras.Input(shape, **options), *layers])


def plain(kind):
    layers = importlib.import_module(kind).layers
    return sequential(
        kind,
        layers.Conv2D(3, 3, activation="relu", name="first"),
        layers.Flatten(),
        layers.Dense(2),
    )


def exchange(path, member, change):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(members[member])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def edit(path, change):
    def changed(text):
        change(config := json.loads(text))
        return json.dumps(config)

    if path.suffix == ".keras":
        return exchange(path, "config.json", changed)
    with h5py.File(path, "r+") as file:
        return file.attrs.update(model_config=changed(file.attrs["model_config"]))


def edit_weights(path, change):
    def changed(content):
        with h5py.File(part := io.BytesIO(content), "r+") as file:
            change(file)
        return part.getvalue()

    if path.suffix == ".keras":
        return exchange(path, "model.weights.h5", changed)
    return path.write_bytes(changed(path.read_bytes()))


def refused(path, words):
    with pytest.raises(FileRefused, match=words) as caught:
        load(path)
    assert str(caught.value).endswith("--trust loads it anyway.")


@SAVES
def test_lambda_is_refused_and_did_not_run(tmp_path, kind, name):
    mark = tmp_path / "ran"
    code = eval(f"lambda x: (open({str(mark)!r}, 'w').close(), x)[1]")
    layer = importlib.import_module(kind).layers.Lambda(code, name="trap", output_shape=(4, 4, 2))
    save(sequential(kind, layer), tmp_path / name)
    mark.unlink(missing_ok=True)
    refused(tmp_path / name, r"the layer 'trap' is a Lambda")
    (tmp_path / name).rename(tmp_path / "other.keras")
    refused(tmp_path / "other.keras", r"the layer 'trap' is a Lambda")
    assert not mark.exists()
    load(tmp_path / "other.keras", trust=True)(np.zeros((1, 4, 4, 2)))
    assert mark.exists(), "the trap does not work, so its silence proves nothing"


@SAVES
@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_own_layer_of_the_author_is_refused(tmp_path, kind, name, registered, nested):
    keras = importlib.import_module(kind)

    class Odd(keras.layers.Layer):
        def call(self, x):
            return x

    cls = keras.saving.register_keras_serializable("author")(Odd) if registered else Odd
    inner = sequential(kind, cls(name="odd"))
    save(sequential(kind, inner) if nested else inner, tmp_path / name)
    refused(tmp_path / name, r"the layer 'odd' uses .*Odd, which is not Keras' own")


def test_subclassed_model_in_a_savedmodel_is_refused(tmp_path):
    note = json.dumps({"keras_version": "2.9.0", "model_config": {"class_name": "Mine"}}).encode()
    (tmp_path / "keras_metadata.pb").write_bytes(bytes([10, len(note) + 2, 42, len(note)]) + note)
    (tmp_path / "saved_model.pb").touch()
    assert identify(tmp_path).version == "2.9.0"
    refused(tmp_path, r"a class of its author's own, which only the stored graph can run")


def put(key, value):
    return lambda layer: layer["config"].update({key: value})


def become(name, module=None, **keys):
    return lambda layer: layer.update(class_name=name, module=module, **keys)


FUNCTION = {
    "module": "os",
    "class_name": "function",
    "config": "getcwd",
    "registered_name": "getcwd",
}
EDITS = {
    "a class of Python's": (become("Popen", "subprocess"), r"uses subprocess\.Popen"),
    "a registered name": (
        lambda layer: layer.update(registered_name="author>Conv2D"),
        r"uses author>Conv2D",
    ),
    "a loader of Keras": (become("get_file", "keras.utils"), r"uses keras\.utils\.get_file"),
    "a function": (put("activation", FUNCTION), r"uses os\.getcwd"),
    "a function of Keras": (
        put("activation", {**FUNCTION, "module": "keras.utils"}),
        r"uses keras\.utils\.getcwd",
    ),
    "a word for a function": (put("activation", "deserialize"), r"activation 'deserialize'"),
    "a word for an initializer": (put("kernel_initializer", "load"), r"kernel_initializer 'load'"),
    "a word for a regularizer": (put("bias_regularizer", "backend"), r"bias_regularizer 'backend'"),
    "marshalled code": (
        put("activation", {"class_name": "__lambda__", "config": {}}),
        r"is a __lambda__",
    ),
    "a foreign policy": (
        put("dtype", {"module": "m", "class_name": "P", "config": {}}),
        r"uses m\.P",
    ),
    "a stored graph": (become("TFSMLayer"), r"is a TFSMLayer"),
    "a file operation": (
        become("TFOpLambda", config={"function": "io.read_file"}),
        r"tf\.io\.read_file|uses TFOp",
    ),
    "a vocabulary file": (
        put("vocabulary", "/etc/hostname"),
        r"reads its vocabulary from .*/etc/hostname",
    ),
    "a tagged path": (
        put("vocabulary", {"class_name": "__bytes__", "value": "/"}),
        r"reads its vocabulary from",
    ),
    "a list for a class": (become(["Lambda"]), r"uses \['Lambda'\]"),
    "a huge kernel": (
        put("kernel_size", [10**5, 10**5]),
        r"asks for about .* parameters, but it holds",
    ),
}


@FILES
@pytest.mark.parametrize("change", EDITS)
def test_edited_configuration_is_refused(tmp_path, kind, name, change):
    save(plain(kind), tmp_path / name)
    vet(identify(tmp_path / name))
    alter, words = EDITS[change]
    edit(tmp_path / name, lambda config: alter(config["config"]["layers"][1]))
    refused(tmp_path / name, words)


def test_chain_of_wide_layers_is_refused(tmp_path):
    dense = importlib.import_module("tf_keras").layers.Dense
    save(sequential("tf_keras", dense(3), dense(3), shape=(2,)), tmp_path / "m.h5")
    edit(
        tmp_path / "m.h5",
        lambda config: [put("units", 20_000)(layer) for layer in config["config"]["layers"][1:]],
    )
    refused(tmp_path / "m.h5", r"asks for about 400,040,000 parameters, but it holds 21;")


@BOTH
def test_string_lookup_with_a_vocabulary_file_is_refused(tmp_path, kind):
    lookup = importlib.import_module(kind).layers.StringLookup
    model = sequential(
        kind, lookup(vocabulary=["alpha", "beta"], name="words"), shape=(1,), dtype="string"
    )
    save(model, tmp_path / "m.keras")
    load(tmp_path / "m.keras")
    (tmp_path / "secret.txt").write_text("alpha\nbeta\n")
    secret = put("vocabulary", str(tmp_path / "secret.txt"))
    edit(tmp_path / "m.keras", lambda config: secret(config["config"]["layers"][1]))
    refused(
        tmp_path / "m.keras",
        r"the layer 'words' reads its vocabulary from another file, '.*secret\.txt'",
    )
    if kind == "tf_keras":
        save(model, tmp_path / "folder")
        refused(tmp_path / "folder", r"the layer 'words' has a lookup table")


def virtual(file):
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("other.h5", "data", (4,))
    file.create_virtual_dataset("it", layout)


LINKS = {
    "external link": (
        lambda file: file.update(it=h5py.ExternalLink("other.h5", "/")),
        "links 'it'",
    ),
    "soft link": (lambda file: file.update(it=h5py.SoftLink("/nowhere")), "links 'it'"),
    "external storage": (
        lambda file: file.create_dataset("it", (4,), "u1", external="/etc/hostname"),
        "another file",
    ),
    "virtual": (virtual, "'/it' reads its values from another file"),
    "never written": (lambda file: file.create_dataset("it", (1 << 30,), "f8"), "declares 8,"),
}


@FILES
@pytest.mark.parametrize("link", LINKS)
def test_hdf5_that_reaches_out_is_refused(tmp_path, kind, name, link):
    save(plain(kind), tmp_path / name)
    edit_weights(tmp_path / name, lambda file: file.create_group("a").update(again=file["/"]))
    vet(identify(tmp_path / name))
    change, words = LINKS[link]
    edit_weights(tmp_path / name, change)
    refused(tmp_path / name, words)


@pytest.mark.parametrize(
    ("member", "size"), [("model.weights.npz", 1), ("assets/../x", 1), ("assets/0", 300 << 20)]
)
def test_strange_member_of_an_archive_is_refused(tmp_path, member, size):
    save(plain("keras"), tmp_path / "m.keras")
    with zipfile.ZipFile(
        tmp_path / "m.keras", "a", zipfile.ZIP_DEFLATED, compresslevel=1
    ) as archive:
        archive.writestr(member, bytes(size))
    refused(tmp_path / "m.keras", f"it holds {member!r}" if size == 1 else "declares 314,")


def rich(kind):
    keras = importlib.import_module(kind)
    layers = keras.layers
    policy = (
        keras.mixed_precision.Policy("mixed_float16")
        if kind == "tf_keras"
        else keras.DTypePolicy("mixed_float16")
    )
    x = image = keras.Input((8, 8, 3))
    x = layers.Conv2D(
        4, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(seed=1), dtype=policy
    )(x)
    x = layers.SeparableConv2D(
        4, 3, padding="same", depthwise_regularizer=keras.regularizers.L2(0.1)
    )(x)
    x = layers.DepthwiseConv2D(
        3, padding="same", depthwise_constraint=keras.constraints.MaxNorm(2)
    )(x)
    x = layers.PReLU()(layers.LeakyReLU()(layers.Activation("swish")(x)))
    side = keras.Sequential(
        [layers.Conv2D(4, 1, activation=keras.activations.gelu), layers.BatchNormalization()]
    )
    x = layers.Concatenate()([layers.Add()([x, side(x)]), x * 2 + 1])
    x = (
        importlib.import_module("tensorflow").nn.relu(x)
        if kind == "tf_keras"
        else keras.ops.relu(x)
    )
    x = layers.Reshape((8, -1))(layers.AveragePooling2D(1)(x[:, :, ::2]))
    x = layers.Bidirectional(
        layers.LSTM(3, return_sequences=True, recurrent_activation="hard_sigmoid")
    )(x)
    x = layers.TimeDistributed(layers.Dense(3))(layers.MultiHeadAttention(2, 2)(x, x))
    model = keras.Model(
        image, layers.Dense(2, activation="softmax")(layers.RNN(layers.GRUCell(3))(x))
    )
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 5)),
        lambda y, z: (y - z) ** 2,
    )
    return model


@pytest.mark.parametrize(("kind", "name"), WAYS[:-1])  # Keras 3 does not save operations as HDF5
def test_what_is_keras_own_passes_and_loads_the_same(tmp_path, kind, name):
    model = rich(kind)
    save(model, tmp_path / name)
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(load(tmp_path / name)(x)), np.asarray(model(x)))


@BOTH
def test_every_public_layer_is_own_and_nothing_else_is(kind):
    keras, own = importlib.import_module(kind), own_names(kind)
    public = {
        n
        for n, c in vars(keras.layers).items()
        if isinstance(c, type) and issubclass(c, keras.layers.Layer)
    }
    outside = {"TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "DenseFeatures"}
    assert len(public) > 100
    assert {name for name in public if ("keras.layers", name) not in own.pairs} == public & outside
    keras.saving.register_keras_serializable("author")(type("Mine", (keras.layers.Layer,), {}))
    revived = type("Stranger", (keras.layers.Layer,), {"__module__": keras.layers.Dense.__module__})
    own_names.cache_clear()
    own = own_names(kind)
    assert own.classes.isdisjoint(outside | {revived.__name__, "Mine", "get_file", "load_model"})
    assert {module.partition(".")[0] for module, _ in own.pairs} <= {
        "keras",
        "tf_keras",
        "tensorflow",
    }


@BOTH
@pytest.mark.parametrize("name", ["MobileNetV2", "NASNetMobile"])
def test_size_of_real_architectures_is_estimated_well(kind, name):
    model = getattr(importlib.import_module(kind).applications, name)(weights=None)
    assert implied_parameters(json.loads(model.to_json())) == pytest.approx(
        model.count_params(), rel=0.05
    )
