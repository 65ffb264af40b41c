"""A small ray tracer: boxes, spheres and upright cylinders, two lights, soft shadows.

Shapes come in groups with a common bounding box, so that most rays miss a whole piece of furniture at once. Units are
metres, z is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from victims.radiance.textures import Texture

Array: TypeAlias = NDArray[np.float32]
Vector: TypeAlias = tuple[float, float, float]

FAR: Final = np.float32(1e6)
CLEAR: Final = np.float32(1e-3)
"""Shadow rays begin so far off the surface, metres."""


@dataclass(frozen=True)
class Shape:
    """kind: ``box``, ``ball`` or ``drum`` (an upright cylinder). half: half sizes; x is the radius of what is round.

    turn: about the upright, radians. glow: shines by itself, no shadow falls on it. gloss: share of light reflected
    as by a polished surface.
    """

    kind: Literal["box", "ball", "drum"]
    centre: Vector
    half: Vector
    texture: Texture
    turn: float = 0.0
    glow: bool = False
    gloss: float = 0.0

    def local(self, vectors: Array) -> Array:
        """World directions (N, 3) in the shape's own axes."""
        if not self.turn:
            return vectors
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        x, y = vectors[:, 0], vectors[:, 1]
        return np.stack([cos * x + sin * y, cos * y - sin * x, vectors[:, 2]], axis=1)

    def world(self, vectors: Array) -> Array:
        """The inverse of :meth:`local`."""
        cos, sin = np.float32(np.cos(self.turn)), np.float32(np.sin(self.turn))
        x, y = vectors[:, 0], vectors[:, 1]
        return np.stack([cos * x - sin * y, cos * y + sin * x, vectors[:, 2]], axis=1)

    def meet(self, origins: Array, directions: Array) -> Array:
        """Distance (N,) along each unit direction to the outside of the shape; FAR where it is missed."""
        start = self.local(origins - np.array(self.centre, np.float32))
        along = self.local(directions)
        if self.kind == "box":
            enter, leave = _slabs(start, along, np.array(self.half, np.float32))
            return np.where((enter <= leave) & (enter > 0), enter, FAR)
        if self.kind == "ball":
            return _round(start, along, self.half[0])
        side = _round(start[:, :2], along[:, :2], self.half[0])
        side = np.where(np.abs(start[:, 2] + side * along[:, 2]) <= self.half[2], side, FAR)
        height = -np.sign(along[:, 2]) * np.float32(self.half[2])  # the lid that faces the ray
        with np.errstate(divide="ignore", invalid="ignore"):
            lid = (height - start[:, 2]) / along[:, 2]
            inside = np.hypot(start[:, 0] + lid * along[:, 0], start[:, 1] + lid * along[:, 1]) <= self.half[0]
        return np.asarray(np.minimum(side, np.where(inside & (lid > 0), lid, FAR)), np.float32)

    def surface(self, points: Array) -> tuple[Array, Array]:
        """Colour (N, 3) and outward normal (N, 3) at points on the surface."""
        at = self.local(points - np.array(self.centre, np.float32))
        if self.kind == "ball":
            normal = at / np.float32(self.half[0])
            around = np.arctan2(at[:, 1], at[:, 0]) * np.float32(self.half[0])
            return self.texture(np.stack([around, at[:, 2]], axis=1)), self.world(normal)
        if self.kind == "drum":
            lid = np.abs(at[:, 2]) > self.half[2] - 1e-4
            radial = np.concatenate([at[:, :2] / np.float32(self.half[0]), np.zeros((len(at), 1), np.float32)], axis=1)
            upright = np.stack([np.zeros(len(at)), np.zeros(len(at)), np.sign(at[:, 2])], axis=1)
            around = np.stack([np.arctan2(at[:, 1], at[:, 0]) * np.float32(self.half[0]), at[:, 2]], axis=1)
            place = np.where(lid[:, None], at[:, :2], around).astype(np.float32)
            return self.texture(place), self.world(np.where(lid[:, None], upright, radial).astype(np.float32))
        axis = np.argmax(np.abs(at) / np.array(self.half, np.float32), axis=1)
        normal = np.zeros_like(at)
        rows = np.arange(len(at))
        normal[rows, axis] = np.sign(at[rows, axis])
        across = np.where(axis == 0, at[:, 1], at[:, 0])
        up = np.where(axis == 2, at[:, 1], at[:, 2])
        return self.texture(np.stack([across, up], axis=1)), self.world(normal)


