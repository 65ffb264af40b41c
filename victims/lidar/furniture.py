"""What is built in a street: houses, walls, fences, poles, signs, bicycle racks, wires."""

from __future__ import annotations

import numpy as np

from victims.lidar.plants import bush, tree
from victims.lidar.shapes import Box, Column, Ellipsoid, Paint, Tube
from victims.lidar.traffic import Maker, Part, Thing, bicycle
from victims.lidar.walls import Facade, Screen, Shell


def bicycle_rack(rng: np.random.Generator) -> Thing:
    """A row of hoops with some bicycles parked across it."""
    parts: list[Part] = []
    for i in range(int(rng.integers(2, 6))):
        x = 0.7 * i
        parts += [(Tube((x, y, 0.0), (x, y, 0.8), 0.025, Paint(0.5)), 0.0, 0.0, 0.0, 0.0) for y in (-0.35, 0.35)]
        parts.append((Tube((x, -0.35, 0.8), (x, 0.35, 0.8), 0.025, Paint(0.5)), 0.0, 0.0, 0.0, 0.0))
        if rng.random() < 0.7:
            # The bicycle's own frame is turned by 90 degrees: its offset lies across the row.
            parts += [(s, x + 0.12 - py, px, pz, np.pi / 2) for s, px, py, pz, _ in bicycle(rng)]
    return Thing(tuple(parts))


def fence(rng: np.random.Generator, length: float) -> Thing:
    """Railings, palings or mesh, sometimes on a low wall."""
    base = rng.uniform(0.2, 0.6) if rng.random() < 0.4 else 0.0
    pitch = rng.choice([0.12, 0.16, 2.5])
    bar = pitch * rng.uniform(0.15, 0.75) if pitch < 1 else 0.08
    fill = rng.uniform(0.1, 0.4) if pitch > 1 else 0.02
    screen = Screen(length, rng.uniform(0.8, 1.8), float(pitch), float(bar), float(fill), Paint(0.35, 0.05))
    parts: list[Part] = [(screen, 0.0, 0.0, base, 0.0)]
    if base:
        parts.append((Box(length, 0.2, base, Paint(0.4)), 0.0, 0.0, 0.0, 0.0))
    return Thing(tuple(parts))


def wall(rng: np.random.Generator, length: float) -> Thing:
    """Garden or retaining wall."""
    return Thing(
        ((Box(length, 0.3, float(rng.uniform(0.5, 2.6)), Paint(float(rng.uniform(0.25, 0.55)))), 0.0, 0.0, 0.0, 0.0),)
    )


def curved_wall(rng: np.random.Generator) -> Thing:
    """Bay, rotunda, silo or planter: a round wall."""
    radius = rng.uniform(0.4, 1.8)
    shell = Shell(float(radius), float(rng.uniform(1.0, np.pi)), float(rng.uniform(0.4, 2.5)), Paint(0.4))
    return Thing(((shell, 0.0, 0.0, 0.0, float(rng.uniform(-np.pi, np.pi))),))


def building(rng: np.random.Generator, length: float) -> Thing:
    """House with its front in the plane y = 0 and its body at y > 0: windows, doors, steps, balconies, drainpipe."""
    height, deep = rng.uniform(3.0, 16.0), rng.uniform(6.0, 14.0)
    paint = Paint(float(rng.uniform(0.22, 0.6)), 0.01)
    bay, floor = rng.uniform(1.9, 4.2), rng.uniform(2.7, 3.4)
    pane = (bay * rng.uniform(0.3, 0.65), rng.uniform(1.1, 1.9))
    sill, recess, glass = rng.uniform(0.5, 1.4), rng.uniform(0.08, 0.35), rng.uniform(0.3, 0.8)
    front = Facade(length, height, paint, bay, floor, pane, sill, recess, glass)
    flank = Facade(deep, height, paint, 4.5, floor, (0.9, 1.2), sill, 0.12, glass)
    parts: list[Part] = [(front, 0.0, 0.0, 0.0, 0.0)]
    parts += [(flank, x, deep / 2, 0.0, np.pi / 2) for x in (-length / 2, length / 2)]
    parts.append((Facade(length, height, paint), 0.0, deep, 0.0, 0.0))
    for _ in range(int(rng.integers(1, 4))):
        x = rng.uniform(-0.45, 0.45) * length
        parts.append((Box(rng.uniform(1.0, 2.2), 0.25, rng.uniform(0.12, 0.5), Paint(0.35)), x, -0.15, 0.0, 0.0))
        parts.append((Box(1.1, 0.06, 2.1, Paint(0.25, 0.1)), x, -0.02, 0.1, 0.0))
    if rng.random() < 0.5:
        parts.append((Column(0.06, 0.06, height, Paint(0.3)), rng.uniform(-0.5, 0.5) * length, -0.08, 0.0, 0.0))
    if rng.random() < 0.4:
        for i in range(int(rng.integers(1, 4))):
            x = rng.uniform(-0.4, 0.4) * length
            parts.append((Box(2.4, 1.1, 1.1, Paint(0.4, 0.05)), x, -0.55, floor * (1 + i % 2), 0.0))
    if rng.random() < 0.3:
        parts.append(
            (Ellipsoid(0.4, 0.4, 0.45, Paint(0.4, 0.02, 5.0)), rng.uniform(-0.4, 0.4) * length, -0.6, 0.5, 0.0)
        )
    return Thing(tuple(parts))


