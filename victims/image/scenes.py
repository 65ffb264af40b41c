"""Procedural pictures: a road or a shore under a sky, with hills, houses, trees, cars and boats; the embedded default.

Nobody's photographs, the same on every machine for a seed. The camera moves a little from frame to frame of a scene, so
that near things pass faster than far ones. They look like no data set: a network trained on photographs sees shapes,
and its class words mean little here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from wire.seeds import generator

FRAMES_PER_SCENE = 8
PAN = 0.025
"""Of the picture's width, what the nearest things move by from one frame to the next."""

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]

_SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((70, 130, 205), (190, 215, 235)),  # noon
    ((35, 55, 110), (235, 150, 95)),  # evening
    ((150, 160, 170), (205, 208, 210)),  # overcast
    ((20, 26, 60), (75, 80, 120)),  # dusk
    ((120, 170, 220), (240, 225, 190)),  # morning
)
_GROUNDS: tuple[Colour, ...] = ((92, 128, 62), (170, 150, 105), (120, 118, 112), (222, 226, 230), (66, 100, 70))
_WALLS: tuple[Colour, ...] = ((196, 168, 130), (170, 84, 66), (210, 206, 196), (120, 130, 142), (226, 200, 120))
_ROOFS: tuple[Colour, ...] = ((120, 52, 44), (70, 66, 70), (96, 74, 54))
_LEAVES: tuple[Colour, ...] = ((46, 92, 44), (84, 120, 40), (150, 96, 34), (30, 70, 58))
_PAINTS: tuple[Colour, ...] = (
    (180, 30, 34),
    (24, 60, 140),
    (230, 230, 226),
    (30, 32, 36),
    (226, 178, 30),
    (40, 110, 80),
)
_WATER: Colour = (52, 96, 120)
_SAND = 0.55
"""Where a shore begins, of the way from the horizon to the lower edge."""


@dataclass(frozen=True)
class _Thing:
    """kind, where its foot stands (0..1 from the left; depth 0 far .. 1 near), its size, colours, facing."""

    kind: str
    left: float
    depth: float
    size: float
    colour: Colour
    second: Colour
    flip: bool


@dataclass(frozen=True)
class Scene:
    """One place; everything in it is drawn from its seed. Coordinates are in units of the picture's side."""

    seed: int
    horizon: float
    sky: tuple[Colour, Colour]
    ground: Colour
    shore: bool
    road: float
    sun: tuple[float, float, float]
    light: float
    hills: tuple[tuple[float, float, Colour], ...]
    things: tuple[_Thing, ...] = field(default_factory=tuple)


def scene(seed: int, number: int) -> Scene:
    """Scene ``number`` of the run seed."""
    rng = generator(seed, "scenes", frame=number)
    sky = _SKIES[rng.integers(len(_SKIES))]
    shore = bool(rng.random() < 0.3)
    ground = _shade(_GROUNDS[rng.integers(len(_GROUNDS))], float(rng.uniform(0.8, 1.15)))
    hills = tuple(
        (
            float(rng.uniform(0.03, 0.16)),
            float(rng.uniform(0, 9)),
            _mixed(ground, sky[1], float(rng.uniform(0.35, 0.8))),
        )
        for _ in range(rng.integers(1, 4))
    )
    things = sorted((_thing(rng, shore) for _ in range(rng.integers(3, 8))), key=lambda thing: thing.depth)
    return Scene(
        number,
        float(rng.uniform(0.34, 0.58)),
        sky,
        ground,
        shore,
        float(rng.uniform(0.3, 0.7)),
        (float(rng.uniform(0.1, 0.9)), float(rng.uniform(0.08, 0.3)), float(rng.uniform(0.03, 0.07))),
        float(rng.uniform(0.85, 1.1)),
        hills,
        tuple(things),
    )


def _thing(rng: np.random.Generator, shore: bool) -> _Thing:
    kinds = ("boat", "boat", "tree", "house") if shore else ("house", "tree", "tree", "car", "car", "person")
    paints = {"house": _WALLS, "tree": _LEAVES}
    kind = kinds[rng.integers(len(kinds))]
    first = paints.get(kind, _PAINTS)
    return _Thing(
        kind,
        float(rng.uniform(-0.1, 1.1)),
        float(rng.uniform(0.05, 1.0)),
        float(rng.uniform(0.8, 1.25)),
        first[rng.integers(len(first))],
        _ROOFS[rng.integers(len(_ROOFS))],
        bool(rng.random() < 0.5),
    )


