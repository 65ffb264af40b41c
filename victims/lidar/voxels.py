"""Points to voxels: the mean feature encoder (OpenPCDet's ``MeanVFE``) and the sites it fills.

The number of voxels is never capped: a cap drops points without a word (at full range a KITTI scan fills
more than the customary 40,000), and a listener would be scored against points that were never sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from victims.lidar.presets import Preset
from wire.errors import InputError


@dataclass(frozen=True)
class Sites:
    """Active sites of a sparse grid, independent of any sparse-convolution library.

    features: (N, C) float32.  coords: (N, 4) int32, columns batch, z, y, x.
    shape: cells of the grid along z, y, x.  batch: number of scans (>= 1; a scan may have no site).
    """

    features: Tensor
    coords: Tensor
    shape: tuple[int, int, int]
    batch: int = 1

    def __post_init__(self) -> None:
        if self.coords.ndim != 2 or self.coords.shape[1] != 4 or self.coords.dtype != torch.int32:
            raise ValueError(f"coords must be (N, 4) int32, not {tuple(self.coords.shape)} {self.coords.dtype}")
        if self.features.ndim != 2 or len(self.features) != len(self.coords):
            raise ValueError(f"features {tuple(self.features.shape)} do not fit {len(self.coords)} sites")

    def __len__(self) -> int:
        return len(self.coords)

    def canonical(self) -> Sites:
        """The same sites in the order batch, z, y, x; itself when they already are."""
        z, y, x = self.shape
        b, cz, cy, cx = self.coords.long().unbind(1)
        key = ((b * z + cz) * y + cy) * x + cx
        if len(key) < 2 or bool((key[1:] > key[:-1]).all()):
            return self
        order = torch.argsort(key, stable=True)
        return Sites(self.features[order], self.coords[order], self.shape, self.batch)

    def to(self, device: torch.device | str) -> Sites:
        """The same sites on another device."""
        return Sites(self.features.to(device), self.coords.to(device), self.shape, self.batch)


def voxelize(points: ArrayLike | Tensor, preset: Preset) -> Sites:
    """Mean of the first ``preset.max_points_per_voxel`` points of every voxel, in input order.

    points: (P, 4) of x, y, z (metres) and intensity.  Returns float32 features (V, 4) and coords in canonical
    order; V = 0 when no point is in range.  InputError for another shape or for non-finite values.
    """
    cloud = np.asarray(points, dtype=np.float32)
    if cloud.ndim != 2 or cloud.shape[1] != 4:
        raise InputError(f"a scan is (P, 4) of x, y, z, intensity; got {cloud.shape}")
    broken = int((~np.isfinite(cloud)).any(axis=1).sum())
    if broken:
        raise InputError(f"{broken} of {len(cloud)} points have a value that is not finite; remove them first")

    low = np.asarray(preset.range_xyz[:3], dtype=np.float32)
    size = np.asarray(preset.voxel_size, dtype=np.float32)
    cells_zyx = np.asarray(preset.cells)
    # Compared as floats: far points would overflow an integer cast.
    index = np.floor((cloud[:, :3] - low) / size)
    inside = ((index >= 0) & (index < cells_zyx[::-1])).all(axis=1)
    cloud, index_zyx = cloud[inside], index[inside][:, ::-1].astype(np.int64)

    key = (index_zyx[:, 0] * cells_zyx[1] + index_zyx[:, 1]) * cells_zyx[2] + index_zyx[:, 2]
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if len(first) == 0:
        return Sites(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), preset.shape)
    counts = np.diff(first, append=len(key))
    rank = np.arange(len(key)) - np.repeat(first, counts)
    kept = order[rank < preset.max_points_per_voxel]
    counts = np.minimum(counts, preset.max_points_per_voxel)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = np.add.reduceat(cloud[kept], starts, axis=0) / counts[:, None].astype(np.float32)

    coords = np.zeros((len(first), 4), dtype=np.int32)
    coords[:, 1:] = index_zyx[order[first]]
    return Sites(torch.from_numpy(means), torch.from_numpy(coords), preset.shape)


def collate(scans: Sequence[Sites]) -> Sites:
    """Several scans of one grid as one batch, in order; each may itself be a batch."""
    if not scans:
        raise ValueError("no scans to put in a batch")
    shape = scans[0].shape
    coords, offset = [], 0
    for scan in scans:
        if scan.shape != shape:
            raise ValueError(f"scans of different grids in one batch: {shape} and {scan.shape}")
        shifted = scan.coords.clone()
        shifted[:, 0] += offset
        coords.append(shifted)
        offset += scan.batch
    return Sites(torch.cat([s.features for s in scans]), torch.cat(coords), shape, offset)