@dataclass(frozen=True)
class Group:
    """Shapes that stand together."""

    shapes: Sequence[Shape]

    @cached_property
    def bounds(self) -> tuple[Array, Array]:
        """Middle and half sizes of a box around all of them."""
        corners = []
        for shape in self.shapes:
            x, y, z = shape.half if shape.kind == "box" else (shape.half[0], shape.half[0], shape.half[-1])
            z = shape.half[0] if shape.kind == "ball" else z
            cos, sin = abs(np.cos(shape.turn)), abs(np.sin(shape.turn))
            reach = np.array([cos * x + sin * y, sin * x + cos * y, z])
            corners += [np.array(shape.centre) - reach, np.array(shape.centre) + reach]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        return ((low + high) / 2).astype(np.float32), ((high - low) / 2).astype(np.float32)


@dataclass(frozen=True)
class Light:
    """A rectangle that shines: its middle, two half edges, and what it gives, RGB, at a distance of one metre."""

    middle: Vector
    edges: tuple[Vector, Vector]
    colour: Vector

    def point(self, which: int, of: int) -> Array:
        """The middle of one of ``of`` = n * n equal cells."""
        side = round(of**0.5)
        one, two = ((2 * (v + 0.5) / side - 1) for v in divmod(which, side))
        made = np.array(self.middle) + one * np.array(self.edges[0]) + two * np.array(self.edges[1])
        return np.asarray(made, np.float32)


