"""Pictures in an ``.npz`` file of plain arrays, always read with ``allow_pickle=False``.

Lossless: ``images`` uint8 (N, H, W, 3). JPEG: ``jpeg`` uint8 (bytes of all files, joined) and ``offset`` (N+1,), of
pictures of one size. Both may hold ``labels`` (N,).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from victims.image.pictures import decode
from wire.errors import InputError

KEYS = ("images", "jpeg", "offset", "labels")


@dataclass(frozen=True)
class Pictures:
    """images: uint8 (N, H, W, 3), RGB. labels: int64 (N,), -1 where the file holds none."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def read_arrays(path: Path, limit: int | None = None) -> Pictures:
    """The first ``limit`` pictures of ``path``. InputError where it is missing or holds something else."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: np.asarray(stored[key]) for key in stored.files if key in KEYS}
    except Exception as error:  # of numpy, zipfile and zlib, which raise many kinds over damaged files
        raise InputError(f"{path}: not readable as arrays ({' '.join(str(error).split())})") from error
    if "images" in arrays:
        images = arrays["images"]
    elif {"jpeg", "offset"} <= arrays.keys():
        images = _decoded(arrays["jpeg"], arrays["offset"], limit, path)
    else:
        raise InputError(f"{path}: holds {', '.join(arrays) or 'none of them'}; accepted: images, or jpeg and offset")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:3]:
        raise InputError(f"{path}: pictures are {images.dtype} {images.shape}; accepted: uint8 (N, H, W, 3)")
    images = images[:limit]
    labels = arrays.get("labels", np.full(len(images), -1))
    if labels.ndim != 1 or len(labels[:limit]) != len(images):
        raise InputError(f"{path}: {len(images)} pictures with labels {labels.shape}; accepted: one label each")
    if labels.dtype.kind not in "iu":
        raise InputError(f"{path}: labels are {labels.dtype}; accepted: whole numbers")
    return Pictures(images, labels[:limit].astype(np.int64))


def _decoded(joined: np.ndarray, offset: np.ndarray, limit: int | None, path: Path) -> np.ndarray:
    if joined.dtype != np.uint8 or joined.ndim != 1:
        raise InputError(f"{path}: jpeg is {joined.dtype} {joined.shape}; accepted: uint8 (bytes,)")
    places = offset.astype(np.int64) if offset.dtype.kind in "iu" and offset.ndim == 1 else np.empty(0, np.int64)
    if len(places) < 2 or (np.diff(places) < 0).any() or places[0] < 0 or places[-1] > len(joined):
        raise InputError(f"{path}: offsets are no ascending places in {len(joined):,} bytes")
    number = len(places) - 1 if limit is None else min(limit, len(places) - 1)
    images = [decode(joined[places[i] : places[i + 1]].tobytes(), f"{path}, picture {i}") for i in range(number)]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{path}: pictures of several sizes; accepted: one size")
    return np.stack(images)
