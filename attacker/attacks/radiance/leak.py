"""Pictures of the scene that were leaked to the listener, with the poses that it takes them to have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from attacker.attacks.base import Grants
from victims.radiance.camera import fault
from wire.errors import InputError

ACCEPTED: Final = "images uint8 (N, H, W, 3), poses float32 (N, 3, 4), focal and centre (2,)"


@dataclass(frozen=True)
class Leak:
    """colours float32 (N, H * W, 3) in 0..1. poses float32 (N, 3, 4), in the unit in which rays cross. focal, centre:
    (x, y) in pixels; size: height and width."""

    colours: Tensor
    poses: Tensor
    focal: tuple[float, float]
    centre: tuple[float, float]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.colours)


def leaked(grants: Grants, attack: str) -> Leak:
    """Of ``grants.files["leak"]``, an ``.npz``. InputError where there is none, or it holds something else."""
    path = grants.files.get("leak")
    if path is None:
        raise InputError(f"attack {attack} needs a leaked picture; accepted: a file leak (.npz with {ACCEPTED})")
    try:
        with np.load(path, allow_pickle=False) as file:
            images, poses, focal, centre = (file[key] for key in ("images", "poses", "focal", "centre"))
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise InputError(f"attack {attack}: leak {path} is not readable ({error}); accepted: {ACCEPTED}") from error
    fits = images.dtype == np.uint8 and images.ndim == 4 and images.shape[3] == 3 and 0 not in images.shape
    fits = fits and poses.shape == (len(images), 3, 4) and focal.shape == centre.shape == (2,)
    if not fits:
        found = f"images {images.dtype} {images.shape}, poses {poses.shape}, focal {focal.shape}"
        raise InputError(f"attack {attack}: leak {path} holds {found}; accepted: {ACCEPTED}")
    for number, pose in enumerate(poses):
        wrong = fault(np.asarray(pose, np.float64))
        if wrong:
            raise InputError(f"attack {attack}: leak {path}: pose {number} is no rigid transform: {wrong}")
    count, height, width = images.shape[:3]
    return Leak(
        torch.from_numpy(images.reshape(count, height * width, 3).astype(np.float32) / 255),
        torch.from_numpy(np.ascontiguousarray(poses, np.float32)),
        (float(focal[0]), float(focal[1])),
        (float(centre[0]), float(centre[1])),
        (height, width),
    )
