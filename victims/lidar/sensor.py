"""The spinning 64-beam sensor: its rays, and the buffer that keeps the nearest hit of each ray.

Beam table after the Velodyne HDL-64E manual: an upper block of 32 beams from +2 degrees in steps of 1/3 degree and a
lower block of 32 beams from -8.83 degrees in steps of 1/2 degree. One turn at 10 Hz gives about 2000 columns
(0.18 degrees), which is also the median step in the KITTI scans.

A ray is written (s cos a, s sin a, s tan e) with s the *horizontal* range, azimuth a (one per column) and elevation e
(one per beam). Whatever depends on the column only (every upright shape seen from above) then costs one row of
arithmetic instead of 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from victims.lidar.shapes import Hit, Pose, Rays, Shape

BEAMS = 64
COLUMNS = 2000
MAX_RANGE_M = 120.0
MIN_RANGE_M = 1.5
MOUNT_HEIGHT_M = 1.73
RANGE_NOISE_M = 0.012
ELEVATIONS_DEG: np.ndarray = np.concatenate([2.0 - np.arange(32) / 3.0, -(8.0 + 5.0 / 6.0) - np.arange(32) / 2.0])
"""(64,) float64, top beam first."""

# The roof of the carrying car hides the lowest beams ahead, behind and past its corners; elevation of its edge by
# azimuth, both in degrees, read off the gaps that all KITTI scans share.
_ROOF_AZIMUTH_DEG = (-180, -150, -120, -105, -75, -45, -15, 15, 45, 75, 105, 135, 165, 180)
_ROOF_EDGE_DEG = (-17.5, -20.0, -24.5, -30.0, -22.5, -24.5, -22.0, -21.5, -25.0, -30.0, -30.0, -23.5, -19.5, -17.5)
# Each laser reports reflectance on a scale of its own; some read dim throughout.
_gain_rng = np.random.Generator(np.random.SFC64(64))
_GAIN = np.where(_gain_rng.random(BEAMS) < 0.2, 0.4, _gain_rng.uniform(0.75, 1.35, BEAMS)).astype(np.float32)[:, None]
_TAN = np.tan(np.radians(ELEVATIONS_DEG)) + 1e-9
_STEP_DEG = 360.0 / COLUMNS


def azimuths_deg(phase: float = 0.0) -> np.ndarray:
    """(2000,) float64 azimuths of the columns in degrees, rising from -180; `phase` in 0..1: part of a step to add."""
    return -180.0 + (np.arange(COLUMNS) + phase) * _STEP_DEG


@dataclass
class Returns:
    """What came back, one entry per point: (N,) arrays; `owner` is the index given with the shape, -1 for none."""

    beam: np.ndarray
    column: np.ndarray
    points: np.ndarray
    owner: np.ndarray


class Turn:
    """One turn of the sensor over a static scene, restricted to a sector of azimuths.

    Every random number is read from tables laid out on the whole ray grid, so a sector yields exactly the points that
    the full turn has there, whatever is cast or skipped.
    """

    def __init__(self, rng: np.random.Generator, azimuth_deg: tuple[float, float] = (-180.0, 180.0)) -> None:
        low, high = azimuth_deg
        if not (-180.0 <= low < high <= 180.0):
            raise ValueError(f"azimuth_deg={azimuth_deg!r}: accepted is -180 <= low < high <= 180 degrees")
        # 0.05..0.95 keeps every column clear of the wrap at +-180 degrees.
        azimuth = azimuths_deg(0.05 + 0.9 * rng.random())
        inside = np.flatnonzero((azimuth >= low) & (azimuth < high))
        self.first = int(inside[0]) if inside.size else 0
        self.stop = int(inside[-1]) + 1 if inside.size else 0
        self.azimuth = np.radians(azimuth)
        uniform = rng.random((BEAMS, COLUMNS), dtype=np.float32)
        # Twice side by side: a window shifted by any column offset stays one contiguous slice.
        self._uniform = np.concatenate([uniform, uniform], axis=1)
        self._noise = rng.standard_normal((BEAMS, COLUMNS), dtype=np.float32)
        self._keep = rng.random((BEAMS, COLUMNS), dtype=np.float32)
        self._speckle = rng.random((BEAMS, COLUMNS), dtype=np.float32)
        # Glass and dark paint lose returns in patches, not ray by ray: a smoothed field with some
        # grain, made uniform in 0..1 (the logistic stands in for the normal distribution function).
        smooth = uniform_filter(rng.standard_normal((BEAMS, COLUMNS), dtype=np.float32), (3, 9), mode="wrap")
        blend = 0.9 * np.sqrt(27.0) * smooth + 0.4 * self._noise
        self._patch = 1.0 / (1.0 + np.exp(-1.7 * blend))
        self.cos = np.cos(self.azimuth).astype(np.float32)[None] + np.float32(1e-9)
        self.sin = np.sin(self.azimuth).astype(np.float32)[None] + np.float32(1e-9)
        self.tan = _TAN.astype(np.float32)[:, None]
        self.norm = np.sqrt(1.0 + self.tan**2)
        self.depth = np.full((BEAMS, COLUMNS), np.inf, np.float32)
        self._facing = np.zeros((BEAMS, COLUMNS), np.float32)
        self._reflectance = np.zeros((BEAMS, COLUMNS), np.float32)
        self._drop = np.zeros((BEAMS, COLUMNS), np.float32)
        self._owner = np.full((BEAMS, COLUMNS), -1, np.int32)

    def window(self, rows: slice, columns: slice, shift: int = 0) -> Rays:
        """The rays of a window of the grid, with uniform numbers of their own for each `shift`."""
        start = (shift * 617) % COLUMNS
        return Rays(
            self.cos[:, columns],
            self.sin[:, columns],
            self.tan[rows],
            self.norm[rows],
            self._uniform[rows, start + columns.start : start + columns.stop],
        )

    def keep_nearest(self, rows: slice, columns: slice, hit: Hit, owner: int = -1) -> None:
        """Write `hit` (computed for that window) where it is nearer than what the buffer holds."""
        depth = self.depth[rows, columns]
        nearer = hit.s < depth
        if not nearer.any():
            return
        np.copyto(depth, hit.s, where=nearer)
        np.copyto(self._facing[rows, columns], hit.facing, where=nearer)
        np.copyto(self._reflectance[rows, columns], hit.reflectance, where=nearer)
        np.copyto(self._drop[rows, columns], hit.drop, where=nearer)
        np.copyto(self._owner[rows, columns], owner, where=nearer)

    def cast(self, shapes: Sequence[Shape], poses: np.ndarray, owners: np.ndarray) -> None:
        """Cast at all `shapes`, each at its row of `poses` ((P, 4) float64: x, y, z, yaw in the sensor's frame)."""
        if not len(shapes):
            return
        near, far, azimuth, half, z0, z1 = _silhouettes(shapes, poses)
        high = np.degrees(np.arctan2(z1, np.where(z1 > 0, near, far)))
        low = np.degrees(np.arctan2(z0, np.where(z0 < 0, near, far)))
        top = np.searchsorted(-ELEVATIONS_DEG, -high - 0.05)
        bottom = np.searchsorted(-ELEVATIONS_DEG, -low + 0.05)
        left = np.floor((np.degrees(azimuth - half) + 180.0) / _STEP_DEG).astype(int) - 1
        right = np.ceil((np.degrees(azimuth + half) + 180.0) / _STEP_DEG).astype(int) + 1
        visible = (near < MAX_RANGE_M) & (bottom > top)
        # Front to back: what lies behind a nearer surface is then skipped by one look at the buffer.
        for i in np.argsort(near, kind="stable"):
            if not visible[i]:
                continue
            rows = slice(int(top[i]), int(bottom[i]))
            for columns in self._clip(int(left[i]), int(right[i])):
                if self.depth[rows, columns].max() <= near[i]:
                    continue
                pose = Pose(*poses[i].tolist())
                hit = shapes[i].cast(self.window(rows, columns, int(i)), pose)
                self.keep_nearest(rows, columns, hit, int(owners[i]))

    def _clip(self, left: int, right: int) -> list[slice]:
        if right - left >= COLUMNS:
            spans = [(0, COLUMNS)]
        else:
            left, right = left % COLUMNS, left % COLUMNS + (right - left)
            spans = [(left, min(right, COLUMNS))] + ([(0, right - COLUMNS)] if right > COLUMNS else [])
        clipped = [(max(a, self.first), min(b, self.stop)) for a, b in spans]
        return [slice(a, b) for a, b in clipped if b > a]

    def returns(self) -> Returns:
        """The points that come back: range noise along the ray, losses by range, incidence and material."""
        columns = slice(self.first, self.stop)
        s = self.depth[:, columns]
        facing = self._facing[:, columns]
        distance = s * self.norm
        with np.errstate(invalid="ignore"):
            signal = self._reflectance[:, columns] * (0.25 + 0.75 * facing)
            loss = 0.005 + np.clip((distance - 20.0) / 70.0, 0, 1) ** 2 * (1.1 - 1.5 * signal)
            loss += 0.25 * np.clip(0.02 - facing, 0, None) / 0.02
            edge = np.interp(np.degrees(self.azimuth[columns]), _ROOF_AZIMUTH_DEG, _ROOF_EDGE_DEG)
            hidden = ELEVATIONS_DEG[:, None] < edge + 2.0 * (self._speckle[:, columns] - 0.5)
            kept = ~hidden & (self._patch[:, columns] >= self._drop[:, columns])
            kept &= (distance < MAX_RANGE_M) & (distance > MIN_RANGE_M) & (self._keep[:, columns] >= loss)
        beam, column = np.nonzero(kept)
        noise = self._noise[:, columns][kept] * RANGE_NOISE_M
        s_kept = (distance[kept] + noise) / self.norm[beam, 0]
        absolute = column + self.first
        speckle = self._speckle[:, columns][kept]
        reflectance = (signal * _GAIN)[kept] * (0.75 + 0.5 * speckle)
        # About a tenth of the returns from above the ground are reported with no reflectance at all.
        reflectance[(speckle < 0.12) & (beam < 40)] = 0.0
        points = np.stack(
            [
                s_kept * self.cos[0, absolute],
                s_kept * self.sin[0, absolute],
                s_kept * self.tan[beam, 0],
                np.round(np.clip(reflectance, 0, 0.99), 2),
            ],
            axis=1,
        ).astype(np.float32)
        return Returns(beam, absolute, points, self._owner[:, columns][kept])


def _silhouettes(shapes: Sequence[Shape], poses: np.ndarray) -> tuple[np.ndarray, ...]:
    """Horizontal near and far distance, middle and half width in azimuth (rad), lowest and highest z of each shape."""
    extent = np.array([shape.extent for shape in shapes])  # x0, x1, y0, y1, z0, z1 in the shape's frame
    x, y, z, yaw = poses.T
    c, s = np.cos(yaw), np.sin(yaw)
    ox, oy = -(c * x + s * y), s * x - c * y
    gap_x = np.maximum(np.maximum(extent[:, 0] - ox, ox - extent[:, 1]), 0)
    gap_y = np.maximum(np.maximum(extent[:, 2] - oy, oy - extent[:, 3]), 0)
    near = np.hypot(gap_x, gap_y)
    lx = extent[:, [0, 0, 1, 1]] - ox[:, None]
    ly = extent[:, [2, 3, 2, 3]] - oy[:, None]
    far = np.hypot(lx, ly).max(axis=1)
    corner = np.arctan2(ly, lx)
    middle = np.arctan2(ly.mean(axis=1), lx.mean(axis=1))
    apart = (corner - middle[:, None] + np.pi) % (2 * np.pi) - np.pi
    lowest, highest = apart.min(axis=1), apart.max(axis=1)
    inside = near <= 0
    half = np.where(inside, np.pi, (highest - lowest) / 2)
    return np.maximum(near, 1e-3), far, middle + yaw + (highest + lowest) / 2, half, z + extent[:, 4], z + extent[:, 5]
