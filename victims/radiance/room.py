"""The procedural room, the embedded default: nobody's home, furnished and photographed from a seed.

Rooms of two seeds differ in colours, wallpaper, floor, paintings, books and where the cameras stand; the furniture is
the same, so that their scores compare.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from victims.radiance import furniture, textures
from victims.radiance.camera import Camera, looking
from victims.radiance.raytrace import Group, Light, World
from victims.radiance.scene import PosedPicture, Scene
from victims.radiance.textures import Colour, Texture
from wire.seeds import generator

SHELL: Final = ((-2.4, -2.0, 0.0), (2.4, 2.0, 2.5))
"""Lower and upper corner of the room, metres."""

SIDE: Final = 96
VIEWS: Final = 30
HOLD_OUT: Final = 5
"""Every fifth picture is held out."""

NEAR: Final = 0.3
"""Nothing stands nearer to a camera, metres: rays begin here."""

BEHIND: Final = 0.15
"""Rays are followed so far behind the walls, metres, that a wall may lie between two samples."""

FIELD: Final = 75.0
"""Field of view across, degrees."""

_FINE: Final = 2
"""Rays per pixel, along each side; each sees another part of the lights, which makes shadows soft."""

_CLOTHS: tuple[Colour, ...] = (
    (0.55, 0.12, 0.12), (0.1, 0.22, 0.45), (0.12, 0.38, 0.25), (0.7, 0.45, 0.1), (0.38, 0.14, 0.4), (0.5, 0.48, 0.45)
)  # fmt: skip
_WOODS: tuple[Colour, ...] = ((0.5, 0.3, 0.14), (0.3, 0.16, 0.08), (0.66, 0.48, 0.28), (0.42, 0.22, 0.12))
_PAINTS: tuple[Colour, ...] = (
    (0.78, 0.7, 0.55),
    (0.55, 0.66, 0.7),
    (0.7, 0.58, 0.55),
    (0.62, 0.7, 0.55),
    (0.75, 0.74, 0.7),
)


@lru_cache(maxsize=2)
def room(seed: int, side: int = SIDE, views: int = VIEWS) -> Scene:
    """The room of a seed, photographed ``views`` times at side x side pixels, with the true distance of every pixel."""
    world = furnished(seed)
    pictures = [
        photograph(world, camera, f"view-{number:03d}") for number, camera in enumerate(cameras(seed, side, views))
    ]
    held = frozenset(range(HOLD_OUT // 2, views, HOLD_OUT)) or frozenset({0})
    (x0, y0, z0), (x1, y1, z1) = SHELL
    box = (x0 - BEHIND, y0 - BEHIND, z0 - BEHIND, x1 + BEHIND, y1 + BEHIND, z1 + BEHIND)
    return Scene(f"room-{seed}", pictures, held, box, near=NEAR, metric=True)


def cameras(seed: int, side: int, views: int) -> list[Camera]:
    """A walk around the room, along its walls, looking across it; heights and targets vary a little."""
    rng = generator(seed, "room.cameras")
    focal = side / 2 / math.tan(math.radians(FIELD / 2))
    made = []
    for turn in np.arange(views) * (2 * np.pi / views):
        position = np.array([1.55 * np.cos(turn), 1.2 * np.sin(turn), rng.uniform(1.15, 1.75)])
        target = np.array(
            [
                -0.75 * np.cos(turn) + rng.normal(0, 0.35),
                -0.6 * np.sin(turn) + rng.normal(0, 0.35),
                rng.uniform(0.55, 0.95),
            ]
        )
        made.append(Camera(looking(position, target), (focal, focal), (side / 2, side / 2), (side, side)))
    return made


def photograph(world: World, camera: Camera, name: str) -> PosedPicture:
    """The picture that a camera takes, and the distance along the ray at each pixel's middle."""
    total: NDArray[np.float32] = np.zeros((camera.pixels, 3), np.float32)
    for cell in range(_FINE * _FINE):
        row, column = divmod(cell, _FINE)
        shift = (column + 0.5) / _FINE - 0.5, (row + 0.5) / _FINE - 0.5
        total += world.trace(*_rays(camera, shift), cell, _FINE * _FINE)[0].clip(0, 1)
    _, distance = world.trace(*_rays(camera, (0.0, 0.0)), 0, _FINE * _FINE)
    display = (total / (_FINE * _FINE)) ** (1 / 2.2)
    image = (display.reshape(*camera.size, 3) * 255).round().astype(np.uint8)
    return PosedPicture(name, image, camera, distance.reshape(camera.size))


