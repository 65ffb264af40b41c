"""What surfaces of the procedural room look like: functions of a place on a face, the same on every machine.

A texture takes (N, 2) metres from the middle of a face - across and up - and gives linear RGB (N, 3) in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float32]
Texture: TypeAlias = Callable[[Array], Array]
Colour: TypeAlias = tuple[float, float, float]


def chance(x: NDArray[np.int64], y: NDArray[np.int64], seed: int) -> Array:
    """A number in [0, 1) for each cell of a lattice: its coordinates, hashed."""
    mixed = (x.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ (
        y.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    )
    mixed = mixed ^ np.uint64(seed * 0x165667B19E3779F9 % (1 << 64))
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed >> np.uint64(40)) / np.float64(1 << 24), np.float32)


def noise(at: Array, cell: float, seed: int) -> Array:
    """Smooth noise in [0, 1] with bumps of about ``cell`` metres."""
    scaled = at / np.float32(cell)
    low = np.floor(scaled).astype(np.int64)
    share = scaled - low
    share = share * share * (3 - 2 * share)
    x, y = low[:, 0], low[:, 1]
    near = chance(x, y, seed) * (1 - share[:, 0]) + chance(x + 1, y, seed) * share[:, 0]
    far = chance(x, y + 1, seed) * (1 - share[:, 0]) + chance(x + 1, y + 1, seed) * share[:, 0]
    return np.asarray(near * (1 - share[:, 1]) + far * share[:, 1], np.float32)


def plain(colour: Colour, seed: int = 0, rough: float = 0.08, cell: float = 0.25) -> Texture:
    """One colour with soft blotches, as plaster and cloth have."""

    def texture(at: Array) -> Array:
        return _tinted(colour, 1 + rough * (2 * noise(at, cell, seed) - 1))

    return texture


def planks(colour: Colour, seed: int, width: float = 0.16, length: float = 1.1) -> Texture:
    """A wooden floor: staggered boards of different tints, with grain and dark gaps."""

    def texture(at: Array) -> Array:
        row = np.floor(at[:, 1] / width).astype(np.int64)
        along = at[:, 0] + length * chance(row, row, seed)
        board = np.floor(along / length).astype(np.int64)
        tint = 0.72 + 0.5 * chance(board, row, seed + 1)
        grain = 0.9 + 0.2 * noise(at * np.array([1, 14], np.float32), 0.22, seed + 2)
        gap = (np.mod(at[:, 1], width) < 0.012) | (np.mod(along, length) < 0.014)
        return _tinted(colour, np.where(gap, 0.35, tint * grain))

    return texture


def wood(colour: Colour, seed: int) -> Texture:
    """Furniture boards with long grain."""

    def texture(at: Array) -> Array:
        grain = noise(at * np.array([1, 9], np.float32), 0.3, seed)
        rings = 0.5 + 0.5 * np.sin(40 * (at[:, 1] + 0.08 * grain) + 6 * grain)
        return _tinted(colour, 0.78 + 0.26 * grain + 0.12 * rings)

    return texture


def stripes(one: Colour, two: Colour, width: float) -> Texture:
    """Upright bands of two colours: wallpaper, curtains."""

    def texture(at: Array) -> Array:
        return _chosen(np.mod(at[:, 0], 2 * width) < width, one, two)

    return texture


def bricks(colour: Colour, joint: Colour, seed: int) -> Texture:
    """A wall of bricks, each with a tint of its own."""

    def texture(at: Array) -> Array:
        row = np.floor(at[:, 1] / 0.11).astype(np.int64)
        along = at[:, 0] + 0.14 * np.mod(row, 2)
        brick = np.floor(along / 0.28).astype(np.int64)
        tint = 0.7 + 0.55 * chance(brick, row, seed)
        gap = (np.mod(at[:, 1], 0.11) < 0.016) | (np.mod(along, 0.28) < 0.016)
        return np.where(gap[:, None], np.array(joint, np.float32), _tinted(colour, tint))

    return texture


def checks(one: Colour, two: Colour, cell: float) -> Texture:
    """A chessboard."""

    def texture(at: Array) -> Array:
        cells = np.floor(at / np.float32(cell)).astype(np.int64)
        return _chosen(np.mod(cells.sum(1), 2) == 0, one, two)

    return texture


def rug(size: tuple[float, float], border: Colour, field: Colour, figure: Colour) -> Texture:
    """A woven rug: two borders around a field of diamonds."""

    def texture(at: Array) -> Array:
        edge = np.minimum(size[0] / 2 - np.abs(at[:, 0]), size[1] / 2 - np.abs(at[:, 1]))
        across, along = np.mod(at[:, 0] + 0.225, 0.45) - 0.225, np.mod(at[:, 1] + 0.225, 0.45) - 0.225
        diamond = np.abs(across) + np.abs(along)
        out = _chosen((diamond < 0.17) ^ (diamond < 0.08), figure, field)
        out[edge < 0.16] = border
        out[(edge > 0.05) & (edge < 0.09)] = figure
        return out

    return texture


def painting(size: tuple[float, float], seed: int) -> Texture:
    """A framed landscape: sky, sun, three ridges of hills, in colours of the seed's own."""
    rng = np.random.default_rng(seed)
    sky, ground = rng.uniform(0.25, 0.95, 3), rng.uniform(0.05, 0.6, 3)
    sun = rng.uniform(-0.3, 0.3), rng.uniform(0.1, 0.32)
    waves = rng.uniform(4, 9, 3), rng.uniform(0, 6, 3)

    def texture(at: Array) -> Array:
        x, y = at[:, 0] / size[0], at[:, 1] / size[1]  # both -0.5 .. 0.5
        out = (sky[None] * (0.75 + 0.4 * (y[:, None] + 0.5))).astype(np.float32)
        out[np.hypot((x - sun[0]) * size[0] / size[1], y - sun[1]) < 0.11] = (0.98, 0.86, 0.42)
        for ridge in range(3):
            height = 0.12 - 0.17 * ridge + 0.09 * np.sin(waves[0][ridge] * x + waves[1][ridge])
            share = 0.45 * (2 - ridge) / 2
            out[y < height] = (ground * (1 - share) + sky * share) * (1 - 0.18 * ridge)
        edge = np.minimum(0.5 - np.abs(x), (0.5 - np.abs(y)) * size[1] / size[0])
        out[edge < 0.07] = (0.92, 0.9, 0.84)
        out[edge < 0.04] = (0.09, 0.06, 0.04)
        return out

    return texture


