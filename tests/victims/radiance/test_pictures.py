"""Which held-out views are rendered when, and what they are compared with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.victims.radiance.exchanging import SMALL
from victims.radiance.batch import batch_of
from victims.radiance.pictures import Pictures, held_out, pictures, stream
from victims.radiance.room import room
from victims.radiance.scene import Scene, every
from victims.radiance.victim import SPLITNERF
from wire.errors import InputError


@pytest.fixture(scope="module")
def scene() -> Scene:
    return replace(room(0, side=12, views=9), held_out=every(9, 3))


def told(scene: Scene, asked: Pictures, first: int = 0, steps: int = 7) -> list[str]:
    """``0 1 2`` for steps, ``v1@3`` for view 1 after three steps."""
    found = []
    for sample in stream(scene, replace(SMALL, steps=steps), asked, first):
        step, view = sample.meta["step"], sample.meta["view"]
        found.append(str(step) if "colours" in sample.arrays else f"v{view}@{step}")
    return found


def test_pictures_stand_between_the_steps_they_follow(scene: Scene) -> None:
    assert told(scene, Pictures()) == list("0123456")
    assert told(scene, Pictures(pictures=-1)) == [*"0123456", "v0@7", "v1@7", "v2@7"]
    assert told(scene, Pictures(pictures=99)) == [*"0123456", "v0@7", "v1@7", "v2@7"]
    curve = [*"012", "v0@3", "v1@3", *"345", "v0@6", "v1@6", *"6", "v0@7"]
    assert told(scene, Pictures(pictures=1, curve_every=3)) == curve
    # Gone on from step 4: what follows is the same. At the last step the longer list counts, not both.
    assert told(scene, Pictures(pictures=1, curve_every=3), first=4) == curve[6:]
    assert told(scene, Pictures(1, 7, 2)) == [*"0123456", "v0@7", "v1@7"]


def test_views_are_spread_over_all_that_are_held_out() -> None:
    assert Pictures(pictures=3).after(9, 9, 8) == [0, 2, 5]  # floor of 0, 8/3, 16/3
    assert Pictures(pictures=3).after(8, 9, 8) == []


def test_a_picture_asks_for_every_pixel_and_keeps_its_truth(scene: Scene) -> None:
    sample = held_out(scene, 1, 40)
    picture = scene.testing[1]
    batch = batch_of(sample)
    assert not batch.train and (batch.step, batch.view) == (40, 1) and sample.name == picture.name
    assert batch.pixels.tolist() == list(range(picture.camera.pixels))
    assert np.array_equal(sample.truth["image"], picture.image)
    six = np.stack([p.image for number, p in enumerate(scene.pictures) if number % 3])
    assert np.array_equal(sample.truth["mean"], six.mean(axis=0).round().astype(np.uint8))
    assert picture.depth is not None
    # Poses travel in half sides of the box, and so does the depth that is compared with what they render.
    assert np.allclose(sample.truth["depth"] * scene.half, picture.depth) and sample.truth["depth"].dtype == np.float32
    assert set(sample.arrays) == {"pose", "pixels"}


def test_a_mean_of_pictures_of_other_sizes_is_fitted(scene: Scene) -> None:
    small = replace(scene, pictures=[p.resized(6) if n % 3 else p for n, p in enumerate(scene.pictures)])
    assert held_out(small, 0, 0).truth["mean"].shape == scene.testing[0].image.shape


def test_the_victim_streams_them(scene: Scene) -> None:
    settings = {"steps": 3, "rays": 8, "samples": 4, "levels": 2, "side": 12, "views": 5, "pictures": -1}
    every_one = list(SPLITNERF.samples("procedural", settings))
    assert ["colours" in sample.arrays for sample in every_one] == [True] * 3 + [False]
    assert len(list(SPLITNERF.samples("procedural", {**settings, "frames": 2}))) == 2


@pytest.mark.parametrize("value", [-2, 1.5, True, "all"])
def test_what_is_no_number_of_pictures(value: object) -> None:
    with pytest.raises(InputError, match=r"^setting pictures is .*; accepted: a whole number from 0, or -1 for all$"):
        pictures({"pictures": value})  # type: ignore[dict-item]
