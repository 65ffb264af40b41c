from __future__ import annotations

import math

import numpy as np
import pytest

from victims.lidar.average_precision import Objects, average_precision


def at(x: float, *, length: float = 4.0) -> list[float]:
    return [x, 0.0, 0.0, length, 2.0, 1.5, 0.0]


def scan(boxes: list[list[float]], labels: list[int] | None = None, scores: list[float] | None = None) -> Objects:
    return Objects(
        np.array(boxes, dtype=np.float32).reshape(-1, 7),
        np.array(labels if labels is not None else [0] * len(boxes), dtype=np.int64),
        None if scores is None else np.array(scores, dtype=np.float32),
    )


def test_perfect_detections_score_one() -> None:
    truth = [scan([at(0), at(10)]), scan([]), scan([at(5)])]
    found = [scan([at(10), at(0)], scores=[0.2, 0.9]), scan([], scores=[]), scan([at(5)], scores=[0.5])]
    assert average_precision(found, truth, "Car", 0.7) == 1.0


def test_a_false_alarm_between_two_hits() -> None:
    """Scores .9 hit, .8 false, .7 hit, two objects: precision 1 up to recall 1/2, then 2/3 up to recall 1."""
    found = [scan([at(0), at(50), at(10)], scores=[0.9, 0.8, 0.7])]
    expected = (20 * 1 + 20 * 2 / 3) / 40
    assert average_precision(found, [scan([at(0), at(10)])], "Car", 0.7) == pytest.approx(expected)


def test_a_missed_object_cuts_recall() -> None:
    """One of three found: recalls 1/40 .. 13/40 are reached (13/40 < 1/3 < 14/40)."""
    found = [scan([at(0)], scores=[0.9])]
    assert average_precision(found, [scan([at(0), at(10), at(20)])], "Car", 0.7) == pytest.approx(13 / 40)


def test_a_second_detection_of_one_object_is_false() -> None:
    found = [scan([at(0), at(0.1), at(10)], scores=[0.9, 0.8, 0.7])]
    expected = (20 + 20 * 2 / 3) / 40
    assert average_precision(found, [scan([at(0), at(10)])], "Car", 0.5) == pytest.approx(expected)


def test_false_alarms_in_other_scans_count() -> None:
    found = [scan([at(0)], scores=[0.3]), scan([at(0)], scores=[0.9])]
    assert average_precision(found, [scan([at(0)]), scan([])], "Car", 0.7) == pytest.approx(1 / 2)


def test_threshold_and_view() -> None:
    truth = [scan([at(0)])]
    shifted = [scan([at(1)], scores=[0.9])]  # 3 of 5 metres: overlap .6
    assert average_precision(shifted, truth, "Car", 0.6001) == 0.0
    assert average_precision(shifted, truth, "Car", 0.5999) == 1.0
    raised = at(0)
    raised[2] = 0.75  # half of the height: 1/3 in space, 1 from above
    found = [scan([raised], scores=[0.9])]
    assert average_precision(found, truth, "Car", 0.5, "3d") == 0.0
    assert average_precision(found, truth, "Car", 0.5, "bev") == 1.0


def test_classes_do_not_mix() -> None:
    truth = [scan([at(0), at(10)], labels=[0, 1])]
    found = [scan([at(0), at(10)], labels=[0, 0], scores=[0.9, 0.95])]
    assert average_precision(found, truth, "Car", 0.7) == pytest.approx(1 / 2)
    assert average_precision(found, truth, "Pedestrian", 0.5) == 0.0
    assert math.isnan(average_precision(found, truth, "Cyclist", 0.5))


def test_ties_in_score_do_not_depend_on_order() -> None:
    truth = [scan([at(0)])]
    for order in ([at(0), at(50)], [at(50), at(0)]):
        assert average_precision([scan(order, scores=[0.5, 0.5])], truth, "Car", 0.7) == pytest.approx(1 / 2)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="0 scans of detections for 1 scans of truth"):
        average_precision([], [scan([])], "Car", 0.5)
    with pytest.raises(ValueError, match="detections need scores"):
        average_precision([scan([at(0)])], [scan([])], "Car", 0.5)
    with pytest.raises(ValueError, match="no view 'side'"):
        average_precision([], [], "Car", 0.5, "side")  # type: ignore[arg-type]
