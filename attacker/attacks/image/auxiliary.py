"""Public pictures that a listener was granted: an ``.npz`` file of arrays, or a folder of pictures."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from attacker.attacks.base import Grants
from victims.image.arrays import read_arrays
from victims.image.pictures import find_pictures, fitted, read_picture
from victims.readable import readable
from wire.errors import InputError


def read_auxiliary(path: Path, size: tuple[int, int], limit: int) -> np.ndarray:
    """The first ``limit`` pictures of ``path``, uint8 (N, H, W, 3), cut to their central part and resized.

    size: height and width in pixels. A file that cannot be read is passed over; InputError where there is no other.
    """
    if path.suffix == ".npz":
        images = list(read_arrays(path, limit).images)
    elif path.exists():
        failed: list[InputError] = []
        images = list(islice(readable(map(read_picture, find_pictures(path)), failed.append), limit))
        if not images and failed:
            raise InputError(f"auxiliary {path}: none of its pictures can be read; the first: {failed[0]}")
    else:
        raise InputError(f"auxiliary {path}: no such file or folder of pictures")
    if not images:
        raise InputError(f"auxiliary {path}: holds no pictures")
    return np.stack([fitted(image, size) for image in images])


def granted_auxiliary(grants: Grants, attack: str) -> Path:
    """``grants.files["auxiliary"]``; InputError where it was not granted."""
    path = grants.files.get("auxiliary")
    if path is None:
        raise InputError(f"attack {attack} needs public pictures; accepted: a file auxiliary (.npz, or a folder)")
    return path


def auxiliary_pictures(grants: Grants, size: tuple[int, int], limit: int, attack: str) -> np.ndarray:
    """:func:`read_auxiliary` of :func:`granted_auxiliary`."""
    return read_auxiliary(granted_auxiliary(grants, attack), size, limit)
