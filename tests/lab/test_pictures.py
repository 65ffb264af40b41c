"""Still pictures: where points land, and that what is drawn is seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.pictures import AIM, EYE, FIELD_OF_VIEW_DEG, project, side_by_side
from victims.view import Points
from wire.errors import InputError


def points(*rows: tuple[float, float, float]) -> Points:
    xyz = np.array(rows, np.float32).reshape(-1, 3)
    return Points(xyz, xyz[:, 2].copy(), "height", (-2.0, 2.0))


def test_the_aim_is_the_middle_and_left_is_left() -> None:
    plane, depth = project(np.array([AIM, (14, 5, -1.5), (14, 0, 3), (-30, 0, 8)], np.float32))
    assert plane[0] == pytest.approx((0, 0), abs=1e-6)
    assert depth[0] == pytest.approx(np.linalg.norm(np.subtract(AIM, EYE)), rel=1e-6)
    assert plane[1][0] < 0  # y grows to the left
    assert plane[2][1] > 0
    assert np.isnan(plane[3]).all()  # behind the camera


def test_half_the_field_of_view_is_one() -> None:
    # straight ahead along x from the origin: a point at x = 10 and y = -10 tan(half) lies on the right border
    side = -10 * np.tan(np.deg2rad(FIELD_OF_VIEW_DEG / 2))
    plane, _ = project(np.array([[10, side, 0]], np.float32), eye=(0, 0, 0), aim=(1, 0, 0))
    assert plane[0] == pytest.approx((1, 0), abs=1e-6)


def test_a_camera_cannot_look_straight_down() -> None:
    with pytest.raises(ValueError, match="straight up or down"):
        project(np.zeros((1, 3), np.float32), eye=(0, 0, 5), aim=(0, 0, 0))


def test_every_cloud_is_drawn_in_its_column(tmp_path: Path) -> None:
    cloud = points(*[(x, y, -1.7) for x in range(5, 25) for y in range(-10, 11)])
    path = side_by_side(tmp_path / "a.png", [("truth", cloud), ("nothing", points())], dots_per_inch=50)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    body = np.abs(pixels - pixels[-1, -1]).sum(axis=2)[30:] > 60  # below the titles
    half = body.shape[1] // 2
    assert body[:, :half].sum() > 200  # 420 points, twice, some on one pixel
    assert body[:, half:].sum() == 0
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"panels": []}, "no cloud"),
        ({"views": ("below",)}, "accepted: behind, above"),
        ({"theme": "sepia"}, "dark, light"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    full = {"panels": [("a", points())], **arguments}
    with pytest.raises(InputError, match=message):
        side_by_side(tmp_path / "a.png", **full)  # type: ignore[arg-type]