def window(size: tuple[float, float], seed: int) -> Texture:
    """A window with a cross-bar: clouds above a line of trees."""

    def texture(at: Array) -> Array:
        up = (at[:, 1] / size[1] + 0.5)[:, None]
        cloud = noise(at * np.array([1, 2], np.float32), 0.35, seed)[:, None]
        sky = np.array([0.42, 0.64, 0.95], np.float32) * (1.15 - 0.3 * up)
        out = sky + (np.float32(1.05) - sky) * np.clip(2.2 * cloud - 0.9, 0, 1)
        trees = at[:, 1] / size[1] + 0.5 < 0.2 + 0.2 * noise(at, 0.16, seed + 1)
        out[trees] = (0.16, 0.36, 0.14)
        bar = np.minimum(np.abs(at[:, 0]), np.abs(at[:, 1] - 0.06 * size[1])) < 0.025
        edge = np.minimum(size[0] / 2 - np.abs(at[:, 0]), size[1] / 2 - np.abs(at[:, 1])) < 0.06
        out[bar | edge] = (0.85, 0.83, 0.8)
        return np.asarray(out, np.float32)

    return texture


def screen(size: tuple[float, float], seed: int) -> Texture:
    """A television: a bright picture of coloured bars and a disc, in a black frame."""
    rng = np.random.default_rng(seed)
    bars = rng.uniform(0.05, 0.8, (7, 3)).astype(np.float32)

    def texture(at: Array) -> Array:
        x, y = at[:, 0] / size[0] + 0.5, at[:, 1] / size[1] + 0.5
        out = bars[np.clip(x * 7, 0, 6).astype(np.int64)] * (0.6 + 0.4 * y[:, None])
        out[np.hypot(at[:, 0], at[:, 1]) < 0.28 * size[1]] = (0.95, 0.95, 0.9)
        edge = np.minimum(np.minimum(x, 1 - x) * size[0], np.minimum(y, 1 - y) * size[1])
        out[edge < 0.03] = (0.02, 0.02, 0.02)
        return np.asarray(out, np.float32)

    return texture


def _tinted(colour: Colour, factor: NDArray[np.floating]) -> Array:
    return np.asarray(np.array(colour, np.float32) * factor[:, None].astype(np.float32), np.float32).clip(0, 1)


def _chosen(first: NDArray[np.bool_], one: Colour, two: Colour) -> Array:
    return np.where(first[:, None], np.array(one, np.float32), np.array(two, np.float32))
