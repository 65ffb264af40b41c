"""A captured frame as the LiDAR attacks read it: active sites of one level, and where that level lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from attacker.attacks.base import CapturedFrame
from attacker.attacks.lidar.network import Grid, grids
from attacker.attacks.lidar.sites import DOWNSAMPLINGS, Ints, Zyx, keys, shapes
from wire.errors import InputError
from wire.payload import Payload

STRIDES: tuple[Zyx, ...] = ((2, 2, 2), (4, 4, 4), (8, 8, 8), (16, 8, 8))
"""Voxels per site at depths 1 to 4, as the payload's meta says."""


@dataclass(frozen=True)
class Transmitted:
    """What one frame's ``sparse_voxels`` payload says.

    coords: int64 (N, 3), z, y, x, canonical order. features: float32 (N, C). depth: downsampling layers passed.
    levels: grids of levels 0 (voxels) to ``depth``. cells: voxels that points can fall into (z, y, x).
    """

    coords: Ints
    features: Tensor
    depth: int
    levels: Sequence[Grid]
    cells: Zyx

    def points(self, voxels: Ints) -> NDArray[np.float32]:
        """Centres of voxels (M, 3), those in range only, as float32 (M', 3) of x, y, z in metres."""
        inside = (voxels < np.asarray(self.cells)).all(axis=1)
        out: NDArray[np.float32] = self.levels[0].centres(voxels[inside])
        return out


def transmitted(frame: CapturedFrame) -> Transmitted:
    """Read the one ``sparse_voxels`` payload of features that went up in a frame. InputError says what is wrong."""
    found = [p for p in frame.payloads("up", "features") if p.layout == "sparse_voxels"]
    if len(found) != 1:
        raise InputError(f"frame {frame.frame}: {len(found)} sparse_voxels payloads of features; accepted: exactly one")
    return read(found[0])


def read(payload: Payload) -> Transmitted:
    """Read a ``sparse_voxels`` payload of one scan."""
    stride, grid = payload.meta["stride"], payload.meta["grid"]
    if stride not in STRIDES:
        raise InputError(f"payload with stride {stride!r}; accepted: {', '.join(map(str, STRIDES))} (z, y, x)")
    depth = STRIDES.index(stride) + 1
    bounds, size = _floats(payload, "range", 6), _floats(payload, "voxel", 3)
    low, high = bounds[:3][::-1], bounds[3:][::-1]
    cz, cy, cx = (round((b - a) / s) for a, b, s in zip(low, high, size, strict=True))
    levels = shapes((cz + 1, cy, cx), depth)
    if levels[depth] != grid:
        raise InputError(f"payload with grid {grid!r} at stride {stride}; range and voxel size give {levels[depth]}")
    batch = payload.tensors["coords"].numpy()
    if len(batch) and int(batch[:, 0].max()) > 0:
        raise InputError(f"payload with {int(batch[:, 0].max()) + 1} scans; accepted: one scan a frame")
    coords = batch[:, 1:].astype(np.int64)
    order = np.argsort(keys(coords, levels[depth]), kind="stable")
    return Transmitted(
        coords[order],
        payload.tensors["features"].detach().float()[order],
        depth,
        grids(levels, (low[0], low[1], low[2]), (size[0], size[1], size[2])),
        (cz, cy, cx),
    )


def _floats(payload: Payload, key: str, count: int) -> list[float]:
    value = payload.meta[key]
    if not isinstance(value, tuple) or len(value) != count:
        raise InputError(f"payload with {key} {value!r}; accepted: {count} numbers in metres")
    return [float(v) for v in value]


def level_name(level: int) -> str:
    """Name of a level in a reconstruction's meta: ``f0`` for voxels, ``f1`` to ``f4`` after each downsampling."""
    if not 0 <= level <= len(DOWNSAMPLINGS):
        raise ValueError(f"level {level}; accepted: 0 to {len(DOWNSAMPLINGS)}")
    return f"f{level}"
