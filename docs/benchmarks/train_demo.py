"""Trains the demo's digit classifier and writes both demo files; the seed is fixed.

Needs Keras 3 with a backend, and scikit-learn, which the package itself does not need: `pip install
scikit-learn`. Run `python docs/benchmarks/train_demo.py [FOLDER]`; it takes about 15 seconds on
two CPU cores. Two runs with the same versions on the same machine give the same images and the same
weights; only the date inside the model file differs.
"""

import argparse
import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SEED = 20
TEST_SAMPLES = 500
EPOCHS = 20
BATCH = 64
PEAK_RATE = 4e-3
TOP = 16
DEMO_FOLDER = Path(__file__).resolve().parents[2] / "keras_downswap" / "demo"
SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))


class Digits(NamedTuple):
    """Handwritten digits.

    Attributes:
        images: Of shape (n, 8, 8, 1), uint8, from 0 (paper) to 16 (ink).
        labels: Of shape (n,), uint8, from 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def split_digits() -> tuple[Digits, Digits]:
    """Splits scikit-learn's 1,797 digits into 1,297 for training and 500 for testing, by label.

    Raises:
        SystemExit: If scikit-learn is not installed.
    """
    try:
        datasets: Any = importlib.import_module("sklearn.datasets")
        selection: Any = importlib.import_module("sklearn.model_selection")
    except ImportError as missing:
        raise SystemExit(
            "train_demo.py: expected scikit-learn, which holds the digits; it cannot be imported "
            f"({missing}). Install it with: pip install scikit-learn"
        ) from missing
    raw = datasets.load_digits()
    images = raw.images.astype(np.uint8)[..., np.newaxis]
    labels = raw.target.astype(np.uint8)
    train_x, test_x, train_y, test_y = selection.train_test_split(
        images, labels, test_size=TEST_SAMPLES, random_state=SEED, stratify=labels
    )
    return Digits(train_x, train_y), Digits(test_x, test_y)


def scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Maps pixels 0..16 to what the network reads, 0..1; the shape stays."""
    return images.astype(np.float32) / np.float32(TOP)


def shifted(digits: Digits) -> Digits:
    """Adds to (n, 8, 8, 1) images their copies moved by one pixel each way: 5 n samples."""
    padded = np.pad(digits.images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    copies = [padded[:, 1 + down : 9 + down, 1 + right : 9 + right] for down, right in SHIFTS]
    return Digits(np.concatenate(copies), np.tile(digits.labels, len(SHIFTS)))


def digits_cnn(keras: Any) -> Any:
    """Builds the untrained network, (batch, 8, 8, 1) in 0..1 to (batch, 10) logits, with two sites.

    `conv2 -> bn2 -> relu2 -> pool1` (max) has an approximate strided stand-in, `conv3 -> pool2`
    (average) an exact one.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            layers.Conv2D(16, 3, padding="same", name="conv1"),
            layers.BatchNormalization(momentum=0.9, name="bn1"),
            layers.ReLU(name="relu1"),
            layers.Conv2D(24, 3, padding="same", name="conv2"),
            layers.BatchNormalization(momentum=0.9, name="bn2"),
            layers.ReLU(name="relu2"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Conv2D(32, 3, padding="same", name="conv3"),
            layers.AveragePooling2D(2, name="pool2"),
            layers.ReLU(name="relu3"),
            layers.Conv2D(48, 3, padding="same", name="conv4"),
            layers.ReLU(name="relu4"),
            layers.GlobalAveragePooling2D(name="global_pool"),
            layers.Dense(10, name="logits"),
        ],
        name="digits_cnn",
    )


def trained(keras: Any, digits: Digits) -> Any:
    """Trains on the digits and their shifted copies; returns the network, not compiled."""
    student = digits_cnn(keras)
    samples = shifted(digits)
    steps = EPOCHS * -(-len(samples.labels) // BATCH)
    student.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(PEAK_RATE, steps), weight_decay=1e-3
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    student.fit(scaled(samples.images), samples.labels, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    bare = digits_cnn(keras)
    bare.set_weights(student.get_weights())
    return bare


def accuracy(model: Any, digits: Digits) -> float:
    """Returns the share of the digits, 0 to 1, whose largest logit is the label's."""
    logits = np.asarray(model.predict(scaled(digits.images), batch_size=256, verbose=0))
    return float(np.mean(np.argmax(logits, axis=-1) == digits.labels))


def main() -> None:
    """Trains, writes both files, and prints what was measured on them."""
    parser = argparse.ArgumentParser(
        description="Train the demo's digit classifier; needs scikit-learn."
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=DEMO_FOLDER, help="where both files go"
    )
    folder: Path = parser.parse_args().folder
    train, test = split_digits()
    keras: Any = importlib.import_module("keras")
    keras.utils.set_random_seed(SEED)
    if keras.backend.backend() == "tensorflow":
        importlib.import_module("tensorflow").config.experimental.enable_op_determinism()
    folder.mkdir(parents=True, exist_ok=True)
    trained(keras, train).save(folder / "digits_cnn.keras")
    np.savez_compressed(folder / "digits_test.npz", images=test.images, labels=test.labels)
    written = keras.saving.load_model(folder / "digits_cnn.keras")
    print(f"parameters      {written.count_params():,}")
    print(f"train accuracy  {accuracy(written, train):.2%} of {len(train.labels):,}")
    print(f"test accuracy   {accuracy(written, test):.2%} of {len(test.labels):,}")


if __name__ == "__main__":
    main()
