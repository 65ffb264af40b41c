from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from victims.lidar.boxes import (
    DIRECTION_OFFSET,
    apply_direction,
    bev_corners,
    bev_overlap,
    decode,
    direction_bin,
    encode,
    iou_3d,
    iou_bev,
    points_in_boxes,
)

angles = st.floats(-10, 10)
box = st.tuples(
    st.floats(-20, 20),
    st.floats(-20, 20),
    st.floats(-3, 1),
    st.floats(0.3, 6),
    st.floats(0.3, 6),
    st.floats(0.3, 3),
    angles,
)


def one(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float64)


def test_corners_of_a_turned_box() -> None:
    corners = bev_corners(one(1, 2, 0, 4, 2, 1, math.pi / 2))[0]
    np.testing.assert_allclose(corners, [[0, 4], [0, 0], [2, 0], [2, 4]], atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "area"),
    [
        ((0, 0, 0, 2, 2, 1, 0), (1, 0, 0, 2, 2, 1, 0), 2.0),
        ((0, 0, 0, 2, 2, 1, 0), (5, 0, 0, 2, 2, 1, 0), 0.0),
        ((0, 0, 0, 2, 2, 1, 0), (2, 0, 0, 2, 2, 1, 0), 0.0),  # they touch
        ((0, 0, 0, 4, 4, 1, 0), (0.3, -0.2, 0, 1, 2, 1, 0.7), 2.0),  # one inside the other
        # A unit square and itself turned by 45 degrees share a regular octagon: area 2 (sqrt 2 - 1).
        ((0, 0, 0, 1, 1, 1, 0), (0, 0, 0, 1, 1, 1, math.pi / 4), 2 * (math.sqrt(2) - 1)),
        # Two crossed bars share a square.
        ((0, 0, 0, 6, 1, 1, 0.3), (0, 0, 0, 6, 1, 1, 0.3 + math.pi / 2), 1.0),
        # A corner of the diamond |x - 1| + |y| <= 1 with the half plane x < 1/2 of a big box: triangle of area 1/4.
        ((-2.5, 0, 0, 6, 6, 1, 0), (1, 0, 0, math.sqrt(2), math.sqrt(2), 1, math.pi / 4), 0.25),
    ],
)
def test_overlap_by_hand(a: tuple[float, ...], b: tuple[float, ...], area: float) -> None:
    assert bev_overlap(one(*a), one(*b))[0, 0] == pytest.approx(area, abs=1e-9)


def test_iou_3d_counts_height() -> None:
    a, b = one(0, 0, 0, 2, 2, 2, 0), one(1, 0, 1, 2, 2, 2, math.pi)
    assert iou_bev(a, b)[0, 0] == pytest.approx(2 / 6)
    assert iou_3d(a, b)[0, 0] == pytest.approx(2 / 14)  # shared: 1 x 2 x 1
    assert iou_3d(a, one(0, 0, 2.5, 2, 2, 2, 0))[0, 0] == 0
    assert iou_3d(np.zeros((0, 7)), b).shape == (0, 1)


@settings(max_examples=60, deadline=None)
@given(box, box, angles, st.floats(-5, 5), st.floats(-5, 5))
def test_overlap_is_symmetric_and_moves_with_both(
    a: tuple[float, ...], b: tuple[float, ...], turn: float, dx: float, dy: float
) -> None:
    pair = np.array([a, b])
    iou = iou_3d(pair, pair)
    np.testing.assert_allclose(iou, iou.T, atol=1e-9)
    np.testing.assert_allclose(np.diag(iou), 1, atol=1e-6)
    assert iou.min() >= 0
    c, s = math.cos(turn), math.sin(turn)
    moved = pair.copy()
    moved[:, :2] = pair[:, :2] @ np.array([[c, s], [-s, c]]) + [dx, dy]
    moved[:, 6] += turn
    np.testing.assert_allclose(iou_3d(moved, moved), iou, atol=1e-7)


def test_overlap_agrees_with_counting_cells() -> None:
    """Independent of any polygon clipping: the share of a fine lattice that lies in both."""
    rng = np.random.default_rng(0)
    ticks = (np.arange(400) + 0.5) / 400 * 10 - 5
    lattice = np.stack([*np.meshgrid(ticks, ticks), np.zeros((400, 400))], axis=-1).reshape(-1, 3)
    for _ in range(10):
        pair = np.concatenate([rng.uniform(-1, 1, (2, 2)), np.zeros((2, 1)), rng.uniform(1, 5, (2, 3))], axis=1)
        pair = np.concatenate([pair, rng.uniform(-4, 4, (2, 1))], axis=1)
        inside = points_in_boxes(lattice, pair)
        counted = (inside[0] & inside[1]).sum() * (10 / 400) ** 2
        assert bev_overlap(pair[:1], pair[1:])[0, 0] == pytest.approx(counted, abs=0.05)


def test_points_in_a_turned_box() -> None:
    points = np.array([[1, 1.9, 0], [1, 2.1, 0], [1.9, 1, 0], [1.4, 1, 0], [1, 1, 0.6]], dtype=np.float32)
    turned = one(1, 1, 0, 2, 1, 1, math.pi / 2)
    assert points_in_boxes(points, turned).tolist() == [[True, False, False, True, False]]


@settings(max_examples=60, deadline=None)
@given(box, box)
def test_decode_inverts_encode(goal: tuple[float, ...], anchor: tuple[float, ...]) -> None:
    boxes, anchors = torch.tensor([goal], dtype=torch.float64), torch.tensor([anchor], dtype=torch.float64)
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes)


def test_code_by_hand() -> None:
    anchor = torch.tensor([10.0, 5.0, -1.0, 3.0, 4.0, 2.0, 0.5])  # diagonal 5
    goal = torch.tensor([15.0, 0.0, 0.0, 6.0, 4.0, 1.0, 0.7])
    expected = torch.tensor([1.0, -1.0, 0.5, math.log(2), 0.0, -math.log(2), 0.2])
    torch.testing.assert_close(encode(goal, anchor), expected)


def test_codes_out_of_reason_stay_finite() -> None:
    anchor = torch.tensor([10.0, 5.0, -1.0, 3.0, 4.0, 2.0, 0.5])
    assert torch.isfinite(decode(torch.full((7,), 1e4), anchor)).all()


@given(angles)
def test_direction_restores_a_heading_known_up_to_half_turns(heading: float) -> None:
    angle = torch.tensor(heading, dtype=torch.float64)
    half = torch.remainder(angle - DIRECTION_OFFSET, torch.pi)
    # On the border between two bins either is right.
    if min(float(half), math.pi - float(half)) < 1e-6:
        return
    bins = direction_bin(angle)
    for turns in (-2, 0, 1, 3):
        restored = apply_direction(angle + turns * math.pi, bins)
        assert math.cos(float(restored) - heading) == pytest.approx(1, abs=1e-9)


def test_direction_bins_by_hand() -> None:
    headings = torch.tensor([0.0, math.pi / 2, math.pi, -math.pi / 2])  # offset is just below 45 degrees
    assert direction_bin(headings).tolist() == [1, 0, 0, 1]
