"""What the inversion network learns from: wedges of the attacker's own scans, run through the known head.

A wedge keeps absolute coordinates (mean-voxel features are raw metres) and the grid's alignment (a window's parity
matters), so it is turned about the sensor and mirrored, never moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacker.attacks.lidar.sites import Ints
from victims.base import Sample
from victims.lidar import sparse
from victims.lidar.backbone import VoxelBackBone8x
from victims.lidar.presets import PRESETS, Preset
from victims.lidar.voxels import voxelize
from wire.errors import InputError

TAPS = ("conv2.0", "conv3.0", "conv4.0", "conv_out")
"""Split points at depths 1 to 4: right after each downsampling layer."""


@dataclass(frozen=True)
class Level:
    """True sites of one level: coords int64 (N, 3) of z, y, x in canonical order, features float32 (N, C)."""

    coords: Ints
    features: Tensor


@dataclass(frozen=True)
class Item:
    """One training item. levels: 0 (voxels) to 4. points: (P, 3) float32, the originals in range."""

    levels: tuple[Level, ...]
    points: NDArray[np.float32]
    preset: Preset


def encode(points: NDArray[np.float32], preset: Preset, backbone: VoxelBackBone8x) -> Item:
    """Voxels and all taps of one scan (P, 4), as the known head computes them."""
    voxels = voxelize(points, preset)
    with torch.no_grad(), sparse.one_thread():
        taps = backbone.taps(voxels)
    levels = tuple(
        Level(s.coords[:, 1:].numpy().astype(np.int64), s.features) for s in (voxels, *(taps[name] for name in TAPS))
    )
    low, high = np.asarray(preset.range_xyz[:3]), np.asarray(preset.range_xyz[3:])
    inside = ((points[:, :3] >= low) & (points[:, :3] < high)).all(axis=1)
    return Item(levels, points[inside, :3], preset)


class Wedges:
    """Scans of the attacker's, and random wedges of them.

    samples: ``points`` float32 (P, 4), any azimuths. held: how many of the last are kept for choosing thresholds.
    InputError when there are too few.
    """

    def __init__(self, samples: Iterable[Sample], limit: int, held: int) -> None:
        scans = [np.asarray(s.arrays["points"], np.float32) for s in islice(samples, limit)]
        if len(scans) <= held:
            raise InputError(f"{len(scans)} scans to train the inversion on; at least {held + 1} are needed")
        self.train: Sequence[NDArray[np.float32]] = scans[:-held]
        self.held: Sequence[NDArray[np.float32]] = scans[-held:]

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], Preset]:
        """A wedge and the preset to voxelise it with.

        Three in four are 16 degrees wide and reach as far as the ``kitti`` range, most of them turned into the
        camera's view; the rest are wider and end at the ``street`` range.
        """
        scan = self.train[int(rng.integers(len(self.train)))]
        near = rng.random() < 0.25
        preset = PRESETS["street" if near else "kitti"]
        width = np.radians(36.0 if near else 16.0)
        azimuth = np.arctan2(scan[:, 1], scan[:, 0])
        # Around a point's own direction, so that scans of the camera's view only serve as well.
        centre = azimuth[int(rng.integers(len(scan)))]
        apart = np.mod(azimuth - centre + np.pi, 2 * np.pi) - np.pi
        wedge = scan[np.abs(apart) < width / 2].copy()
        reach = np.radians(30.0 if rng.random() < 0.65 else 78.0)
        turn = rng.uniform(-reach, reach) - centre
        c, s = np.cos(turn), np.sin(turn)
        wedge[:, :2] = wedge[:, :2] @ np.array([[c, s], [-s, c]], np.float32)
        if rng.random() < 0.5:
            wedge[:, 1] *= -1
        return wedge, preset
