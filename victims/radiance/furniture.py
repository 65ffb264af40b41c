"""Pieces of the procedural room, each a group of shapes around its own place on the floor."""

from __future__ import annotations

import numpy as np

from victims.radiance.raytrace import Group, Shape, Vector
from victims.radiance.textures import Colour, Texture, checks, painting, plain, rug, screen, stripes, window, wood

Spot = tuple[float, float, float]
"""Where a piece stands: x, y, and which way it faces (radians; 0: its front towards -y)."""


def sofa(spot: Spot, cloth: Colour, cushions: tuple[Colour, Colour], seed: int) -> Group:
    """Two seats, 1.7 m wide, with arms and two cushions."""
    fabric = plain(cloth, seed, 0.2, 0.05)
    boxes = [
        ((0, 0, 0.21), (0.85, 0.4, 0.13), fabric),
        ((-0.34, -0.04, 0.38), (0.335, 0.36, 0.06), fabric),
        ((0.34, -0.04, 0.38), (0.335, 0.36, 0.06), fabric),
        ((0, 0.31, 0.52), (0.85, 0.1, 0.3), fabric),
        ((-0.78, 0, 0.36), (0.09, 0.41, 0.24), fabric),
        ((0.78, 0, 0.36), (0.09, 0.41, 0.24), fabric),
        ((-0.48, 0.13, 0.58), (0.19, 0.07, 0.16), checks(cushions[0], (0.9, 0.88, 0.8), 0.1)),
        ((0.45, 0.13, 0.58), (0.19, 0.07, 0.16), stripes(cushions[1], (0.92, 0.9, 0.84), 0.06)),
    ]
    return Group([_box(spot, centre, half, texture) for centre, half, texture in boxes])


def table(spot: Spot, colour: Colour, seed: int, size: Vector = (0.5, 0.3, 0.42)) -> Group:
    """A board on four legs; half width, half depth and height."""
    board = wood(colour, seed)
    x, y, high = size
    legs = [
        _box(spot, (dx * (x - 0.05), dy * (y - 0.05), high / 2 - 0.02), (0.03, 0.03, high / 2 - 0.02), board)
        for dx in (-1, 1)
        for dy in (-1, 1)
    ]
    return Group([_box(spot, (0, 0, high - 0.02), (x, y, 0.025), board, gloss=0.12), *legs])


def still_life(spot: Spot, height: float, colours: tuple[Colour, Colour, Colour], seed: int) -> Group:
    """A vase with two flowers, a bowl's worth of fruit and a pile of books, on a table of that height."""
    vase, fruit, book = colours
    shapes = [
        _drum(spot, (-0.24, 0.05, height + 0.1), 0.055, 0.1, stripes(vase, (0.93, 0.93, 0.9), 0.04), gloss=0.3),
        _drum(spot, (-0.25, 0.05, height + 0.29), 0.008, 0.1, plain((0.1, 0.35, 0.1))),
        _ball(spot, (-0.25, 0.05, height + 0.41), 0.065, plain((0.9, 0.25, 0.35), seed, 0.3, 0.03)),
        _ball(spot, (-0.18, 0.1, height + 0.33), 0.05, plain((0.95, 0.75, 0.15), seed, 0.3, 0.03)),
        _ball(spot, (0.0, -0.12, height + 0.06), 0.06, plain(fruit, seed), gloss=0.3),
        _ball(spot, (0.11, -0.07, height + 0.055), 0.055, plain((0.45, 0.7, 0.15), seed), gloss=0.3),
        _box(spot, (0.26, 0.08, height + 0.02), (0.13, 0.09, 0.02), plain(book, seed)),
        _box(spot, (0.27, 0.07, height + 0.055), (0.11, 0.08, 0.016), plain((0.9, 0.85, 0.7), seed)),
    ]
    return Group(shapes)


