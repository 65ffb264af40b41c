"""What grows in a street: trees, conifers, bushes, thickets, hedges; crowns are porous (see shapes.py)."""

from __future__ import annotations

import numpy as np

from victims.lidar.shapes import Box, Column, Ellipsoid, Paint, Tube
from victims.lidar.traffic import Part, Thing


def tree(rng: np.random.Generator, bare: float = 0.15) -> Thing:
    """Trunk, a few boughs, and a crown of porous blobs; with chance `bare` only boughs."""
    tall, girth = rng.uniform(3.5, 13.0), rng.uniform(0.08, 0.3)
    fork = tall * rng.uniform(0.22, 0.4)
    parts: list[Part] = [(Column(girth, girth, fork + 0.6, Paint(0.28, 0.03)), 0.0, 0.0, 0.0, 0.0)]
    naked = rng.random() < bare
    for _ in range(7 if naked else 2):
        turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.15, 0.3) * tall
        end = (reach * np.cos(turn), reach * np.sin(turn), fork + rng.uniform(0.15, 0.5) * tall)
        parts.append(
            (Tube((0, 0, fork * rng.uniform(0.8, 1.1)), end, girth * 0.35, Paint(0.28, 0.05)), 0.0, 0.0, 0.0, 0.0)
        )
    for _ in range(0 if naked else int(rng.integers(3, 9))):
        r = tall * rng.uniform(0.1, 0.24)
        turn, out = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.22) * tall
        leaf = Paint(float(rng.uniform(0.25, 0.55)), 0.04, float(rng.uniform(0.25, 1.3)))
        blob = Ellipsoid(r, r * rng.uniform(0.8, 1.2), r * rng.uniform(0.7, 1.1), leaf)
        parts.append((blob, out * np.cos(turn), out * np.sin(turn), fork + rng.uniform(0.15, 0.55) * tall, 0.0))
    return Thing(tuple(parts))


def conifer(rng: np.random.Generator) -> Thing:
    """Narrowing tiers of needles down to the ground."""
    tall, wide = rng.uniform(3.0, 10.0), rng.uniform(0.8, 2.0)
    needles = Paint(float(rng.uniform(0.2, 0.45)), 0.04, float(rng.uniform(0.8, 2.5)))
    tiers = 4
    return Thing(
        tuple(
            (Ellipsoid(r, r, tall / tiers, needles), 0.0, 0.0, tall * (i + 0.7) / tiers, 0.0)
            for i in range(tiers)
            for r in (wide * (1 - 0.8 * i / tiers),)
        )
    )


def bush(rng: np.random.Generator) -> Thing:
    """One to four dense blobs near the ground."""
    parts: list[Part] = []
    for _ in range(int(rng.integers(2, 7))):
        r = rng.uniform(0.25, 1.1)
        leaf = Paint(float(rng.uniform(0.25, 0.55)), 0.03, float(rng.uniform(1.0, 4.0)))
        x, y = rng.normal(0, 0.8, 2)
        parts.append((Ellipsoid(r, r * rng.uniform(0.7, 1.3), r * rng.uniform(0.6, 1.1), leaf), x, y, 0.55 * r, 0.0))
    return Thing(tuple(parts))


def thicket(rng: np.random.Generator) -> Thing:
    """The edge of a wood: a few trees and much undergrowth along some eight metres."""
    parts: list[Part] = []
    makers = [tree, tree, bush, bush] if rng.random() < 0.7 else [conifer, tree, bush]
    for make in makers:
        dx, dy = rng.uniform(-4, 4), rng.uniform(-1.5, 1.5)
        parts += [(s, x + dx, y + dy, z, yaw) for s, x, y, z, yaw in make(rng).parts]
    return Thing(tuple(parts))


def overgrowth(rng: np.random.Generator, length: float) -> Thing:
    """A strip that nobody cuts: leafage of every size in an unbroken row, with some trees in it."""
    parts: list[Part] = []
    tall, sparse = rng.uniform(0.8, 3.0), rng.uniform(0.3, 1.5)
    for x in np.arange(-length / 2, length / 2, 1.6):
        r = tall * rng.uniform(0.5, 1.2)
        leaf = Paint(float(rng.uniform(0.2, 0.5)), 0.03, float(sparse * rng.uniform(0.6, 1.8)))
        blob = Ellipsoid(rng.uniform(0.9, 1.8), rng.uniform(0.6, 2.0), r, leaf)
        parts.append((blob, x + rng.normal(0, 0.4), rng.normal(0.8, 0.7), r * rng.uniform(0.5, 1.0), 0.0))
    for _ in range(int(rng.integers(0, 4))):
        dx, dy = rng.uniform(-0.5, 0.5) * length, rng.uniform(0, 2.5)
        parts += [(s, x + dx, y + dy, z, yaw) for s, x, y, z, yaw in tree(rng).parts]
    return Thing(tuple(parts))


def hedge(rng: np.random.Generator, length: float) -> Thing:
    """Clipped hedge of uneven segments."""
    tall, deep = rng.uniform(0.7, 2.2), rng.uniform(0.5, 1.1)
    leaf = Paint(float(rng.uniform(0.25, 0.5)), 0.02, float(rng.uniform(2.5, 9.0)))
    count = max(1, int(length / 2.5))
    step = length / count
    parts: list[Part] = []
    for i in range(count):
        box = Box(step, deep * rng.uniform(0.85, 1.15), tall * rng.uniform(0.9, 1.1), leaf)
        parts.append((box, (i + 0.5) * step - length / 2, 0.0, 0.0, 0.0))
    return Thing(tuple(parts))
