"""The ray tracer against marching on signed distances, and the room's pictures against each other."""

from __future__ import annotations

import numpy as np
import pytest

from victims.radiance.raytrace import FAR, Group, Light, Shape, World
from victims.radiance.room import NEAR, cameras, furnished, photograph, room
from victims.radiance.scene import PosedPicture
from victims.radiance.textures import bricks, checks, painting, plain, planks, rug, screen, stripes, window, wood

WHITE = plain((1.0, 1.0, 1.0), rough=0.0)
SHAPES = {
    "box": Shape("box", (0.3, -0.2, 0.1), (0.5, 0.3, 0.4), WHITE, turn=0.7),
    "ball": Shape("ball", (0.3, -0.2, 0.1), (0.5, 0.5, 0.5), WHITE),
    "drum": Shape("drum", (0.3, -0.2, 0.1), (0.4, 0.4, 0.5), WHITE),
}


def signed_distance(shape: Shape, points: np.ndarray) -> np.ndarray:
    """How far points are from the surface, negative inside (Quilez's formulas), independent of the tracer."""
    at = points - np.array(shape.centre)
    turned = np.array(
        [[np.cos(shape.turn), np.sin(shape.turn), 0], [-np.sin(shape.turn), np.cos(shape.turn), 0], [0, 0, 1]]
    )
    at = at @ turned.T
    if shape.kind == "ball":
        return np.linalg.norm(at, axis=1) - shape.half[0]
    if shape.kind == "box":
        gap = np.abs(at) - np.array(shape.half)
    else:
        gap = np.stack([np.hypot(at[:, 0], at[:, 1]) - shape.half[0], np.abs(at[:, 2]) - shape.half[2]], axis=1)
    return np.linalg.norm(np.maximum(gap, 0), axis=1) + np.minimum(gap.max(1), 0)


@pytest.mark.parametrize("kind", SHAPES)
def test_shapes_are_met_where_marching_meets_them(kind: str) -> None:
    shape, rng = SHAPES[kind], np.random.default_rng(0)
    origins = rng.normal(size=(400, 3))
    origins *= (2.5 / np.linalg.norm(origins, axis=1))[:, None]
    aims = np.array(shape.centre) + rng.normal(0, 0.4, (400, 3))
    directions = aims - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    travelled = np.zeros(400)
    for _ in range(300):
        travelled += signed_distance(shape, origins + travelled[:, None] * directions)
    wanted = np.where(travelled < 10, travelled, FAR)
    found = shape.meet(origins.astype(np.float32), directions.astype(np.float32))
    grazing = np.abs(found - wanted) > 2e-3  # marching never quite arrives along an edge
    assert grazing.sum() <= 4 and 80 < (found < FAR).sum() < 390
    met = found < FAR
    points = (origins + found[:, None] * directions)[met].astype(np.float32)
    colour, normal = shape.surface(points)
    assert (colour == 1).all() and np.allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-4)
    assert ((normal * directions[met]).sum(1) < 1e-3).all()  # towards the eye
    outwards = signed_distance(shape, points + 0.01 * normal)
    assert np.allclose(outwards, 0.01, atol=1e-3)


def test_a_shadow_falls_behind_what_stands_in_the_light() -> None:
    lamp = Light((0.0, 0.0, 3.0), ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)), (1.0, 1.0, 1.0))
    lid = Group([Shape("box", (0, 0, 1.5), (0.5, 0.5, 0.01), WHITE)])
    down = np.array([[0, 0, -1]], np.float32)
    for groups, wanted in (((), 0.2 + 1 / (0.4 + 9)), ((lid,), 0.2)):
        world = World(groups, ((-5, -5, 0), (5, 5, 4)), [WHITE] * 6, (lamp,), ambient=0.2)
        colour, distance = world.trace(np.array([[0, 0, 1]], np.float32), down, 0, 1)
        assert distance[0] == pytest.approx(1) and colour[0] == pytest.approx([wanted] * 3, rel=1e-3)