def lamp(rng: np.random.Generator) -> Thing:
    """Street lamp with an arm."""
    tall = rng.uniform(4.0, 9.0)
    arm = Tube((0, 0, tall), (0, rng.uniform(0.8, 2.0), tall + 0.2), 0.04, Paint(0.4))
    return Thing(((Column(0.07, 0.07, tall, Paint(0.4)), 0.0, 0.0, 0.0, 0.0), (arm, 0.0, 0.0, 0.0, 0.0)))


def sign(rng: np.random.Generator) -> Thing:
    """Traffic sign: thin pole and a bright retro-reflecting plate."""
    size, tall = rng.uniform(0.4, 0.9), rng.uniform(1.6, 2.6)
    plate = Box(0.03, size, size * rng.uniform(0.6, 1.3), Paint(0.95))
    return Thing(
        ((Column(0.035, 0.035, tall + 0.3, Paint(0.5)), 0.0, 0.0, 0.0, 0.0), (plate, -0.05, 0.0, tall - 0.3, 0.0))
    )


def bollards(rng: np.random.Generator) -> Thing:
    """A row of posts, sometimes with a chain or wire between them."""
    count, gap, tall = int(rng.integers(2, 7)), rng.uniform(1.0, 2.0), rng.uniform(0.6, 1.1)
    parts: list[Part] = [(Column(0.07, 0.07, tall, Paint(0.4)), i * gap, 0.0, 0.0, 0.0) for i in range(count)]
    if rng.random() < 0.5:
        parts.append(
            (Tube((0, 0, tall - 0.1), ((count - 1) * gap, 0, tall - 0.1), 0.015, Paint(0.4)), 0.0, 0.0, 0.0, 0.0)
        )
    return Thing(tuple(parts))


def box_on_pavement(rng: np.random.Generator) -> Thing:
    """Bins, cabinets, letter boxes, planters."""
    box = Box(rng.uniform(0.3, 1.3), rng.uniform(0.3, 0.8), rng.uniform(0.6, 1.5), Paint(float(rng.uniform(0.15, 0.6))))
    return Thing(((box, 0.0, 0.0, 0.0, 0.0),))


def guard_rail(rng: np.random.Generator, length: float) -> Thing:
    """Steel beam on posts."""
    parts: list[Part] = [(Box(length, 0.08, 0.31, Paint(0.55, 0.05)), 0.0, 0.0, 0.44, 0.0)]
    parts += [(Box(0.1, 0.1, 0.5, Paint(0.4)), x, 0.08, 0.0, 0.0) for x in np.arange(-length / 2, length / 2, 4.0)]
    return Thing(tuple(parts))


def barrier(rng: np.random.Generator, length: float) -> Thing:
    """Noise barrier of a highway."""
    return Thing(((Box(length, 0.25, float(rng.uniform(2.0, 4.5)), Paint(0.4)), 0.0, 0.0, 0.0, 0.0),))


def wire(rng: np.random.Generator, length: float) -> Thing:
    """Overhead line: two posts and a wire sagging in two halves."""
    tall = rng.uniform(3.0, 5.0)
    low, a = tall - rng.uniform(0.2, 0.8), length / 2
    parts: list[Part] = [(Column(0.12, 0.12, tall + 0.5, Paint(0.3)), x, 0.0, 0.0, 0.0) for x in (-a, a)]
    parts.append((Tube((-a, 0, tall), (0, 0, low), 0.012, Paint(0.3, 0.2)), 0.0, 0.0, 0.0, 0.0))
    parts.append((Tube((0, 0, low), (a, 0, tall), 0.012, Paint(0.3, 0.2)), 0.0, 0.0, 0.0, 0.0))
    return Thing(tuple(parts))


SMALL: tuple[Maker, ...] = (
    lamp, sign, sign, bollards, box_on_pavement, bicycle_rack, bush, bush, tree, tree, tree, curved_wall,
)  # fmt: skip
"""What stands about on pavements and verges."""
