"""Procedural pictures: the same for a seed, another for another, and a camera that moves."""

from __future__ import annotations

from itertools import islice, pairwise

import numpy as np
import pytest

from victims.image.scenes import FRAMES_PER_SCENE, picture, pictures, scene


def test_a_seed_gives_the_same_pictures_whatever_came_before() -> None:
    late = list(islice(pictures(5, 32, 0), 20))[-1]
    assert late[:2] == ("scene-0002/03", 2)
    assert np.array_equal(late[2], picture(scene(5, 2), 32, 3))


def test_no_two_scenes_or_seeds_are_alike() -> None:
    drawn = [picture(scene(seed, number), 32).tobytes() for seed in range(4) for number in range(16)]
    assert len(set(drawn)) == 64


@pytest.mark.parametrize("side", [8, 32, 97])
def test_any_side(side: int) -> None:
    drawn = picture(scene(0, 1), side)
    assert (drawn.shape, drawn.dtype) == ((side, side, 3), np.uint8)
    assert drawn.std() > 10


def test_a_scene_is_nearer_to_itself_than_to_others() -> None:
    frames = [(which, image.astype(float)) for _, which, image in pictures(1, 32, 6 * FRAMES_PER_SCENE)]
    step = [np.square(b - a).mean() for (one, a), (two, b) in pairwise(frames) if one == two]
    jump = [np.square(b - a).mean() for (one, a), (two, b) in pairwise(frames) if one != two]
    assert min(step) > 0, "the camera stands still"
    assert np.median(step) < 0.5 * np.median(jump)
