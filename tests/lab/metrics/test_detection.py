"""Agreement and AP on boxes whose overlaps can be seen."""

from __future__ import annotations

import numpy as np
import pytest

from lab.metrics.base import Answer
from lab.metrics.detection import agreement, utility
from victims.base import Sample
from victims.lidar.presets import Preset

GRID = Preset("small", (0.0, -8.0, -3.0, 16.0, 8.0, 1.0), (0.05, 0.05, 0.1))


def found(*rows: tuple[float, float, int]) -> dict[str, np.ndarray]:
    """(x, score, label): boxes 4 x 2 x 1.5 m on the x axis."""
    boxes = np.array([[x, 0, -1, 4, 2, 1.5, 0] for x, _, _ in rows], np.float32).reshape(-1, 7)
    return {
        "boxes": boxes,
        "scores": np.array([s for _, s, _ in rows], np.float32),
        "labels": np.array([k for _, _, k in rows], np.int64),
    }


def test_identical_boxes_agree_fully() -> None:
    both = found((5, 0.9, 0), (11, 0.5, 0))
    assert agreement(both, both) == 1.0


def test_one_of_two_kept_and_one_new() -> None:
    # shifted by 1 m along 4 m: overlap 3*2 / (8 + 8 - 6) = .6, a match; the others are alone: 2 * 1 / (2 + 2)
    assert agreement(found((6, 0.9, 0), (15, 0.9, 0)), found((5, 0.9, 0), (11, 0.9, 0))) == 0.5


def test_another_class_a_low_score_or_little_overlap_is_no_match() -> None:
    reference = found((5, 0.9, 0))
    assert agreement(found((5, 0.9, 1)), reference) == 0.0
    assert agreement(found((5, 0.29, 0)), reference) == 0.0
    assert agreement(found((7, 0.9, 0)), reference) == 0.0  # 2*2 / (16 - 4) = 1/3


def test_two_boxes_on_one_object_match_once() -> None:
    assert agreement(found((5, 0.9, 0), (5.1, 0.8, 0)), found((5, 0.9, 0))) == pytest.approx(2 / 3)


def test_nothing_on_both_sides_says_nothing() -> None:
    assert agreement(found(), found((5, 0.1, 0))) is None
    assert agreement(found(), found((5, 0.9, 0))) == 0.0


def test_utility_counts_objects_in_range_only_and_leaves_out_absent_classes() -> None:
    truth = {"boxes": found((5, 1, 0), (40, 1, 0))["boxes"], "labels": np.array([0, 0])}
    answer = Answer(Sample("a", {}, truth), found((5, 0.9, 0)), found((5, 0.9, 0)), "a")
    got = utility([answer], seed=1, grid=GRID)
    assert got["ap_car_70"].mean == 1.0  # the box at 40 m lies beyond the grid
    assert got["agreement"].mean == 1.0
    assert got["reference_boxes"].mean == 1.0
    assert "ap_cyclist_50" not in got


def test_without_reference_and_labels_there_is_no_figure() -> None:
    assert utility([Answer(Sample("a", {}), found((5, 0.9, 0)))], seed=1, grid=GRID) == {}
