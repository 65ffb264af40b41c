"""Captions by hand: the frame's median, the nearest colour, the words."""

from __future__ import annotations

import numpy as np
import pytest

from attacker.attacks.image.prior_training.captions import (
    COLOURS,
    SHARES,
    TEMPLATES,
    all_captions,
    background,
    caption,
    frame_median,
    position,
)


def test_background_is_the_frame_and_not_what_stands_in_it() -> None:
    image = np.zeros((1, 32, 32, 3), np.uint8)
    image[:] = COLOURS["light blue"]
    image[0, 3:-3, 3:-3] = COLOURS["red"]  # 676 of 1,024 pixels
    assert list(COLOURS)[background(image)[0]] == "light blue"
    image[0, 2:-2, 2:-2] = COLOURS["red"]  # now red is 108 of the frame's 348: still no majority
    assert list(COLOURS)[background(image)[0]] == "light blue"
    image[0, 1:-1, 1:-1] = COLOURS["red"]  # 224 of 348
    assert list(COLOURS)[background(image)[0]] == "red"


def test_median_is_taken_channel_by_channel() -> None:
    # A frame of 348 pixels: the first 120 in reading order are (10, 200, 0), the rest (30, 90, 110).
    image = np.zeros((1, 32, 32, 3), np.uint8)
    frame = [(y, x) for y in range(32) for x in range(32) if min(y, x, 31 - y, 31 - x) < 3]
    assert len(frame) == 348
    for number, (y, x) in enumerate(frame):
        image[0, y, x] = (10, 200, 0) if number < 120 else (30, 90, 110)
    assert frame_median(image).tolist() == [[30, 90, 110]]
    # Squared distances: dark blue (24, 44, 84) 2,828; blue (56, 100, 160) 3,276; dark gray (64, 64, 64) 3,948.
    assert list(COLOURS)[background(image)[0]] == "dark blue"


@pytest.mark.parametrize("name", COLOURS)
def test_a_colour_is_nearest_to_itself(name: str) -> None:
    image = np.full((1, 32, 32, 3), COLOURS[name], np.uint8)
    assert list(COLOURS)[background(image)[0]] == name


def test_captions_as_they_read() -> None:
    assert caption(3, list(COLOURS).index("dark blue")) == "a photo of a cat, dark blue background"
    assert caption(0, 0, template=1) == "a photo of an airplane"
    assert caption(1, list(COLOURS).index("tan")) == "a photo of an automobile, tan background"
    assert caption(9, list(COLOURS).index("white"), template=2) == "a photo, white background"
    assert caption(9, 0, template=3) == ""


def test_every_caption_has_its_place() -> None:
    captions = all_captions()
    rng = np.random.default_rng(0)
    labels, colours, templates = (
        rng.integers(10, size=50),
        rng.integers(len(COLOURS), size=50),
        rng.integers(4, size=50),
    )
    for i, place in enumerate(position(labels, colours, templates)):
        assert captions[place] == caption(int(labels[i]), int(colours[i]), int(templates[i]))
    assert sum(SHARES) == pytest.approx(1) and len(SHARES) == len(TEMPLATES)