def picture(place: Scene, side: int, frame: int = 0) -> np.ndarray:
    """The scene from the camera's ``frame``-th position, uint8 (side, side, 3)."""
    fine = side * (4 if side <= 96 else 2)
    canvas = Image.fromarray(_backdrop(place, fine))
    draw = ImageDraw.Draw(canvas)
    shift = -PAN * frame
    _disc(draw, place.sun, fine, _mixed(place.sky[1], (255, 246, 214), 0.8))
    _hills(draw, place, fine, shift)
    _floor(draw, place, fine, shift)
    for thing in place.things:
        _draw(draw, thing, place, fine, shift)
    small = np.asarray(canvas.resize((side, side), Image.Resampling.LANCZOS), np.float32) * place.light
    return small.clip(0, 255).astype(np.uint8)


def pictures(
    seed: int, side: int, frames: int, frames_per_scene: int = FRAMES_PER_SCENE
) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, scene number and picture of ``frames`` frames (0: without end)."""
    number = 0
    while not frames or number < frames:
        which, frame = divmod(number, frames_per_scene)
        yield f"scene-{which:04d}/{frame:02d}", which, picture(scene(seed, which), side, frame)
        number += 1


def _backdrop(place: Scene, fine: int) -> np.ndarray:
    """Sky and ground as gradients, with a little grain that stays where it is."""
    rows = np.linspace(0, 1, fine, dtype=np.float32)[:, None, None]
    top, low = (np.array(colour, np.float32) for colour in place.sky)
    sky = top + (low - top) * (rows / place.horizon).clip(0, 1)
    near = np.array(place.ground, np.float32)
    ground = near * (0.75 + 0.35 * ((rows - place.horizon) / (1 - place.horizon)).clip(0, 1))
    image = np.where(rows < place.horizon, sky, ground) * np.ones((1, fine, 1), np.float32)
    coarse = generator(place.seed, "grain").normal(0, 4, (fine // 4, fine // 4)).astype(np.float32)
    grain = np.kron(coarse, np.ones((4, 4), np.float32))[:, :, None]
    image[: grain.shape[0], : grain.shape[1]] += grain
    return image.clip(0, 255).astype(np.uint8)


def _disc(draw: ImageDraw.ImageDraw, sun: tuple[float, float, float], fine: int, colour: Colour) -> None:
    """The sun or the moon: centre and radius."""
    x, y, radius = (value * fine for value in sun)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _hills(draw: ImageDraw.ImageDraw, place: Scene, fine: int, shift: float) -> None:
    for height, phase, colour in sorted(place.hills, reverse=True):
        across = np.linspace(0, 1, 24)
        moved = across - shift * 0.1
        up = height * (0.6 + 0.4 * np.sin(7 * moved + phase) + 0.2 * np.sin(17 * moved + 2 * phase))
        ridge = [(float(x) * fine, float(place.horizon - u) * fine) for x, u in zip(across, up, strict=True)]
        draw.polygon([*ridge, (fine, place.horizon * fine), (0, place.horizon * fine)], fill=colour)


def _floor(draw: ImageDraw.ImageDraw, place: Scene, fine: int, shift: float) -> None:
    top = place.horizon * fine
    if place.shore:
        middle = top + _SAND * (fine - top)
        draw.rectangle((0, top, fine, middle), fill=_mixed(_WATER, place.sky[1], 0.3))
        for wave in range(4):
            y = top + (wave + 1) / 5 * (middle - top)
            draw.line((0, y, fine, y), fill=_mixed(_WATER, place.sky[1], 0.5), width=max(fine // 96, 1))
        return
    x, foot = (place.road + 0.2 * shift) * fine, (place.road + shift) * fine
    half = 0.32 * fine
    draw.polygon([(x - 2, top), (x + 2, top), (foot + half, fine), (foot - half, fine)], fill=(88, 88, 92))
    for dash in range(3):
        y0, y1 = (0.25 + 0.25 * dash) ** 2, (0.35 + 0.25 * dash) ** 2
        width = max(int(0.02 * fine * y1), 1)
        draw.line(
            (x + (foot - x) * y0, top + (fine - top) * y0, x + (foot - x) * y1, top + (fine - top) * y1),
            fill=(226, 220, 190),
            width=width,
        )


def _draw(draw: ImageDraw.ImageDraw, thing: _Thing, place: Scene, fine: int, shift: float) -> None:
    foot = (place.horizon + (1 - place.horizon) * (0.06 + 0.82 * thing.depth**1.4)) * fine
    size = (0.09 + 0.3 * thing.depth**1.4) * thing.size * fine
    middle = (thing.left + shift * (0.15 + thing.depth)) * fine
    if place.shore:  # boats on the water, the rest on the sand, whatever their depth says
        edge = (place.horizon + _SAND * (1 - place.horizon)) * fine
        foot = min(foot, edge - 1) if thing.kind == "boat" else max(foot, edge + 0.05 * size)
    _KINDS[thing.kind](draw, thing, middle, foot, size)


def _house(draw: ImageDraw.ImageDraw, thing: _Thing, x: float, y: float, size: float) -> None:
    draw.rectangle((x - 0.5 * size, y - 0.7 * size, x + 0.5 * size, y), fill=thing.colour)
    draw.polygon(
        [(x - 0.6 * size, y - 0.7 * size), (x, y - 1.15 * size), (x + 0.6 * size, y - 0.7 * size)], fill=thing.second
    )
    draw.rectangle((x - 0.1 * size, y - 0.35 * size, x + 0.1 * size, y), fill=_shade(thing.second, 0.8))
    for side in (-0.32, 0.32):
        left = x + side * size
        draw.rectangle((left - 0.09 * size, y - 0.55 * size, left + 0.09 * size, y - 0.35 * size), fill=(225, 226, 200))


def _tree(draw: ImageDraw.ImageDraw, thing: _Thing, x: float, y: float, size: float) -> None:
    draw.rectangle((x - 0.06 * size, y - 0.5 * size, x + 0.06 * size, y), fill=(84, 62, 44))
    for dx, dy, radius in ((-0.18, 0.7, 0.26), (0.18, 0.72, 0.26), (0.0, 0.95, 0.3)):
        box = _around(x + dx * size, y - dy * size, radius * size, radius * size)
        draw.ellipse(box, fill=_shade(thing.colour, 1.0 + 0.25 * dx))


def _car(draw: ImageDraw.ImageDraw, thing: _Thing, x: float, y: float, size: float) -> None:
    draw.rectangle((x - 0.62 * size, y - 0.36 * size, x + 0.62 * size, y - 0.1 * size), fill=thing.colour)
    nose = -0.1 if thing.flip else 0.1
    left, right = x + (nose - 0.36) * size, x + (nose + 0.36) * size
    roof = [(left, y - 0.36 * size), (left + 0.14 * size, y - 0.6 * size), (right - 0.14 * size, y - 0.6 * size)]
    draw.polygon([*roof, (right, y - 0.36 * size)], fill=_mixed(thing.colour, (170, 200, 220), 0.7))
    for wheel in (-0.36, 0.36):
        draw.ellipse(_around(x + wheel * size, y - 0.1 * size, 0.12 * size, 0.12 * size), fill=(24, 24, 26))


def _boat(draw: ImageDraw.ImageDraw, thing: _Thing, x: float, y: float, size: float) -> None:
    hull = [
        (x - 0.55 * size, y - 0.2 * size),
        (x + 0.55 * size, y - 0.2 * size),
        (x + 0.38 * size, y),
        (x - 0.38 * size, y),
    ]
    draw.polygon(hull, fill=thing.colour)
    reach = -0.42 if thing.flip else 0.42
    draw.polygon([(x, y - 1.0 * size), (x, y - 0.26 * size), (x + reach * size, y - 0.26 * size)], fill=(240, 238, 230))
    draw.line((x, y - 1.05 * size, x, y - 0.2 * size), fill=(70, 54, 44), width=max(int(0.04 * size), 1))


def _person(draw: ImageDraw.ImageDraw, thing: _Thing, x: float, y: float, size: float) -> None:
    draw.ellipse(_around(x, y - 0.78 * size, 0.09 * size, 0.1 * size), fill=(214, 170, 140))
    draw.rectangle((x - 0.13 * size, y - 0.68 * size, x + 0.13 * size, y - 0.34 * size), fill=thing.colour)
    for leg in (-0.07, 0.07):
        draw.rectangle((x + (leg - 0.05) * size, y - 0.34 * size, x + (leg + 0.05) * size, y), fill=(44, 46, 60))


_KINDS = {"house": _house, "tree": _tree, "car": _car, "boat": _boat, "person": _person}


def _around(x: float, y: float, across: float, along: float) -> Box:
    return x - across, y - along, x + across, y + along


def _mixed(one: Colour, two: Colour, share: float) -> Colour:
    """``share`` of the second."""
    mixed = [round(a + (b - a) * share) for a, b in zip(one, two, strict=True)]
    return mixed[0], mixed[1], mixed[2]


def _shade(colour: Colour, factor: float) -> Colour:
    lit = [min(255, max(0, math.floor(value * factor))) for value in colour]
    return lit[0], lit[1], lit[2]
