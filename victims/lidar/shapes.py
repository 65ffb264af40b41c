"""Solids a ray can meet, each in a frame of its own: boxes, convex bodies, columns, ellipsoids, tubes, foliage.

Every shape has an `extent` (x0, x1, y0, y1, z0, z1 in its frame, metres), a reflectance in 0..1 and `drop`, the chance
that a ray meeting it does not come back. `cast` takes a window of rays (see sensor.py: s is the horizontal range, the
point on a ray is (s cos a, s sin a, s tan e)) and answers the nearest hit, s = inf where there is none.
Solids with a `density` (hits per metre of path) are porous: a ray travels an exponential free path inside them, so some
stop at a leaf and others pass through.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

Array = np.ndarray
Extent = tuple[float, float, float, float, float, float]
DIVERGENCE_RAD = 0.0008
"""Half the spread of a laser spot: thin things are met a little beside the ray's axis."""


class Rays(NamedTuple):
    """A window of the ray grid: cos, sin (1, C); tan, norm (R, 1), norm = sqrt(1 + tan^2); uniform (R, C) in 0..1."""

    cos: Array
    sin: Array
    tan: Array
    norm: Array
    uniform: Array


class Pose(NamedTuple):
    """Where a shape stands in the sensor's frame: metres, and radians about z."""

    x: float
    y: float
    z: float
    yaw: float


class Hit(NamedTuple):
    """Per ray (arrays that broadcast to (R, C)): horizontal range, |cosine| of incidence, reflectance, loss."""

    s: Array
    facing: Array | float
    reflectance: Array | float
    drop: Array | float


class Shape(Protocol):
    """What the sensor needs of a shape."""

    @property
    def extent(self) -> Extent:
        """Box about the shape in its own frame (m)."""

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """The nearest hit of each ray of the window."""


@dataclass(frozen=True, slots=True)
class Paint:
    """Surface of a shape: reflectance 0..1, chance of a lost return, hits per metre if porous (None: solid)."""

    reflectance: float = 0.3
    drop: float = 0.0
    density: float | None = None


PLAIN = Paint()
"""Matt grey."""


def local(rays: Rays, pose: Pose) -> tuple[float, float, float, Array, Array]:
    """Origin (x, y, z) and horizontal direction (1, C) of the rays in the frame of the shape."""
    c, s = float(np.cos(pose.yaw)), float(np.sin(pose.yaw))
    ox, oy = -(c * pose.x + s * pose.y), s * pose.x - c * pose.y
    dx = np.float32(c) * rays.cos + np.float32(s) * rays.sin
    dy = np.float32(c) * rays.sin - np.float32(s) * rays.cos
    return ox, oy, -pose.z, dx, dy