def test_the_room_is_the_same_for_a_seed_and_another_for_another() -> None:
    first = room(4, side=12, views=4)
    room.cache_clear()
    again, other = room(4, side=12, views=4), room(5, side=12, views=4)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first.pictures, again.pictures, strict=True))
    assert not np.array_equal(first.pictures[0].image, other.pictures[0].image)
    assert first.held_out == {2} and len(first.training) == 3
    for picture in (*first.pictures, *other.pictures):  # rays begin before anything can be met, and end behind it
        assert picture.depth is not None and picture.depth.min() > NEAR == first.near
        assert picture.depth.max() < 2 * first.half * np.sqrt(3)


@pytest.fixture(scope="module")
def two_views() -> tuple[PosedPicture, PosedPicture]:
    world, both = furnished(0), cameras(0, 40, 24)[:2]
    one, two = (photograph(world, camera, "view") for camera in both)
    return one, two


def test_depth_takes_the_pixels_of_one_view_to_those_of_the_next(two_views: tuple[PosedPicture, PosedPicture]) -> None:
    """Points of the first picture, seen by the second camera by plain projection, have the second picture's depth and
    look alike wherever nothing stands before them."""
    one, two = two_views
    rows, columns = np.mgrid[:40, :40]
    focal, middle = one.camera.focal[0], one.camera.centre[0]
    ray = np.stack([(columns + 0.5 - middle) / focal, -(rows + 0.5 - middle) / focal, -np.ones((40, 40))], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    assert one.depth is not None and two.depth is not None
    points = (ray * one.depth[..., None]) @ one.camera.pose[:, :3].T + one.camera.pose[:, 3]
    low, high = np.array([-2.4, -2.0, 0.0]), np.array([2.4, 2.0, 2.5])
    assert (points > low - 1e-3).all() and (points < high + 1e-3).all()
    local = (points - two.camera.pose[:, 3]) @ two.camera.pose[:, :3]
    column = np.floor(-local[..., 0] / local[..., 2] * focal + middle).astype(int)
    row = np.floor(local[..., 1] / local[..., 2] * focal + middle).astype(int)
    seen = (local[..., 2] < -0.1) & (column >= 0) & (column < 40) & (row >= 0) & (row < 40)
    assert seen.mean() > 0.5
    distance, there = np.linalg.norm(local[seen], axis=1), (row[seen], column[seen])
    close = np.abs(two.depth[there] - distance) < 0.15
    assert close.mean() > 0.8
    difference = np.abs(two.image[there][close].astype(int) - one.image[seen][close]).mean()
    shuffled = np.abs(two.image[there][close][::-1].astype(int) - one.image[seen][close]).mean()
    assert difference < 20 < shuffled


def test_pictures_have_contrast_and_colour(two_views: tuple[PosedPicture, PosedPicture]) -> None:
    image = two_views[0].image.astype(float)
    assert image.std() > 35 and 60 < image.mean() < 200
    assert np.abs(image[..., 0] - image[..., 2]).mean() > 15


@pytest.mark.parametrize(
    "texture",
    [
        plain((0.5, 0.4, 0.3), 1),
        planks((0.5, 0.3, 0.2), 2),
        wood((0.5, 0.3, 0.2), 3),
        stripes((1, 0, 0), (0, 0, 1), 0.1),
        bricks((0.6, 0.3, 0.2), (0.7, 0.7, 0.7), 4),
        checks((1, 1, 1), (0, 0, 0), 0.1),
        rug((2.4, 1.7), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        painting((0.9, 0.6), 5),
        window((1.4, 1.2), 6),
        screen((1.0, 0.6), 7),
    ],
)
def test_textures_are_colours_that_vary(texture: object) -> None:
    at = np.random.default_rng(0).uniform(-0.6, 0.6, (500, 2)).astype(np.float32)
    colour = texture(at)  # type: ignore[operator]
    assert colour.shape == (500, 3) and colour.dtype == np.float32
    assert colour.min() >= 0 and colour.max() <= 1.3 and colour.std(0).max() > 0.01
    assert np.array_equal(colour, texture(at))  # type: ignore[operator]
