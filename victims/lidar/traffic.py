"""What moves or may move in a street: cars, vans, people on foot and on bicycles, each built of a few shapes.

Every function draws its dimensions from `rng` and answers a `Thing`: parts in a frame on the ground, x forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from victims.lidar.shapes import Box, Column, Convex, Ellipsoid, Paint, Shape, Tube
from victims.lidar.walls import Ring

Part = tuple[Shape, float, float, float, float]
"""A shape with x, y, z, yaw in the frame of its thing."""


@dataclass(frozen=True)
class Thing:
    """Parts, and for what a detector looks for its label and box (x, y, z of the centre, dx, dy, dz)."""

    parts: tuple[Part, ...]
    label: str | None = None
    box: tuple[float, float, float, float, float, float] | None = None


Maker = Callable[[np.random.Generator], Thing]


def labelled(parts: list[Part], label: str) -> Thing:
    """Thing whose box encloses all its parts (none of which is turned)."""
    extent = np.array([np.add(shape.extent, np.repeat((x, y, z), 2)) for shape, x, y, z, _ in parts])
    low, high = extent[:, 0::2].min(axis=0), extent[:, 1::2].max(axis=0)
    low[2] = max(low[2], 0.0)
    return Thing(tuple(parts), label, (*((low + high) / 2).tolist(), *(high - low).tolist()))


def plane(nx: float, ny: float, nz: float, x: float, y: float, z: float) -> tuple[float, float, float, float]:
    norm = float(np.sqrt(nx * nx + ny * ny + nz * nz))
    return nx / norm, ny / norm, nz / norm, (nx * x + ny * y + nz * z) / norm


def _wheels(length: float, width: float, radius: float) -> list[Part]:
    paint = Paint(0.12, 0.1)
    tread = [
        plane(np.cos(t), 0, np.sin(t), radius * np.cos(t), 0, radius * np.sin(t)) for t in np.arange(8) * np.pi / 4
    ]
    wheel = Convex(
        (*tread, plane(0, 1, 0, 0, 0.1, 0), plane(0, -1, 0, 0, -0.1, 0)),
        (-radius, radius, -0.1, 0.1, -radius, radius),
        paint,
    )
    return [
        (wheel, x, y, radius, 0.0)
        for x in (0.31 * length, -0.29 * length)
        for y in (width / 2 - 0.11, 0.11 - width / 2)
    ]


def car(rng: np.random.Generator) -> Thing:
    """Saloon, estate, hatchback or off-roader: hull, glazed cabin with sloped screens, four wheels."""
    kind = rng.integers(4)
    length = (4.5, 4.6, 3.8, 4.5)[kind] + rng.normal(0, 0.15)
    width = (1.78, 1.78, 1.66, 1.86)[kind] + rng.normal(0, 0.04)
    height = (1.44, 1.48, 1.47, 1.72)[kind] + rng.normal(0, 0.03)
    belt = height * rng.uniform(0.58, 0.64)
    a, b = length / 2, width / 2
    paint = Paint(float(rng.choice([0.06, 0.15, 0.3, 0.5, 0.7])), float(rng.uniform(0.02, 0.12)))
    nose, hood = belt * rng.uniform(0.7, 0.82), rng.uniform(0.2, 0.28) * length
    hull = Convex(
        (
            plane(1, 0, 0.12, a, 0, 0.4), plane(-1, 0, 0.1, -a, 0, 0.4), plane(0, 1, 0.06, 0, b, 0.5),
            plane(0, -1, 0.06, 0, -b, 0.5), plane(0, 0, 1, 0, 0, belt), plane(0, 0, -1, 0, 0, 0.22),
            plane(belt - nose, 0, hood, a - 0.05, 0, nose), plane(1, 0, -0.8, a - 0.1, 0, 0.25),
            plane(1, 0.6, 0, a, 0.55 * b, 0), plane(1, -0.6, 0, a, -0.55 * b, 0),
        ),
        (-a, a, -b, b, 0.22, belt),
        paint,
    )  # fmt: skip
    front, back = a - hood, -a + (0.55, 0.12, 0.12, 0.15)[kind]
    rake = (height - belt) / (0.75, 0.75, 0.6, 0.5)[kind]
    tail = (height - belt) / (0.65, 0.4, 0.35, 0.15)[kind]
    cabin = Convex(
        (
            plane(rake, 0, 1, front, 0, belt), plane(-tail, 0, 1, back, 0, belt), plane(0, 1, 0.32, 0, b - 0.03, belt),
            plane(0, -1, 0.32, 0, 0.03 - b, belt), plane(0, 0, 1, 0, 0, height), plane(0, 0, -1, 0, 0, belt - 0.05),
        ),
        (back, front, -b, b, belt - 0.05, height),
        Paint(0.12, float(rng.uniform(0.35, 0.75))),
    )  # fmt: skip
    roof = Box(max(0.5, front - back - (height - belt) * (1 / rake + 1 / tail) - 0.1), 1.5 * b, 0.03, paint)
    middle = (front - (height - belt) / rake + back + (height - belt) / tail) / 2
    parts: list[Part] = [
        (hull, 0.0, 0.0, 0.0, 0.0),
        (cabin, 0.0, 0.0, 0.0, 0.0),
        (roof, middle, 0.0, height - 0.02, 0.0),
    ]
    return labelled(parts + _wheels(length, width, float(rng.uniform(0.29, 0.36))), "Car")


def van(rng: np.random.Generator) -> Thing:
    """Delivery van or small lorry; not one of the three classes, so without label."""
    length, width, height = rng.uniform(4.8, 7.5), rng.uniform(1.9, 2.3), rng.uniform(2.0, 3.1)
    a, b = length / 2, width / 2
    body = Convex(
        (
            plane(1, 0, 0.1, a, 0, 0.5), plane(1, 0, 0.9, a, 0, 1.1), plane(-1, 0, 0.02, -a, 0, 0.5),
            plane(0, 1, 0.05, 0, b, 0.8), plane(0, -1, 0.05, 0, -b, 0.8), plane(0, 0, 1, 0, 0, height),
            plane(0, 0, -1, 0, 0, 0.3),
        ),
        (-a, a, -b, b, 0.3, height),
        Paint(float(rng.choice([0.2, 0.5, 0.7])), 0.06),
    )  # fmt: skip
    return Thing(((body, 0.0, 0.0, 0.0, 0.0), *_wheels(length, width, 0.36)))


def pedestrian(rng: np.random.Generator) -> Thing:
    """Walking person: two legs in stride, torso, arms, head; now and then a bag."""
    tall = rng.normal(1.72, 0.1)
    hip, neck = 0.5 * tall, 0.84 * tall
    stride, cloth = rng.uniform(0.05, 0.33), Paint(float(rng.uniform(0.1, 0.6)), 0.03)
    parts: list[Part] = []
    for side, step in ((0.1, stride), (-0.1, -stride)):
        parts.append((Tube((step, side, 0.03), (0.0, side, hip), 0.075, cloth), 0.0, 0.0, 0.0, 0.0))
        swing = (-step * 0.9, side * 2.6, hip + 0.05)
        parts.append((Tube(swing, (0.0, side * 2.1, neck - 0.08), 0.045, cloth), 0.0, 0.0, 0.0, 0.0))
    parts.append(
        (Column(0.13, 0.2, neck - hip + 0.06, Paint(float(rng.uniform(0.1, 0.6)), 0.02)), 0.0, 0.0, hip - 0.06, 0.0)
    )
    parts.append((Ellipsoid(0.1, 0.085, 0.13, Paint(0.35)), 0.02, 0.0, tall - 0.13, 0.0))
    if rng.random() < 0.3:
        parts.append((Box(0.18, 0.3, 0.4, Paint(0.2)), -0.2, 0.0, neck - 0.5, 0.0))
    return labelled(parts, "Pedestrian")


def bicycle(rng: np.random.Generator) -> list[Part]:
    """A bicycle without its rider: two wheels and five tubes."""
    paint = Paint(float(rng.uniform(0.2, 0.6)), 0.15)
    tubes = [((-0.52, 0, 0.34), (-0.15, 0, 0.8)), ((-0.1, 0, 0.32), (0.38, 0, 0.75)), ((-0.15, 0, 0.8), (0.38, 0, 0.8)),
             ((0.52, 0, 0.34), (0.36, 0, 1.0)), ((0.36, -0.27, 1.02), (0.36, 0.27, 1.02))]  # fmt: skip
    parts: list[Part] = [(Ring(0.33, Paint(0.15, 0.2)), x, 0.0, 0.36, 0.0) for x in (-0.52, 0.52)]
    return parts + [(Tube(p, q, 0.018, paint), 0.0, 0.0, 0.0, 0.0) for p, q in tubes]


def cyclist(rng: np.random.Generator) -> Thing:
    """Bicycle with its rider: bent torso, legs on the pedals, arms on the bar, head."""
    parts = bicycle(rng)
    lean, cloth = rng.uniform(0.1, 0.4), Paint(float(rng.uniform(0.15, 0.6)), 0.03)
    pedal = rng.uniform(-0.15, 0.15)
    for side, lift in ((0.11, pedal), (-0.11, -pedal)):
        parts.append((Tube((-0.12, side, 0.92), (0.2, side, 0.68 + lift), 0.075, cloth), 0.0, 0.0, 0.0, 0.0))
        parts.append((Tube((0.2, side, 0.68 + lift), (-0.02, side, 0.32 + lift), 0.055, cloth), 0.0, 0.0, 0.0, 0.0))
        parts.append((Tube((lean - 0.1, side * 1.9, 1.36), (0.36, side * 2, 1.05), 0.045, cloth), 0.0, 0.0, 0.0, 0.0))
    parts.append((Tube((-0.15, 0, 0.9), (lean - 0.12, 0, 1.45), 0.17, cloth), 0.0, 0.0, 0.0, 0.0))
    parts.append((Ellipsoid(0.11, 0.09, 0.14, Paint(0.35)), lean, 0.0, 1.6, 0.0))
    return labelled(parts, "Cyclist")
