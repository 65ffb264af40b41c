from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from victims.lidar.boxes import iou_bev
from victims.lidar.nms import rotated_nms


def row(x: float, heading: float = 0.0) -> list[float]:
    return [x, 0.0, 0.0, 4.0, 2.0, 1.5, heading]


def test_by_hand() -> None:
    # 0 and 1 overlap by 3 x 2 of 10 (.6); 2 is far; 3 is 1 turned by half a turn, the same footprint.
    boxes = torch.tensor([row(0), row(1), row(20), row(1, np.pi)])
    scores = torch.tensor([0.5, 0.9, 0.1, 0.8])
    assert rotated_nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert rotated_nms(boxes, scores, 0.7).tolist() == [1, 0, 2]
    assert rotated_nms(boxes, scores, 0.7, post=2).tolist() == [1, 0]
    assert rotated_nms(boxes, scores, 0.7, pre=2).tolist() == [1]


def test_headings_count() -> None:
    """Crossed boxes of 4 x 2 share 2 x 2 of 12 (a third); an axis-aligned hull would call them equal at 45 degrees."""
    boxes = torch.tensor([row(0), row(0, np.pi / 2)])
    scores = torch.tensor([0.9, 0.8])
    assert rotated_nms(boxes, scores, 0.34).tolist() == [0, 1]
    assert rotated_nms(boxes, scores, 0.33).tolist() == [0]


def test_nothing_in_nothing_out_and_bad_bounds() -> None:
    assert rotated_nms(torch.zeros(0, 7), torch.zeros(0), 0.1).tolist() == []
    with pytest.raises(ValueError, match="post=0"):
        rotated_nms(torch.zeros(0, 7), torch.zeros(0), 0.1, post=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.floats(0.0, 0.9))
def test_kept_boxes_are_apart_and_dropped_ones_are_covered(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(-6, 6, (count, 3)), rng.uniform(1, 4, (count, 3))], axis=1)
    boxes = np.concatenate([boxes, rng.uniform(-4, 4, (count, 1))], axis=1)
    scores = rng.random(count)
    kept = rotated_nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).numpy()
    assert (np.diff(scores[kept]) <= 0).all()
    iou = iou_bev(boxes, boxes)
    among = iou[np.ix_(kept, kept)] - np.eye(len(kept))
    assert among.max(initial=0) <= threshold + 1e-9
    for dropped in np.setdiff1d(np.arange(count), kept):
        better = kept[scores[kept] >= scores[dropped]]
        assert iou[dropped, better].max() > threshold
