"""Pictures as JSON say what the arrays said."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from console.pictures import Palette, packed, spread
from victims.view import Image, Points, Text


def unpacked(told: dict[str, Any]) -> np.ndarray:
    raw = np.frombuffer(base64.b64decode(told["xyz"]), "<u2").reshape(-1, 3)
    return np.asarray(told["low"]) + raw * np.asarray(told["step"])


def cloud(n: int, seed: int = 0, span: tuple[float, float] | None = (0.0, 1.0)) -> Points:
    rng = np.random.default_rng(seed)
    return Points(rng.uniform(-50, 50, (n, 3)).astype(np.float32), rng.random(n).astype(np.float32), "height (m)", span)


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 200), st.integers(0, 5))
def test_points_come_back_within_half_a_step(n: int, seed: int) -> None:
    picture = cloud(n, seed)
    told = packed(picture, (0.0, 1.0), 1000, np.random.default_rng(0))
    assert (told["shown"], told["total"]) == (n, n)
    assert (np.abs(unpacked(told) - picture.xyz) < np.asarray(told["step"]) * 0.51 + 1e-5).all()
    values = np.frombuffer(base64.b64decode(told["value"]), np.uint8)
    np.testing.assert_allclose(values / 255, picture.value, atol=0.5 / 255 + 1e-6)


def test_a_large_cloud_is_thinned_to_points_of_its_own() -> None:
    picture = cloud(5000)
    told = packed(picture, (0.0, 1.0), 600, np.random.default_rng(0))
    assert (told["shown"], told["total"]) == (600, 5000)
    distance = np.linalg.norm(unpacked(told)[:, None] - picture.xyz[None], axis=2).min(axis=1)
    assert distance.max() < 0.003


def test_an_image_is_a_png_of_the_same_pixels_and_a_text_a_text() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    told = packed(Image(pixels), None, 10, np.random.default_rng(0))
    data = base64.b64decode(told["url"].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(data))), pixels)
    assert packed(Text("nothing to see"), None, 10, np.random.default_rng(0)) == {
        "kind": "text",
        "text": "nothing to see",
    }


def test_colours_keep_the_values_they_began_with_so_that_noise_shows() -> None:
    palette = Palette()
    quiet, loud = cloud(500, span=None), cloud(500, seed=1, span=None)
    loud = Points(loud.xyz, loud.value * 10, loud.value_name)
    first = palette.span("payload", quiet)
    assert palette.span("payload", loud) == first
    assert palette.span("truth", loud) != first
    assert palette.span("payload", cloud(5, span=(2.0, 3.0))) == (2.0, 3.0)
    palette.forget()
    assert palette.span("payload", loud)[1] > 5 * first[1]


def test_a_thinned_scan_keeps_its_thin_parts() -> None:
    rng = np.random.default_rng(3)
    ground = rng.uniform([0, -2, -1.7], [4, 2, -1.6], (20_000, 3))  # in some 5,000 cells
    post = np.column_stack([np.full(30, 20.0), np.full(30, 3.0), np.linspace(-1.5, 1.5, 30)])
    xyz = np.concatenate([ground, post]).astype(np.float32)
    keep = spread(xyz, 12_000, rng)
    assert len(keep) == len(np.unique(keep)) == 12_000
    assert (keep >= 20_000).sum() == 30  # a plain draw would leave 18 of them
    assert len(spread(xyz, 100, rng)) == 100
    np.testing.assert_array_equal(spread(xyz[:50], 100, rng), np.arange(50))
