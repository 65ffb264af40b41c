"""The world of a street: a seed fixes its style, its ground, what stands in each block and what moves.

The road has no end: blocks of BLOCK_M metres are made when they come into sight, each from a stream of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from victims.lidar import furniture, plants, traffic
from victims.lidar.ground import Ground
from victims.lidar.styles import STYLES, WEIGHTS, Style
from victims.lidar.traffic import Maker, Thing

BLOCK_M = 20.0
LOOP_M = 220.0
"""Movers come round on a loop of this length about the sensor, so a street never empties."""
ADVANCE_M = 1.0
"""Metres the car with the sensor drives between frames."""


@dataclass(frozen=True)
class Placed:
    """A thing at station a (m), lateral n (m), turned by yaw (rad) against the road."""

    thing: Thing
    a: float
    n: float
    yaw: float


@dataclass(frozen=True)
class Mover:
    """A thing that keeps its lane: station a + speed * frame (m per frame), on a loop of LOOP_M about the sensor."""

    thing: Thing
    a: float
    n: float
    yaw: float
    speed: float


@dataclass(frozen=True)
class Street:
    """What a seed fixes: style, ground, ego lane and what moves."""

    style: Style
    ground: Ground
    lane: float
    movers: tuple[Mover, ...]


@lru_cache(maxsize=64)
def street_of(seed: int) -> Street:
    rng = np.random.Generator(np.random.SFC64([seed, 1]))
    style = STYLES[list(STYLES)[int(rng.choice(len(STYLES), p=WEIGHTS))]]
    half_road, pavement = rng.uniform(*style.half_road), rng.uniform(*style.pavement)
    curvature = rng.choice([-1, 1]) * (1e-6 if rng.random() < 0.5 else rng.uniform(1 / 900, 1 / 180))
    waves = tuple(
        (float(rng.uniform(0.0, most) * length), float(length), float(rng.uniform(0, 6.3)))
        for most, length in ((0.0015, 35), (0.004, 90), (0.007, 260))
    )
    banks = tuple(
        (float(max(rng.normal(0, style.slope), -0.12)), float(rng.uniform(3, 25)), float(rng.uniform(0, 0.06)))
        for _ in range(2)
    )
    ground = Ground(
        float(curvature), float(half_road), float(pavement), float(rng.uniform(0.03, 0.16)),
        float(rng.normal(0, 0.008)), waves, (banks[0], banks[1]), style.paved, bool(rng.random() < 0.6),
    )  # fmt: skip
    driven = half_road - (2.1 if style.parked > 0.2 else 0.3)
    lane = -max(driven / 2, 0.3)
    return Street(style, ground, float(lane), tuple(_movers(rng, style, half_road, driven, pavement)))


def _movers(rng: np.random.Generator, style: Style, half_road: float, driven: float, pavement: float) -> list[Mover]:
    movers: list[Mover] = []
    # One speed per lane, so that cars of a lane never meet; the ego's own lane goes at its speed.
    lanes = [(-driven / 2, 0.0, ADVANCE_M), (driven / 2, np.pi, -rng.uniform(0.6, 1.5))]
    if driven < 2.5:
        lanes = lanes[:1]
    for slot in rng.permutation(np.arange(12, LOOP_M - 12, 11.0))[: style.cars]:
        n, yaw, speed = lanes[int(rng.integers(len(lanes)))]
        make: Maker = traffic.van if rng.random() < 0.15 else traffic.car
        movers.append(Mover(make(rng), float(slot), n + rng.normal(0, 0.15), yaw + rng.normal(0, 0.02), float(speed)))
    for _ in range(int(rng.poisson(style.cyclists))):
        way = rng.choice([-1, 1])
        n = -way * (driven - rng.uniform(0.3, 0.8))
        movers.append(
            Mover(
                traffic.cyclist(rng), rng.uniform(0, LOOP_M), n, 0.0 if way > 0 else np.pi, way * rng.uniform(0.3, 0.6)
            )
        )
    for _ in range(int(rng.poisson(style.walkers))):
        way, side = rng.choice([-1, 1], 2)
        n = side * (half_road + rng.uniform(0.4, max(0.6, pavement)))
        yaw = (0.0 if way > 0 else np.pi) + rng.normal(0, 0.15)
        movers.append(Mover(traffic.pedestrian(rng), rng.uniform(0, LOOP_M), n, yaw, way * rng.uniform(0.0, 0.16)))
    return movers


@lru_cache(maxsize=128)
def block_of(seed: int, index: int) -> tuple[Placed, ...]:
    """Everything that stands still within one block of BLOCK_M metres."""
    street = street_of(seed)
    style, ground = street.style, street.ground
    rng = np.random.Generator(np.random.SFC64([seed, 2, index + 1_000_000]))
    start, middle = index * BLOCK_M, (index + 0.5) * BLOCK_M
    edge = ground.half_road + ground.pavement
    placed: list[Placed] = []
    gap = rng.random() < style.gap
    for side in (-1, 1):
        outward = 0.0 if side > 0 else np.pi  # A thing's own +y points away from the road.
        if gap and rng.random() < 0.8:
            placed += _side_street(rng, side, start, edge)
        else:
            if rng.random() < style.parked * 1.3:
                for a in np.arange(start + 3.0, start + BLOCK_M - 2.5, 6.3):
                    if rng.random() < style.parked:
                        make: Maker = traffic.van if rng.random() < 0.1 else traffic.car
                        yaw = (np.pi if rng.random() < 0.2 else 0.0) + outward + np.pi + rng.normal(0, 0.03)
                        # In the strip at the kerb, or beside a road that has none.
                        n = side * (ground.half_road + (-1.0 if style.parked > 0.2 else 1.1) + rng.normal(0, 0.08))
                        placed.append(Placed(make(rng), float(a + rng.uniform(-0.6, 0.6)), float(n), float(yaw)))
            n = side * (edge + rng.uniform(*style.setback))
            placed += _lining(rng, style, side, start, n, outward)
        for _ in range(int(rng.poisson(style.clutter * 0.6))):
            make = furniture.SMALL[int(rng.integers(len(furniture.SMALL)))]
            n = side * (ground.half_road + rng.uniform(0.4, max(0.5, ground.pavement)))
            placed.append(Placed(make(rng), float(start + rng.uniform(0, BLOCK_M - 4)), float(n), outward))
    if rng.random() < 0.05:
        placed.append(Placed(furniture.wire(rng, BLOCK_M), middle, float(rng.choice([-1, 1]) * edge), 0.0))
    return tuple(placed)


def _lining(rng: np.random.Generator, style: Style, side: int, start: float, n: float, outward: float) -> list[Placed]:
    """What closes the view on one side of a block."""
    names = list(style.lining)
    weights = np.array([style.lining[name] for name in names], float)
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    middle = start + BLOCK_M / 2
    at = [Placed(thing, middle, n, outward) for thing in _along(rng, name)]

    def scatter(makers: list[Maker], count: int, near: float, far: float) -> None:
        for _ in range(count):
            make = makers[int(rng.integers(len(makers)))]
            a, depth = start + rng.uniform(0, BLOCK_M), rng.uniform(near, far)
            at.append(Placed(make(rng), float(a), float(n + side * depth), float(rng.uniform(-3, 3))))

    if name == "terrace":
        cut = rng.uniform(0.3, 0.7) * BLOCK_M
        for low, length in ((0.0, cut), (cut, BLOCK_M - cut)):
            house = furniture.building(rng, float(length))
            at.append(Placed(house, float(start + low + length / 2), float(n + side * rng.uniform(0, 0.6)), outward))
    elif name == "house":
        length = rng.uniform(8, 16)
        at.append(
            Placed(
                furniture.building(rng, float(length)),
                middle,
                float(n + side * rng.uniform(0, 4)),
                outward + rng.normal(0, 0.05),
            )
        )
        scatter([plants.bush, plants.tree, plants.conifer], 2, 0.5, 3)
    elif name in ("garden", "hedge", "fence", "wall"):
        scatter([plants.tree, plants.bush, plants.conifer], int(rng.integers(1, 5)), 1, 9)
        if rng.random() < 0.6:
            at.append(
                Placed(
                    furniture.building(rng, float(rng.uniform(7, 15))),
                    middle,
                    float(n + side * rng.uniform(4, 14)),
                    outward,
                )
            )
    elif name == "woods":
        scatter([plants.thicket], 4, 0, 5)
        scatter([plants.tree, plants.thicket], 3, 5, 16)
    elif name == "lot":
        at += _parking_rows(rng, side, start, n)
    elif name == "field":
        scatter([plants.bush, plants.tree], int(rng.integers(0, 3)), 0, 30)
    # What closes the view behind it all.
    scatter([plants.thicket], int(rng.integers(2, 5)), 16, 45)
    return at


def _parking_rows(rng: np.random.Generator, side: int, start: float, n: float) -> list[Placed]:
    """Two rows of cars side by side, nose in or tail in."""
    bays = [
        (a, n + side * (4.0 + 7.0 * row)) for row in range(2) for a in np.arange(start + 1.5, start + BLOCK_M - 1, 2.8)
    ]
    return [
        Placed(traffic.car(rng), float(a), float(across), float(np.pi / 2 * rng.choice([-1, 1])))
        for a, across in bays
        if rng.random() < 0.6
    ]


def _along(rng: np.random.Generator, name: str) -> list[Thing]:
    if name == "hedge":
        return [plants.hedge(rng, BLOCK_M - 1.0)]
    if name == "overgrowth":
        return [plants.overgrowth(rng, BLOCK_M)]
    if name == "fence":
        return [furniture.fence(rng, BLOCK_M)]
    if name == "wall":
        return [furniture.wall(rng, BLOCK_M)]
    if name == "rail":
        return [furniture.guard_rail(rng, BLOCK_M)]
    if name == "noise":
        return [furniture.barrier(rng, BLOCK_M)]
    if name == "garden" and rng.random() < 0.5:
        return [(plants.hedge if rng.random() < 0.5 else furniture.fence)(rng, BLOCK_M * 0.7)]
    return []


def _side_street(rng: np.random.Generator, side: int, start: float, edge: float) -> list[Placed]:
    """An opening: flanks of the corner houses, what stands in the side street, and what closes it far away."""
    across = np.pi / 2
    placed: list[Placed] = []
    reach = rng.uniform(15, 60)
    for a, turn in ((start, across), (start + BLOCK_M, -across)):
        if rng.random() < 0.6:
            placed.append(Placed(furniture.building(rng, 16.0), a, float(side * (edge + 9.0)), float(turn)))
    for n in np.arange(edge + 3, edge + reach, 7.0):
        if rng.random() < 0.3:
            makers: list[Maker] = [traffic.car, plants.tree, traffic.car, traffic.van]
            make = makers[int(rng.integers(len(makers)))]
            placed.append(Placed(make(rng), float(start + BLOCK_M / 2 + rng.choice([-4, 4])), float(side * n), across))
    closing = furniture.building(rng, 22.0) if rng.random() < 0.6 else plants.thicket(rng)
    placed.append(Placed(closing, start + BLOCK_M / 2, float(side * (edge + reach)), 0.0 if side > 0 else np.pi))
    return placed