@dataclass(frozen=True)
class World:
    """Groups inside a hollow ``shell``, whose walls are seen from within: -x, +x, -y, +y, floor, ceiling."""

    groups: Sequence[Group]
    shell: tuple[Vector, Vector]
    walls: Sequence[Texture]
    lights: Sequence[Light]
    ambient: float

    def trace(self, origins: Array, directions: Array, cell: int, cells: int) -> tuple[Array, Array]:
        """Linear RGB (N, 3) and distance (N,) of what rays meet. cell: which part of each light casts the shadows."""
        distance = self._wall(origins, directions)
        met = np.full(len(origins), -1)
        shapes: list[Shape] = []
        for group in self.groups:
            chosen = np.flatnonzero(_reached(group, origins, directions) < distance)
            for shape in group.shapes:
                found = shape.meet(origins[chosen], directions[chosen])
                nearer = found < distance[chosen]
                distance[chosen[nearer]] = found[nearer]
                met[chosen[nearer]] = len(shapes)
                shapes.append(shape)
        points = origins + distance[:, None] * directions
        colour, normal = np.empty_like(points), np.empty_like(points)
        glow, gloss = np.zeros(len(points), bool), np.zeros(len(points), np.float32)
        for number in np.unique(met):
            rows = np.flatnonzero(met == number)
            if number < 0:
                colour[rows], normal[rows] = self._shell_surface(points[rows])
                continue
            shape = shapes[number]
            colour[rows], normal[rows] = shape.surface(points[rows])
            glow[rows], gloss[rows] = shape.glow, shape.gloss
        light, shine = self._lit(points + CLEAR * normal, normal, directions, cell, cells)
        shaded = colour * light + gloss[:, None] * shine
        return np.where(glow[:, None], colour, shaded), distance

    def _lit(self, points: Array, normal: Array, directions: Array, cell: int, cells: int) -> tuple[Array, Array]:
        """Light that falls on points, and its mirror image towards the eye, both (N, 3)."""
        sky = 0.75 + 0.25 * normal[:, 2]  # a bright ceiling above a darker floor
        light = np.repeat((self.ambient * sky)[:, None], 3, axis=1).astype(np.float32)
        shine = np.zeros_like(points)
        mirrored = directions - 2 * (directions * normal).sum(1, keepdims=True) * normal
        for source in self.lights:
            towards = source.point(cell, cells) - points
            length = np.linalg.norm(towards, axis=1)
            towards /= length[:, None]
            facing = (towards * normal).sum(1).clip(0)
            rows = np.flatnonzero(facing > 0)
            seen = np.zeros(len(points), bool)
            seen[rows] = ~self._blocked(points[rows], towards[rows], length[rows])
            given = np.array(source.colour, np.float32) / (0.4 + length**2)[:, None] * seen[:, None]
            light += given * facing[:, None]
            shine += given * ((mirrored * towards).sum(1).clip(0) ** 40)[:, None] * 3
        return light, shine

    def _blocked(self, points: Array, towards: Array, length: Array) -> NDArray[np.bool_]:
        """Whether something stands between points and a light. What glows throws no shadow."""
        blocked = np.zeros(len(points), bool)
        for group in self.groups:
            chosen = np.flatnonzero((_reached(group, points, towards) < length) & ~blocked)
            if not len(chosen):
                continue
            for shape in group.shapes:
                if not shape.glow:
                    blocked[chosen] |= shape.meet(points[chosen], towards[chosen]) < length[chosen]
        return blocked

    def _wall(self, origins: Array, directions: Array) -> Array:
        low, high = (np.array(corner, np.float32) for corner in self.shell)
        with np.errstate(divide="ignore", invalid="ignore"):
            exits = np.maximum((low - origins) / directions, (high - origins) / directions)
        return np.asarray(np.where(np.isnan(exits), FAR, exits).min(1), np.float32)

    def _shell_surface(self, points: Array) -> tuple[Array, Array]:
        low, high = (np.array(corner, np.float32) for corner in self.shell)
        gaps = np.stack([points - low, high - points], axis=2).reshape(len(points), 6)  # -x +x -y +y -z +z
        side = np.argmin(np.abs(gaps), axis=1)
        colour, normal = np.empty_like(points), np.zeros_like(points)
        for wall, texture in enumerate(self.walls):
            rows = np.flatnonzero(side == wall)
            axis = wall // 2
            one, two = ((1, 2), (0, 2), (0, 1))[axis]
            colour[rows] = texture(points[rows][:, (one, two)])
            normal[rows, axis] = 1 if wall % 2 == 0 else -1
        return colour, normal


def _reached(group: Group, origins: Array, directions: Array) -> Array:
    """Distance at which rays enter a group's bounding box, 0 from inside; FAR where they miss it."""
    middle, half = group.bounds
    enter, leave = _slabs(origins - middle, directions, half)
    return np.where((enter <= leave) & (leave > 0), enter.clip(0), FAR)


def _slabs(start: Array, along: Array, half: Array) -> tuple[Array, Array]:
    """Distances at which rays enter and leave a box around the origin; enter > leave where they miss it."""
    inverse = 1 / np.where(np.abs(along) < 1e-12, np.float32(1e-12), along)
    middle, reach = -start * inverse, half * np.abs(inverse)
    early, late = middle - reach, middle + reach
    enter = np.maximum(np.maximum(early[:, 0], early[:, 1]), early[:, 2])  # faster than max(1) over three columns
    return enter, np.minimum(np.minimum(late[:, 0], late[:, 1]), late[:, 2])


def _round(start: Array, along: Array, radius: float) -> Array:
    """Distance to a circle or a sphere around the origin."""
    a = (along * along).sum(1)
    b = (start * along).sum(1)
    c = (start * start).sum(1) - np.float32(radius) ** 2
    inside = b * b - a * c
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = (-b - np.sqrt(inside.clip(0))) / a
    return np.where((inside > 0) & (distance > 0), distance, FAR)