def shelf(spot: Spot, colour: Colour, rng: np.random.Generator) -> Group:
    """A bookcase, 1.1 m wide and 1.9 m high, five boards of books."""
    board = wood(colour, int(rng.integers(1 << 30)))
    shapes = [
        _box(spot, (-0.55, 0, 0.95), (0.02, 0.15, 0.95), board),
        _box(spot, (0.55, 0, 0.95), (0.02, 0.15, 0.95), board),
        _box(spot, (0, 0.14, 0.95), (0.55, 0.01, 0.95), board),
    ]
    for level in range(6):
        shapes.append(_box(spot, (0, 0, 0.03 + 0.372 * level), (0.55, 0.15, 0.015), board))
        if level == 5:
            break
        left = -0.52
        while left < 0.4 - 0.3 * rng.random():
            wide, high = rng.uniform(0.025, 0.07), rng.uniform(0.2, 0.32)
            cover = _vivid(rng)
            centre = (left + wide / 2, -0.01, 0.047 + 0.372 * level + high / 2)
            shapes.append(_box(spot, centre, (wide / 2, 0.11, high / 2), plain(cover, 1, 0.05)))
            left += wide + 0.004
    return Group(shapes)


def sideboard(spot: Spot, colour: Colour, seed: int) -> list[Group]:
    """A low cupboard with two doors, and a television on it."""
    front, dark = wood(colour, seed), plain((0.05, 0.05, 0.06))
    cupboard = [
        _box(spot, (0, 0, 0.3), (0.75, 0.2, 0.26), front, gloss=0.08),
        _box(spot, (-0.37, -0.205, 0.3), (0.34, 0.012, 0.22), wood(_times(colour, 1.25), seed + 1)),
        _box(spot, (0.37, -0.205, 0.3), (0.34, 0.012, 0.22), wood(_times(colour, 1.25), seed + 2)),
        _ball(spot, (-0.08, -0.23, 0.32), 0.022, plain((0.8, 0.7, 0.4)), gloss=0.5),
        _ball(spot, (0.08, -0.23, 0.32), 0.022, plain((0.8, 0.7, 0.4)), gloss=0.5),
    ]
    television = [
        _box(spot, (0, 0.02, 0.58), (0.16, 0.09, 0.02), dark),
        _box(spot, (0, 0.03, 0.64), (0.03, 0.02, 0.06), dark),
        _box(spot, (0, 0, 1.0), (0.53, 0.025, 0.31), screen((1.06, 0.62), seed), glow=True),
    ]
    return [Group(cupboard), Group(television)]


def chair(spot: Spot, colour: Colour, seat: Colour, seed: int) -> Group:
    """A wooden chair with a cushion and a back of three bars."""
    timber = wood(colour, seed)
    shapes = [_box(spot, (dx * 0.19, dy * 0.19, 0.22), (0.02, 0.02, 0.22), timber) for dx in (-1, 1) for dy in (-1, 1)]
    shapes += [_box(spot, (dx * 0.19, 0.19, 0.68), (0.02, 0.02, 0.24), timber) for dx in (-1, 1)]
    shapes += [_box(spot, (0, 0.19, z), (0.19, 0.012, 0.035), timber) for z in (0.6, 0.73, 0.87)]
    return Group([*shapes, _box(spot, (0, 0, 0.46), (0.22, 0.22, 0.03), plain(seat, seed, 0.2, 0.04))])


def plant(spot: Spot, pot: Colour, rng: np.random.Generator) -> Group:
    """A tree of leaves in a pot, 1.2 m high."""
    shapes = [
        _drum(spot, (0, 0, 0.16), 0.17, 0.16, plain(pot, 3, 0.15), gloss=0.1),
        _drum(spot, (0, 0, 0.55), 0.022, 0.25, plain((0.3, 0.2, 0.1))),
    ]
    for _ in range(16):
        way = rng.normal(size=3)
        way *= rng.uniform(0.1, 0.24) / np.linalg.norm(way)
        leaf = (rng.uniform(0.05, 0.2), rng.uniform(0.35, 0.6), rng.uniform(0.05, 0.15))
        centre = (float(way[0]), float(way[1]), 0.95 + 1.1 * float(way[2]))
        shapes.append(_ball(spot, centre, float(rng.uniform(0.06, 0.11)), plain(leaf, 5, 0.4, 0.03)))
    return Group(shapes)


def floor_lamp(spot: Spot, shade: Colour) -> Group:
    """A pole with a shade that glows."""
    metal = plain((0.12, 0.12, 0.13))
    return Group(
        [
            _drum(spot, (0, 0, 0.015), 0.15, 0.015, metal),
            _drum(spot, (0, 0, 0.75), 0.014, 0.73, metal),
            _drum(spot, (0, 0, 1.55), 0.17, 0.15, plain(shade, 2, 0.1), glow=True),
        ]
    )


