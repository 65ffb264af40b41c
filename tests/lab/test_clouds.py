"""What a page carries: decoded again, it is the cloud."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image as Pillow

from lab.clouds import ERROR_SPAN_M, box_of, packed, thin, within
from victims.view import Image, Points, Text


def cloud(n: int, seed: int = 0) -> Points:
    xyz = np.random.default_rng(seed).uniform((0, -40, -3), (70, 40, 1), (n, 3)).astype(np.float32)
    return Points(xyz, xyz[:, 2].copy(), "height (m)", (-3.0, 1.0))


def decoded(found: dict[str, Any], key: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(found[key]), kind)


def test_positions_come_back_within_a_millimetre() -> None:
    picture = cloud(500)
    found = packed(picture, np.random.default_rng(0))
    xyz = decoded(found, "xyz", "<u2").reshape(-1, 3) * np.array(found["step"]) + np.array(found["low"])
    assert np.abs(xyz - picture.xyz).max() < 0.001
    assert (found["shown"], found["inside"], found["total"]) == (500, 500, 500)


def test_values_fill_a_byte_over_their_span() -> None:
    picture = Points(np.zeros((4, 3), np.float32), np.array([-9, -3, 1, -1], np.float32), "height (m)", (-3.0, 1.0))
    assert decoded(packed(picture, np.random.default_rng(0)), "value", "u1").tolist() == [0, 0, 255, 128]


def test_thinning_keeps_order_and_says_how_many_there_were() -> None:
    picture = cloud(1000)
    few = thin(picture, 100, np.random.default_rng(0))
    places = [int(np.flatnonzero((picture.xyz == row).all(axis=1))[0]) for row in few.xyz]
    assert places == sorted(places)
    assert len(set(places)) == 100
    found = packed(picture, np.random.default_rng(0), limit=100)
    assert (found["shown"], found["total"]) == (100, 1000)


def test_only_what_lies_in_the_box_is_drawn() -> None:
    box = (np.array([0, 0, 0], np.float32), np.array([1, 1, 1], np.float32))
    picture = Points(np.array([[0, 0, 0], [1, 1, 1], [1, 1, 1.1]], np.float32), np.zeros(3, np.float32), "x")
    assert within(picture, box).xyz.tolist() == [[0, 0, 0], [1, 1, 1]]
    found = packed(picture, np.random.default_rng(0), box=box)
    assert (found["shown"], found["inside"], found["total"]) == (2, 2, 3)


def test_errors_are_distances_to_the_whole_truth() -> None:
    truth = Points(np.array([[0, 0, 0]], np.float32), np.zeros(1, np.float32), "x")
    rebuilt = Points(np.array([[0, 0, 0], [0.15, 0, 0], [9, 0, 0]], np.float32), np.zeros(3, np.float32), "x")
    found = packed(rebuilt, np.random.default_rng(0), truth=truth)
    assert ERROR_SPAN_M == 0.3
    assert decoded(found, "error", "u1").tolist() == [0, 128, 255]


def test_empty_clouds_texts_and_images() -> None:
    empty = Points(np.zeros((0, 3), np.float32), np.zeros(0, np.float32), "x")
    assert packed(empty, np.random.default_rng(0))["shown"] == 0
    assert box_of(empty) is None
    assert packed(Text("hello"), np.random.default_rng(0)) == {"kind": "text", "text": "hello"}
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = packed(Image(pixels), np.random.default_rng(0))
    png = base64.b64decode(found["url"].removeprefix("data:image/png;base64,"))
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(png))), pixels)


def test_the_same_stream_gives_the_same_picture() -> None:
    first, second = (packed(cloud(300), np.random.default_rng(4), limit=50) for _ in range(2))
    assert first == second
    assert first["xyz"] != packed(cloud(300), np.random.default_rng(5), limit=50)["xyz"]
