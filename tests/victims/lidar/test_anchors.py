from __future__ import annotations

import numpy as np
import pytest
import torch

from victims.lidar.anchors import anchors, assign, class_index, nearest_bev_iou
from victims.lidar.boxes import iou_bev
from victims.lidar.presets import PRESETS, Preset


def test_anchors_lie_at_cell_centres() -> None:
    grid = anchors(PRESETS["street"])
    assert grid.shape == (64, 64, 6, 7)
    torch.testing.assert_close(grid[0, 0, 0, :2], torch.tensor([0.2, -12.6]))
    torch.testing.assert_close(grid[63, 1, 5, :2], torch.tensor([0.6, 12.6]))
    torch.testing.assert_close(grid[9, 9, 1, 2:], torch.tensor([-1.78 + 0.78, 3.9, 1.6, 1.56, 1.57]))
    torch.testing.assert_close(grid[9, 9, 2, 2:], torch.tensor([-0.6 + 0.865, 0.8, 0.6, 1.73, 0.0]))
    torch.testing.assert_close(grid[9, 9, 4, 3:], torch.tensor([1.76, 0.6, 1.73, 0.0]))


def test_published_checkpoints_expect_anchors_from_border_to_border() -> None:
    grid = anchors(PRESETS["kitti"], align_center=False)
    torch.testing.assert_close(grid[0, :, 0, 0], torch.linspace(0, 70.4, 176))
    torch.testing.assert_close(grid[:, 0, 0, 1], torch.linspace(-40, 40, 200))


def test_a_window_has_the_anchors_of_the_range_it_is_cut_from() -> None:
    window = Preset("window", (8.0, -12.0, -3.0, 16.0, -4.0, 1.0))
    whole = anchors(PRESETS["kitti"])
    torch.testing.assert_close(anchors(window), whole[70:90, 20:40])


def test_nearest_overlap_is_exact_for_boxes_along_the_axes() -> None:
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(-2, 2, (8, 3)), rng.uniform(1, 4, (8, 3)), np.zeros((8, 1))], axis=1)
    boxes[:, 6] = rng.integers(-4, 4, 8) * np.pi / 2
    ours = nearest_bev_iou(torch.from_numpy(boxes), torch.from_numpy(boxes))
    np.testing.assert_allclose(ours.numpy(), iou_bev(boxes, boxes), atol=1e-9)


def test_an_object_on_an_anchor_is_found_by_it_alone_in_its_class() -> None:
    grid = anchors(PRESETS["street"])
    car = grid[20, 30, 0].clone()
    targets = assign(grid, car[None], torch.tensor([0]))
    label = targets.label.reshape(64, 64, 6)
    assert label[20, 30, 0] == 1
    assert (label[..., 2:] == 0).all()
    # One cell along the car (.4 m of 3.9): overlap 3.5 / 4.3 = .81, positive; two cells: 3.1 / 4.7 = .66, positive;
    # three: 2.7 / 5.1 = .53, nothing asked; four: 2.3 / 5.5 = .42, negative.
    assert label[20, 30:35, 0].tolist() == [1, 1, 1, -1, 0]
    # Across it (.4 m of 1.6): 1.2 / 2 = .6 is the border; two cells .8 / 2.4 = .33, negative.
    assert label[22, 30, 0] == 0
    # Turned by 90 degrees: 1.6 x 1.6 of 2 x 6.24 - 2.56 = .26, negative.
    assert label[20, 30, 1] == 0
    assert torch.equal(targets.box.reshape(64, 64, 6, 7)[20, 32, 0], car)
    assert torch.equal(targets.box.reshape(64, 64, 6, 7)[40, 40], grid[40, 40])


def test_an_object_between_anchors_still_gets_its_best_one() -> None:
    """A pedestrian of .5 x .5 m overlaps no .8 x .6 anchor by half, yet one must answer for it."""
    grid = anchors(PRESETS["street"])
    walker = torch.tensor([[10.0, 0.0, -0.8, 0.4, 0.4, 1.7, 0.3]])
    iou = nearest_bev_iou(grid.reshape(-1, 7), walker)
    assert iou.max() < 0.5
    label = assign(grid, walker, torch.tensor([1])).label.reshape(64, 64, 6)
    positive = torch.nonzero(label > 0)
    assert len(positive) > 0
    assert set(positive[:, 2].tolist()) <= {2, 3}
    assert (label[label > 0] == 2).all()
    assert ((positive[:, :2].float() + 0.5) * 0.4 - torch.tensor([12.8, 10.0])).norm(dim=1).max() < 0.6


def test_no_objects_means_all_negative() -> None:
    targets = assign(anchors(PRESETS["street"]), torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64))
    assert (targets.label == 0).all()


def test_unknown_class_names_the_known() -> None:
    assert class_index("Cyclist") == 2
    with pytest.raises(ValueError, match="no class 'Tram'; the detector knows Car, Pedestrian, Cyclist"):
        class_index("Tram")
