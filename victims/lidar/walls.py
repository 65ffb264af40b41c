"""Open surfaces a ray can meet: wheels, walls with windows, fences, curved walls. Conventions as in shapes.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from victims.lidar.shapes import PLAIN, Array, Extent, Hit, Paint, Pose, Rays, local, quadratic


@dataclass(frozen=True, slots=True)
class Ring:
    """Bicycle wheel: an upright ring in the plane y = 0 about the origin of its frame, a tenth of its inside spokes."""

    radius: float
    paint: Paint = PLAIN
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        r = self.radius + 0.03
        object.__setattr__(self, "extent", (-r, r, -0.03, 0.03, -r, r))

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """Where the ray crosses the plane, within the tyre or by chance on a spoke."""
        ox, oy, oz, dx, dy = local(rays, pose)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.float32(-oy) / dy
            rho = np.hypot(np.float32(ox) + s * dx, np.float32(oz) + s * rays.tan)
        met = (np.abs(rho - self.radius) < 0.03) | ((rho < self.radius) & (rays.uniform < 0.1))
        facing = np.abs(dy) / rays.norm
        return Hit(np.where(met & (s > 0), s, np.inf), facing, self.paint.reflectance, self.paint.drop)


@dataclass(frozen=True, slots=True)
class Facade:
    """Upright wall in the plane y = 0 along x, with rows of windows set back by `recess` metres.

    A window repeats every `bay` metres and every `floor` metres, `pane` wide and high, from `sill` up. Glass gives
    few returns. bay = 0: a plain wall.
    """

    length: float
    height: float
    paint: Paint = PLAIN
    bay: float = 0.0
    floor: float = 3.0
    pane: tuple[float, float] = (1.2, 1.5)
    sill: float = 0.9
    recess: float = 0.2
    glass_drop: float = 0.6
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extent", (-self.length / 2, self.length / 2, -0.01, 0.01, 0.0, self.height))

    def _window(self, x: Array, z: Array, dx: Array, dz: Array) -> tuple[Array, Array]:
        """Whether x, z lies in an opening, and how far on (in s) a ray leaves that opening sideways or up or down."""
        gap = (self.bay - self.pane[0]) / 2
        across = np.mod(x + np.float32(self.length / 2), np.float32(self.bay)) - np.float32(gap)
        up = np.mod(z - np.float32(self.sill), np.float32(self.floor))
        wide, high = np.float32(self.pane[0]), np.float32(self.pane[1])
        opening = (across > 0) & (across < wide) & (up < high) & (z > self.sill) & (z < self.height - 0.3)
        aside = np.where(dx > 0, wide - across, across) / np.abs(dx)
        upward = np.where(dz > 0, high - up, up) / np.abs(dz)
        return opening, np.minimum(aside, upward)

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """The wall's plane; through an opening the pane behind it, or the reveal where the ray leaves it first."""
        ox, oy, oz, dx, dy = local(rays, pose)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.float32(-oy) / dy
            x, z = np.float32(ox) + s * dx, np.float32(oz) + s * rays.tan
            met = (s > 0) & (np.abs(x) <= self.length / 2) & (z >= 0) & (z <= self.height)
            facing = np.abs(dy) / rays.norm
            if not self.bay:
                return Hit(np.where(met, s, np.inf), facing, self.paint.reflectance, self.paint.drop)
            opening, leaves = self._window(x, z, dx, rays.tan)
            behind = np.float32(self.recess) / np.abs(dy)
            glass = opening & (behind < leaves)
            s = np.where(opening, s + np.minimum(behind, leaves), s)
        drop = np.where(glass, np.float32(self.glass_drop), np.float32(self.paint.drop))
        reflectance = np.where(glass, np.float32(0.08), np.float32(self.paint.reflectance))
        return Hit(np.where(met, s, np.inf), facing, reflectance, drop)


@dataclass(frozen=True, slots=True)
class Screen:
    """Upright fence in the plane y = 0 along x: bars every `pitch` metres, `bar` wide, rails at top and bottom, and
    `fill` as the chance to meet something (mesh, ivy) between them."""

    length: float
    height: float
    pitch: float
    bar: float
    fill: float
    paint: Paint = PLAIN
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "extent", (-self.length / 2, self.length / 2, -0.01, 0.01, 0.0, self.height))

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """Where the ray crosses the plane, on a bar, a rail or by chance."""
        ox, oy, oz, dx, dy = local(rays, pose)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.float32(-oy) / dy
            x, z = np.float32(ox) + s * dx, np.float32(oz) + s * rays.tan
            met = (s > 0) & (np.abs(x) <= self.length / 2) & (z >= 0) & (z <= self.height)
            solid = (np.mod(x, np.float32(self.pitch)) < self.bar) | (z > self.height - 0.08) | (np.abs(z - 0.2) < 0.04)
        met &= solid | (rays.uniform < self.fill)
        facing = np.abs(dy) / rays.norm
        return Hit(np.where(met, s, np.inf), facing, self.paint.reflectance, self.paint.drop)


@dataclass(frozen=True, slots=True)
class Shell:
    """Curved upright wall: the part of a circle of `radius` about the origin with |angle| <= `half_angle` (rad)."""

    radius: float
    half_angle: float
    height: float
    paint: Paint = PLAIN
    extent: Extent = field(init=False)

    def __post_init__(self) -> None:
        r = self.radius
        object.__setattr__(self, "extent", (-r, r, -r, r, 0.0, self.height))

    def cast(self, rays: Rays, pose: Pose) -> Hit:
        """The nearer of the two crossings of the circle that lies on the wall."""
        ox, oy, oz, dx, dy = local(rays, pose)
        one = dx**2 + dy**2
        first, second, chord = quadratic(one, np.float32(ox) * dx + np.float32(oy) * dy, ox**2 + oy**2 - self.radius**2)
        nearest = np.full(rays.uniform.shape, np.inf, np.float32)
        with np.errstate(invalid="ignore"):
            for s in (second, first):
                angle = np.abs(np.arctan2(np.float32(oy) + s * dy, np.float32(ox) + s * dx))
                z = np.float32(oz) + s * rays.tan
                on = (s > 0) & np.isfinite(s) & (angle <= self.half_angle) & (z >= 0) & (z <= self.height)
                nearest = np.where(on, s, nearest)
        facing = np.minimum(chord / self.radius, 1) / rays.norm
        return Hit(nearest, facing, self.paint.reflectance, self.paint.drop)
