"""How LiDAR is pictured: scan and reconstruction coloured by height, so that both read alike; features by strength."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from victims.base import Sample
from victims.view import Picture, Points, Text
from wire.payload import Payload

HEIGHT_SPAN: Final = (-2.5, 1.5)
"""Metres above the sensor that the colours run over: the ground lies about 1.7 m below it, a lorry ends 2 m above."""

_Z_OFFSET: Final[Mapping[int, int]] = {8: 4, 16: 12}
"""Stride in z -> voxels between ``stride * index`` and the middle of a site's window. The third and fourth downsampling
have no padding in z, so their windows begin at their site (SECOND's backbone); the others are centred on it."""


def site_centres(payload: Payload) -> NDArray[np.float32]:
    """Middle of each site's window, float32 (N, 3) of x, y, z in metres, from the ``sparse_voxels`` payload alone."""
    stride, voxel, limits = (np.asarray(payload.meta[k], dtype=np.float64) for k in ("stride", "voxel", "range"))
    sites = payload.tensors["coords"][:, 1:].numpy().astype(np.float64)
    index = sites * stride + (_Z_OFFSET.get(int(stride[0]), 0), 0, 0)
    centres: NDArray[np.float32] = ((index + 0.5) * voxel)[:, ::-1].astype(np.float32) + limits[:3].astype(np.float32)
    return centres


class LidarView:
    """Clouds in the sensor's frame."""

    sees = "the car's LiDAR"

    def sample(self, sample: Sample) -> Picture:
        """The scan's points, coloured by height."""
        return _by_height(sample.arrays["points"])

    def payload(self, payload: Payload) -> Picture:
        """What crosses the wire: the active sites at the middle of their windows, coloured by the features' norm."""
        if payload.layout != "sparse_voxels":
            return Text(f"{payload.role} of {payload.nbytes:,} bytes in layout {payload.layout}")
        strength = np.linalg.norm(payload.tensors["features"].numpy().astype(np.float32), axis=1)
        return Points(site_centres(payload), strength.astype(np.float32), "feature norm")

    def reconstruction(self, arrays: Mapping[str, np.ndarray]) -> Picture:
        """The rebuilt points, coloured by height; points that are not finite cannot be drawn."""
        points = arrays["points"]
        return _by_height(points[np.isfinite(points[:, :3]).all(axis=1)])


def _by_height(points: NDArray[np.float32]) -> Points:
    xyz = np.ascontiguousarray(points[:, :3], dtype=np.float32)
    return Points(xyz, xyz[:, 2].copy(), "height above the sensor (m)", HEIGHT_SPAN)


VIEW = LidarView()