def _slab(low: float, high: float, o: float, d: Array) -> tuple[Array, Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / d
        a, b = np.float32(low - o) * inverse, np.float32(high - o) * inverse
    return np.minimum(a, b), np.maximum(a, b)


def _solid(enter: Array, leave: Array, facing: Array, rays: Rays, paint: Paint) -> Hit:
    """Hit of a convex solid met between `enter` and `leave`; inside a porous one, after an exponential free path."""
    if paint.density is None:
        return Hit(np.where((enter < leave) & (enter > 0), enter, np.inf), facing, paint.reflectance, paint.drop)
    start = np.maximum(enter, 0)
    path = -np.log(np.maximum(rays.uniform, 1e-7)) / (np.float32(paint.density) * rays.norm)
    s = start + path
    # Leaves face every way: the second half of the same number serves as their incidence.
    return Hit(np.where(s < leave, s, np.inf), 0.4 + 0.6 * ((rays.uniform * 97) % 1), paint.reflectance, paint.drop)


@dataclass(frozen=True, slots=True)
class Box:
    """Upright box, base centre at the origin of its frame: length along x, width along y, height along z."""

    length: float
    width: float
    height: float
    paint: Paint = PLAIN
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        a, b = self.length / 2, self.width / 2
        object.__setattr__(self, "extent", (-a, a, -b, b, 0.0, self.height))

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """Slab test; the horizontal part is one row."""
        ox, oy, oz, dx, dy = local(rays, pose)
        nx, fx = _slab(self.extent[0], self.extent[1], ox, dx)
        ny, fy = _slab(self.extent[2], self.extent[3], oy, dy)
        nz, fz = _slab(0.0, self.height, oz, rays.tan)
        side = np.maximum(nx, ny)
        enter, leave = np.maximum(side, nz), np.minimum(np.minimum(fx, fy), fz)
        upright = np.where(nx > ny, np.abs(dx), np.abs(dy))
        facing = np.where(nz > side, np.abs(rays.tan), upright) / rays.norm
        return _solid(enter, leave, facing, rays, self.paint)


@dataclass(frozen=True, slots=True)
class Convex:
    """Convex body bounded by planes: rows (nx, ny, nz, c) with unit normals, inside where n . p <= c."""

    planes: tuple[tuple[float, float, float, float], ...]
    extent: Extent
    paint: Paint = PLAIN

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """The last plane entered before the first one left."""
        ox, oy, oz, dx, dy = local(rays, pose)
        shape = rays.uniform.shape
        enter, leave = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
        facing = np.zeros(shape, np.float32)
        for nx, ny, nz, c in self.planes:
            room = np.float32(c - nx * ox - ny * oy - nz * oz)
            rate = np.float32(nx) * dx + np.float32(ny) * dy
            rate = rate + np.float32(nz) * rays.tan if nz else rate
            with np.errstate(divide="ignore", invalid="ignore"):
                s = room / rate
            later = (rate < 0) & (s > enter)
            enter = np.where(later, s, enter)
            facing = np.where(later, -rate, facing)
            leave = np.where(rate > 0, np.minimum(leave, s), leave)
        return _solid(enter, leave, facing / rays.norm, rays, self.paint)


@dataclass(frozen=True, slots=True)
class Column:
    """Upright elliptic cylinder (trunk, pole, bollard, torso): half axes rx, ry, base at the origin of its frame."""

    rx: float
    ry: float
    height: float
    paint: Paint = PLAIN
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        a, b = self.rx + 0.05, self.ry + 0.05
        object.__setattr__(self, "extent", (-a, a, -b, b, 0.0, self.height))

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """Circle test from above after scaling the half axes to one; the spot's spread widens both."""
        ox, oy, oz, dx, dy = local(rays, pose)
        spread = min(DIVERGENCE_RAD * float(np.hypot(ox, oy)), 0.05)
        rx, ry = self.rx + spread, self.ry + spread
        px, py, qx, qy = ox / rx, oy / ry, dx / np.float32(rx), dy / np.float32(ry)
        enter, leave, chord = quadratic(qx**2 + qy**2, px * qx + py * qy, px**2 + py**2 - 1.0)
        nz, fz = _slab(0.0, self.height, oz, rays.tan)
        facing = np.where(nz > enter, np.abs(rays.tan), chord) / rays.norm
        return _solid(np.maximum(enter, nz), np.minimum(leave, fz), facing, rays, self.paint)


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Ellipsoid about the origin of its frame, half axes rx, ry, rz: heads, bushes, blobs of a crown."""

    rx: float
    ry: float
    rz: float
    paint: Paint = PLAIN
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extent", (-self.rx, self.rx, -self.ry, self.ry, -self.rz, self.rz))

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """Sphere test after scaling the half axes to one."""
        ox, oy, oz, dx, dy = local(rays, pose)
        px, py, pz = ox / self.rx, oy / self.ry, oz / self.rz
        qx, qy, qz = dx / np.float32(self.rx), dy / np.float32(self.ry), rays.tan / np.float32(self.rz)
        enter, leave, chord = quadratic(
            (qx**2 + qy**2) + qz**2, (px * qx + py * qy) + pz * qz, px**2 + py**2 + pz**2 - 1.0
        )
        return _solid(enter, leave, chord, rays, self.paint)


def quadratic(a: Array, b: Array, c: float) -> tuple[Array, Array, Array]:
    """Both roots of a s^2 + 2 b s + c = 0 (inf, -inf without one), and sqrt(discriminant) / sqrt(a): cosine of
    incidence on a unit circle or sphere."""
    discriminant = b * b - a * np.float32(c)
    met = discriminant > 0
    root = np.sqrt(np.where(met, discriminant, 0))
    return np.where(met, (-b - root) / a, np.inf), np.where(met, (root - b) / a, -np.inf), root / np.sqrt(a)


@dataclass(frozen=True, slots=True)
class Tube:
    """Thin round bar between two points of its frame (limb, branch, wire, bicycle frame), open ends."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    paint: Paint = PLAIN
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        r = self.radius + 0.05
        ends = [(min(a, b) - r, max(a, b) + r) for a, b in zip(self.start, self.end, strict=True)]
        object.__setattr__(self, "extent", (*ends[0], *ends[1], *ends[2]))

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """Distance to a tilted axis is quadratic in s; the foot on the axis must lie between the ends."""
        ox, oy, oz, dx, dy = local(rays, pose)
        axis = np.subtract(self.end, self.start)
        length = float(np.linalg.norm(axis))
        ux, uy, uz = (axis / length).tolist()
        px, py, pz = ox - self.start[0], oy - self.start[1], oz - self.start[2]
        radius = self.radius + min(DIVERGENCE_RAD * float(np.sqrt(px * px + py * py + pz * pz)), 0.05)
        along_o = px * ux + py * uy + pz * uz
        along_d = (np.float32(ux) * dx + np.float32(uy) * dy) + np.float32(uz) * rays.tan
        a = rays.norm**2 - along_d**2
        b = (np.float32(px) * dx + np.float32(py) * dy) + np.float32(pz) * rays.tan - np.float32(along_o) * along_d
        c = px * px + py * py + pz * pz - along_o**2 - radius**2
        s, _, chord = quadratic(np.maximum(a, 1e-9), b, c)
        with np.errstate(invalid="ignore"):
            foot = along_o + s * along_d
        inside = (foot >= 0) & (foot <= length) & (s > 0)
        facing = np.minimum(chord / radius, 1)
        return Hit(np.where(inside, s, np.inf), facing, self.paint.reflectance, self.paint.drop)
