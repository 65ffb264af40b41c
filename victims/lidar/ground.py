"""The ground of a street: a height over road coordinates, and what each of the sensor's rays meets on it.

Road coordinates: station a along the axis and lateral n to its left, both in metres. The axis is an arc of constant
curvature, so the frame of the road at one station sees the road like the frame at any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from victims.lidar.sensor import BEAMS, MAX_RANGE_M, MOUNT_HEIGHT_M, Turn
from victims.lidar.shapes import Hit

_RANGES = np.geomspace(2.6, MAX_RANGE_M, 150)


class Tilt(NamedTuple):
    """Height of the sensor (m) and slope of its x and y axes; a height z at x, y appears at z - lift - x sx - y sy.

    A shear, equal to the car's small pitch and roll to first order, that keeps upright things upright.
    """

    lift: float
    sx: float
    sy: float

    def apply(self, z: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Heights (m) in the sensor's frame of points at x, y (m) in that frame."""
        return z - self.lift - x * self.sx - y * self.sy


@dataclass(frozen=True)
class Ground:
    """Road with crown and kerbs, pavements, and a bank on either side, over long waves.

    curvature 1/m (never 0); half_road and pavement widths in metres; kerb height in metres; waves: rows
    (amplitude m, length m, phase); banks: (right, left), each (slope, run m, bumps m) beyond the pavement;
    paved: whether the land beyond the pavement is paved (else grass); marked: painted lines on the road.
    """

    curvature: float
    half_road: float
    pavement: float
    kerb: float
    crossfall: float
    waves: tuple[tuple[float, float, float], ...]
    banks: tuple[tuple[float, float, float], tuple[float, float, float]]
    paved: bool
    marked: bool

    def height(self, a: np.ndarray, n: np.ndarray) -> np.ndarray:
        """Height in metres, in the dtype and broadcast shape of `a` and `n` (m)."""
        side = np.abs(n)
        z: np.ndarray = self.crossfall * n - 0.02 * np.minimum(side, self.half_road)
        for amplitude, length, phase in self.waves:
            z = z + amplitude * np.sin(a * (2 * np.pi / length) + phase)
        z = z + self.kerb * np.clip((side - self.half_road) / 0.1, 0, 1)
        beyond = side - self.half_road - self.pavement
        for sign, (slope, run, bumps) in zip((-1, 1), self.banks, strict=True):
            out = np.where(sign * n > 0, np.maximum(beyond, 0), 0)
            z = z + slope * np.minimum(out, run)
            if bumps:
                z = z + bumps * np.minimum(out, 2) * np.sin(0.9 * a + 0.3 * n) * np.cos(0.7 * n - 0.23 * a)
        return z

    def seen(self, station: float, lateral: float, yaw: float) -> Tilt:
        """Height of the sensor and the slopes of its axes where the car stands: it leans with the road under it."""
        a, n = station + np.array([0.0, 1.5, -1.5, 0.0, 0.0]), lateral + np.array([0.0, 0.0, 0.0, 0.8, -0.8])
        z = self.height(a, n)
        along, across = (z[1] - z[2]) / 3.0, (z[3] - z[4]) / 1.6
        c, s = np.cos(yaw), np.sin(yaw)
        return Tilt(float(z[0]) + MOUNT_HEIGHT_M, float(c * along + s * across), float(c * across - s * along))

    def place(self, a: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x, y (m) and heading (rad) of the road, in the frame of its axis at station 0."""
        turn = self.curvature * a
        x = np.sin(turn) / self.curvature - n * np.sin(turn)
        y = (1 - np.cos(turn)) / self.curvature + n * np.cos(turn)
        return x, y, turn

    def locate(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Station and lateral of x, y (m) in the frame of the axis at station 0; the inverse of `place`."""
        k = self.curvature
        square = x * x + y * y
        # 2 y - k r^2 over 1 + sqrt(..) is the distance to the arc without cancelling 1/k - |p - centre|.
        n = (2 * y - k * square) / (1 + np.sqrt(np.maximum(1 - 2 * k * y + k * k * square, 0)))
        return np.arctan2(k * x, 1 - k * y) / k, n

    def cast(self, turn: Turn, station: float, lateral: float, yaw: float) -> None:
        """Meet every ray of `turn` with the ground; the sensor stands at `station`, `lateral`, turned by `yaw`.

        Per column the ground is sampled at growing ranges. A beam first meets it where the running maximum of the
        slope of the line of sight passes the beam's own, which also hides what lies behind a crest.
        """
        columns = slice(turn.first, turn.stop)
        if turn.stop <= turn.first:
            return
        azimuth = turn.azimuth[columns, None] + yaw
        # Single precision: half a million samples a turn, good to a tenth of a millimetre here.
        ranges, azimuth = _RANGES.astype(np.float32), azimuth.astype(np.float32)
        a, n = self.locate(ranges * np.cos(azimuth), np.float32(lateral) + ranges * np.sin(azimuth))
        tilt = self.seen(station, lateral, yaw)
        cos, sin = turn.cos[:, columns].T, turn.sin[:, columns].T
        z = tilt.apply(self.height(a + np.float32(station), n), ranges * cos, ranges * sin)
        slope = np.maximum.accumulate(z / ranges, axis=1)
        # One sorted list for all columns: slopes stay within +-5, so 16 per column keeps them apart.
        apart = 16.0 * np.arange(slope.shape[0])[:, None]
        beams = turn.tan[:, 0].astype(np.float64)
        flat = np.searchsorted((slope + apart).ravel(), (beams[None] + apart).ravel()).reshape(-1, BEAMS)
        index = flat - np.arange(slope.shape[0])[:, None] * _RANGES.size
        met = index < _RANGES.size
        after = np.clip(index, 1, _RANGES.size - 1)
        row = np.arange(slope.shape[0])[:, None]
        r0, r1 = _RANGES[after - 1], _RANGES[after]
        below = beams * r0 - z[row, after - 1]
        above = z[row, after] - beams * r1
        part = np.clip(below / np.where(np.abs(below + above) < 1e-9, 1e-9, below + above), -1, 1)
        s = np.where(met, r0 + (r1 - r0) * part, np.inf).T.astype(np.float32)
        rays = turn.window(slice(0, BEAMS), columns, shift=1_000_003)
        with np.errstate(invalid="ignore"):
            na = n[row, after].T
            rough, reflectance = self._surface(a[row, after].T + station, na)
            shift = (rays.uniform - 0.5) * rough / np.maximum(np.abs(rays.tan), 0.1)
            facing = np.clip(0.25 + 2.5 * np.abs(rays.tan) / rays.norm, 0, 1)
            turn.keep_nearest(slice(0, BEAMS), columns, Hit(s + shift, facing, reflectance, 0.0))

    def _surface(self, a: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Roughness (m, full width) and reflectance where the ground is met."""
        side = np.abs(n)
        grass = (side > self.half_road + self.pavement) & (not self.paved)
        road = side < self.half_road
        rough = np.where(grass, 0.12, 0.02).astype(np.float32)
        reflectance = np.where(road, 0.31, np.where(grass, 0.46, 0.38)).astype(np.float32)
        if self.marked:
            dashed = (side < 0.08) & (np.mod(a, 9.0) < 4.0)
            edge = np.abs(side - self.half_road + 0.3) < 0.08
            reflectance = np.where(dashed | edge, np.float32(0.75), reflectance)
        return rough, reflectance