def furnished(seed: int) -> World:
    """The room of a seed."""
    rng = generator(seed, "room")
    east = np.pi / 2  # a front towards +x
    cloths = [_CLOTHS[i] for i in rng.permutation(len(_CLOTHS))]
    dark, light = (_WOODS[i] for i in rng.permutation(len(_WOODS))[:2])
    seeds = [int(s) for s in rng.integers(1 << 30, size=12)]
    groups: list[Group] = [
        furniture.carpet((-0.1, -0.1, 0.0), (2.4, 1.7), (cloths[0], (0.82, 0.76, 0.62), cloths[1])),
        furniture.sofa((-1.95, -0.2, east), cloths[2], (cloths[3], cloths[1]), seeds[0]),
        furniture.table((-0.35, -0.15, 0.25), light, seeds[1]),
        furniture.still_life((-0.35, -0.15, 0.25), 0.425, (cloths[1], cloths[0], cloths[3]), seeds[2]),
        furniture.shelf((-1.35, 1.83, 0.0), dark, rng),
        *furniture.sideboard((2.15, 0.35, -east), dark, seeds[3]),
        furniture.table((0.55, -1.65, np.pi), light, seeds[4], (0.6, 0.3, 0.74)),
        furniture.chair((0.5, -1.2, 0.15), dark, cloths[4], seeds[5]),
        furniture.plant((2.0, 1.6, 0.0), cloths[5], rng),
        furniture.floor_lamp((-2.1, -1.65, 0.0), (1.0, 0.86, 0.6)),
        furniture.pendant(2.5),
        furniture.window_with_curtains((0.6, 1.98, 0.0), cloths[3], seeds[6]),
        furniture.picture((-2.38, -0.2, east), 1.5, (0.9, 0.65), seeds[7]),
        furniture.picture((-2.38, 1.0, east), 1.45, (0.5, 0.65), seeds[8]),
        furniture.picture((0.6, -1.98, np.pi), 1.55, (1.0, 0.7), seeds[9]),
        furniture.door((-1.0, -1.98, np.pi), light, seeds[10]),
        furniture.picture((2.38, -1.2, -east), 1.5, (0.7, 0.9), seeds[11]),
    ]
    lights = (
        Light((0, 0, 2.1), ((0.3, 0, 0), (0, 0.3, 0)), (2.3, 2.05, 1.65)),
        Light((0.6, 1.9, 1.45), ((0.6, 0, 0), (0, 0, 0.5)), (1.5, 1.8, 2.2)),
    )
    return World(groups, SHELL, _walls(rng, light), lights, 0.3)


def _walls(rng: np.random.Generator, timber: Colour) -> list[Texture]:
    """Wallpaper, bricks and paint, boards on the floor, a pale ceiling."""
    paints = [_PAINTS[i] for i in rng.permutation(len(_PAINTS))]
    red, green, blue = paints[0]
    striped = textures.stripes(paints[0], (red * 0.8, green * 0.8, blue * 0.82), 0.14)
    brick = textures.bricks((0.62, 0.32, 0.24), (0.72, 0.68, 0.62), int(rng.integers(1 << 30)))
    walls = [striped, textures.plain(paints[1], 4), textures.plain(paints[2], 5), brick]
    order = rng.permutation(4)
    floor = textures.planks(timber, int(rng.integers(1 << 30)))
    return [*(walls[i] for i in order), floor, textures.plain((0.85, 0.84, 0.8), 6, 0.03)]


def _rays(camera: Camera, shift: tuple[float, float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Origins and unit directions (H * W, 3), ``shift`` pixels (right, down) off the middles."""
    rows, columns = np.mgrid[: camera.size[0], : camera.size[1]]
    x = (columns + 0.5 + shift[0] - camera.centre[0]) / camera.focal[0]
    y = (camera.centre[1] - rows - 0.5 - shift[1]) / camera.focal[1]
    local = np.stack([x, y, -np.ones_like(x)], axis=-1).reshape(-1, 3)
    directions = local @ camera.pose[:, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.broadcast_to(camera.pose[:, 3], directions.shape)
    return origins.astype(np.float32), directions.astype(np.float32)
