"""Pictures in an ``.npz`` file of plain arrays, always read with ``allow_pickle=False``.

Lossless: ``images`` uint8 (N, H, W, 3). JPEG: ``jpeg`` uint8 (bytes of all files, joined) and ``offset`` (N+1,), of
pictures of one size. Both may hold ``labels`` (N,).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from victims.image.pictures import decode
from wire.errors import InputError


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
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files if key in ("images", "jpeg", "offset", "labels")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not readable as arrays ({error})") from error
    if "images" in arrays:
        images = arrays["images"][:limit]
    elif {"jpeg", "offset"} <= arrays.keys():
        images = _decoded(arrays["jpeg"], arrays["offset"], limit, path)
    else:
        raise InputError(f"{path}: holds {', '.join(arrays) or 'none of them'}; accepted: images, or jpeg and offset")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"{path}: pictures are {images.dtype} {images.shape}; accepted: uint8 (N, H, W, 3)")
    labels = arrays.get("labels", np.full(len(images), -1))[:limit].astype(np.int64)
    if labels.shape != (len(images),):
        raise InputError(f"{path}: {len(images)} pictures with labels {labels.shape}; accepted: one label each")
    return Pictures(images, labels)


def _decoded(joined: np.ndarray, offset: np.ndarray, limit: int | None, path: Path) -> np.ndarray:
    if offset.ndim != 1 or len(offset) < 2 or (np.diff(offset) < 0).any() or offset[0] < 0 or offset[-1] > len(joined):
        raise InputError(f"{path}: offsets are no ascending places in {len(joined):,} bytes")
    number = len(offset) - 1 if limit is None else min(limit, len(offset) - 1)
    images = [decode(joined[offset[i] : offset[i + 1]].tobytes(), f"{path}, picture {i}") for i in range(number)]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{path}: pictures of several sizes; accepted: one size")
    return np.stack(images)
