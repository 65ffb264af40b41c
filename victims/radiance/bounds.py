"""The box around a scene, where its file does not give one."""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as shortened
from typing import Final

import numpy as np
import torch

from victims.radiance.camera import FARTHEST, Camera, rays
from victims.radiance.sampling import Box
from victims.radiance.scene import PosedPicture
from wire.errors import InputError
from wire.payload import Meta

REACH: Final = 2.0
"""Without depth, what a camera sees is taken to lie within this many spreads of the cameras."""

MARGIN: Final = 0.1
"""Added on every side, as a share of the box."""


def box_of(values: Sequence[float], origin: str) -> Box:
    """Six numbers as a box. InputError names them."""
    if len(values) != 6 or not (np.abs(values) <= FARTHEST).all():
        raise InputError(
            f"{origin}: box {list(values)!r}; accepted: six numbers, the lower corner and the upper one, "
            f"at most {FARTHEST:g}"
        )
    x0, y0, z0, x1, y1, z1 = (float(v) for v in values)
    return x0, y0, z0, x1, y1, z1


def chosen(value: Meta | None) -> Box | None:
    """The setting ``box``: six numbers, or none."""
    if value is None:
        return None
    if not isinstance(value, tuple) or not all(type(v) in (int, float) and abs(v) <= FARTHEST for v in value):
        raise InputError(
            f"setting box is {shortened(value)}; accepted: six numbers, the lower corner and the upper one"
        )
    return box_of([float(v) for v in value], "setting box")


def around_cameras(cameras: Sequence[Camera]) -> Box:
    """From the cameras alone: where they stand, and how far they look.

    Cameras around an object look at a common point, and the box reaches as far beyond it as they stand before it;
    cameras that look in all directions are given :data:`REACH` times their spread.
    """
    places = np.stack([camera.pose[:, 3] for camera in cameras])
    looks = np.stack([-camera.pose[:, 2] for camera in cameras])
    # The point nearest to every line of sight: the sum of the projections across the lines is solved for it.
    across = np.eye(3) - looks[:, :, None] * looks[:, None]
    focus = np.linalg.lstsq(across.sum(0), (across @ places[:, :, None]).sum(0)[:, 0], rcond=None)[0]
    distance = np.einsum("ij,ij->i", focus - places, looks)
    spread = float(np.linalg.norm(places.std(0))) or 1.0
    reach = 2 * float(np.median(distance)) if (distance > 0).all() else REACH * spread
    ends = np.concatenate([places, places + looks * reach])
    return _grown(ends.min(0), ends.max(0))


def around_depths(pictures: Sequence[PosedPicture]) -> Box:
    """Around the cameras and 1 to 99 % of what the depth pictures show."""
    points = [picture.camera.pose[:, 3][None] for picture in pictures]
    for picture in pictures:
        if picture.depth is None:
            continue
        camera = picture.camera
        known = np.flatnonzero(picture.depth.reshape(-1) > 0)[::37]
        if not len(known):
            continue
        origin, directions = rays(
            torch.from_numpy(camera.pose.astype(np.float32)),
            camera.focal,
            camera.centre,
            camera.size[1],
            torch.from_numpy(known),
        )
        points.append((origin + torch.from_numpy(picture.depth.reshape(-1)[known])[:, None] * directions).numpy())
    seen = np.concatenate(points)
    low, high = np.percentile(seen, 1, axis=0), np.percentile(seen, 99, axis=0)
    places = np.concatenate(points[: len(pictures)])
    return _grown(np.minimum(low, places.min(0)), np.maximum(high, places.max(0)))


def _grown(low: np.ndarray, high: np.ndarray) -> Box:
    margin = MARGIN * np.maximum(high - low, 1e-3 * float((high - low).max() or 1.0))
    return box_of([*(low - margin), *(high + margin)], "the cameras")