def pendant(height: float) -> Group:
    """A ball of light that hangs from the ceiling."""
    spot = (0.0, 0.0, 0.0)
    cord = _drum(spot, (0, 0, height - 0.13), 0.008, 0.13, plain((0.1, 0.1, 0.1)), glow=True)
    return Group([cord, _ball(spot, (0, 0, height - 0.36), 0.13, plain((1.0, 0.95, 0.82), 0, 0.0), glow=True)])


def carpet(spot: Spot, size: tuple[float, float], colours: tuple[Colour, Colour, Colour]) -> Group:
    """A rug on the floor."""
    return Group([_box(spot, (0, 0, 0.008), (size[0] / 2, size[1] / 2, 0.008), rug(size, *colours))])


def picture(spot: Spot, height: float, size: tuple[float, float], seed: int) -> Group:
    """A painting on a wall, its middle at ``height``."""
    return Group([_box(spot, (0, 0, height), (size[0] / 2, 0.02, size[1] / 2), painting(size, seed))])


def window_with_curtains(spot: Spot, cloth: Colour, seed: int) -> Group:
    """A window, 1.4 m by 1.2 m, between curtains."""
    size = (1.4, 1.2)
    drape = stripes(cloth, _times(cloth, 0.72), 0.045)
    return Group(
        [
            _box(spot, (0, 0, 1.45), (size[0] / 2, 0.015, size[1] / 2), window(size, seed), glow=True),
            _box(spot, (-0.84, -0.04, 1.3), (0.15, 0.04, 0.85), drape),
            _box(spot, (0.84, -0.04, 1.3), (0.15, 0.04, 0.85), drape),
            _box(spot, (0, -0.05, 2.16), (1.05, 0.015, 0.015), plain((0.25, 0.2, 0.15))),
        ]
    )


def door(spot: Spot, colour: Colour, seed: int) -> Group:
    """A panelled door, 0.9 m wide."""
    frame, panel = wood(_times(colour, 0.7), seed), wood(colour, seed + 1)
    shapes = [
        _box(spot, (0, 0, 1.03), (0.48, 0.015, 1.03), frame),
        _box(spot, (0, -0.01, 1.0), (0.42, 0.02, 0.99), panel),
    ]
    shapes += [
        _box(spot, (dx * 0.19, -0.025, z), (0.15, 0.012, high), frame)
        for dx in (-1, 1)
        for z, high in ((0.5, 0.3), (1.4, 0.42))
    ]
    return Group([*shapes, _ball(spot, (0.35, -0.07, 1.0), 0.035, plain((0.85, 0.7, 0.3)), gloss=0.6)])


def _times(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(1.0, value * factor) for value in colour)
    return red, green, blue


def _vivid(rng: np.random.Generator) -> Colour:
    """A colour with one strong and one weak channel."""
    values = rng.permutation([rng.uniform(0.55, 0.9), rng.uniform(0.15, 0.6), rng.uniform(0.03, 0.2)])
    return float(values[0]), float(values[1]), float(values[2])


def _placed(spot: Spot, centre: Vector) -> Vector:
    cos, sin = np.cos(spot[2]), np.sin(spot[2])
    return (
        float(spot[0] + cos * centre[0] - sin * centre[1]),
        float(spot[1] + sin * centre[0] + cos * centre[1]),
        centre[2],
    )


def _box(
    spot: Spot, centre: Vector, half: Vector, texture: Texture, *, glow: bool = False, gloss: float = 0.0
) -> Shape:
    return Shape("box", _placed(spot, centre), half, texture, spot[2], glow, gloss)


def _ball(
    spot: Spot, centre: Vector, radius: float, texture: Texture, *, glow: bool = False, gloss: float = 0.0
) -> Shape:
    return Shape("ball", _placed(spot, centre), (radius, radius, radius), texture, spot[2], glow, gloss)


def _drum(
    spot: Spot, centre: Vector, radius: float, half: float, texture: Texture, *, glow: bool = False, gloss: float = 0.0
) -> Shape:
    return Shape("drum", _placed(spot, centre), (radius, radius, half), texture, spot[2], glow, gloss)
