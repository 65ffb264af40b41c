"""CIFAR-10 (Krizhevsky 2009) in four disjoint files of arrays: two lossless, two that have been through JPEG."""

from __future__ import annotations

from pathlib import Path

from victims.image.arrays import Pictures, read_arrays
from wire.errors import InputError

SIDE = 32

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

FILES = {
    "jpeg-train": "cifar10_jpeg_train_30000.npz",
    "jpeg-test": "cifar10_jpeg_test_4000.npz",
    "lossless": "cifar10_lossless_4000.npz",
    "lossless-test": "cifar10_lossless_test100.npz",
}
"""The sets, by name: train on the first, tune on the second, attack the lossless ones."""


def find(folder: Path, name: str) -> Path | None:
    """The file of the set called ``name`` in ``folder`` or its subfolder ``cifar10``; None where there is none."""
    if name not in FILES:
        raise InputError(f"CIFAR-10 set {name!r} does not exist; accepted: {', '.join(FILES)}")
    places = (folder / FILES[name], folder / "cifar10" / FILES[name])
    return next((path for path in places if path.is_file()), None)


def read(folder: Path, name: str, limit: int | None = None) -> Pictures:
    """The set called ``name`` (a key of :data:`FILES`) in ``folder`` or its subfolder ``cifar10``; its first ``limit``.

    InputError where the file is missing or holds anything but 32x32 pictures with labels 0 to 9.
    """
    path = find(folder, name)
    if path is None:
        raise InputError(f"{folder}: holds no {FILES[name]}; accepted: a folder with the four CIFAR-10 array files")
    pictures = read_arrays(path, limit)
    if pictures.images.shape[1:] != (SIDE, SIDE, 3):
        raise InputError(f"{path}: pictures are {pictures.images.shape[1:]}; accepted: ({SIDE}, {SIDE}, 3)")
    if len(pictures) and not 0 <= pictures.labels.min() <= pictures.labels.max() < len(CLASSES):
        low, high = pictures.labels.min(), pictures.labels.max()
        raise InputError(f"{path}: labels from {low} to {high}; accepted: 0 to {len(CLASSES) - 1}")
    return pictures
