from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional

from victims.lidar import sparse
from victims.lidar.anchors import Targets, anchors, assign
from victims.lidar.backbone import SPLITS, VoxelBackBone8x
from victims.lidar.boxes import decode, encode
from victims.lidar.losses import detection_loss, sigmoid_focal
from victims.lidar.presets import PRESETS, Preset
from victims.lidar.second import PRIOR, SECOND, height_compression
from victims.lidar.voxels import Sites, collate, voxelize

Scene = Callable[[int], np.ndarray]


@pytest.fixture(scope="module")
def detector(tiny_backbone: VoxelBackBone8x) -> SECOND:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SECOND()
    network.backbone_3d.load_state_dict(tiny_backbone.state_dict())
    return network.eval().requires_grad_(False)


def test_parameters_are_those_of_the_published_network(detector: SECOND) -> None:
    assert sum(p.numel() for p in detector.parameters()) == 5_325_576
    assert sum(p.numel() for p in detector.backbone.parameters()) == 711_872
    assert sum(p.numel() for p in detector.backbone_2d.blocks.parameters()) == 4_280_832
    assert sum(p.numel() for p in detector.backbone_2d.deblocks.parameters()) == 295_936
    assert sum(p.numel() for p in detector.dense_head.parameters()) == 36_936
    shapes = {name: tuple(p.shape) for name, p in detector.named_parameters()}
    # Names of OpenPCDet's BaseBEVBackbone: ZeroPad2d is blocks.N.0, so its first convolution is blocks.N.1.
    assert shapes["backbone_2d.blocks.0.1.weight"] == (128, 256, 3, 3)
    assert shapes["backbone_2d.blocks.0.17.bias"] == (128,)
    assert shapes["backbone_2d.blocks.1.1.weight"] == (256, 128, 3, 3)
    assert shapes["backbone_2d.blocks.1.16.weight"] == (256, 256, 3, 3)
    assert shapes["backbone_2d.deblocks.1.0.weight"] == (256, 256, 2, 2)
    assert shapes["dense_head.conv_cls.bias"] == (18,)
    assert shapes["dense_head.conv_box.weight"] == (42, 512, 1, 1)
    assert shapes["dense_head.conv_dir_cls.weight"] == (12, 512, 1, 1)


def test_height_compression_is_channel_major() -> None:
    """Channel c at height z lands in map channel 2 c + z, as a view of (C, Z, Y, X) gives."""
    sites = Sites(torch.tensor([[5.0, 6.0, 7.0]]), torch.tensor([[0, 1, 0, 3]], dtype=torch.int32), (2, 2, 4))
    bev = height_compression(sites)
    assert bev.shape == (1, 6, 2, 4)
    assert bev[0, :, 0, 3].tolist() == [0, 5, 0, 6, 0, 7]
    assert bev.sum().item() == 18


def test_predictions_follow_the_anchors(detector: SECOND, tiny: Preset, scene: Scene) -> None:
    """Row y, column x, slot a of the head's output is entry (y * X + x) * 6 + a: that of the flattened anchors."""
    with torch.no_grad():
        encoded = detector.backbone(voxelize(scene(1), tiny))
        bev = detector.backbone_2d(height_compression(encoded))
        logits, codes, directions = detector.predict(encoded)
        maps = detector.dense_head.conv_cls(bev), detector.dense_head.conv_box(bev)
    assert logits.shape == (1, 16 * 16 * 6, 3)
    assert codes.shape == (1, 16 * 16 * 6, 7)
    assert directions.shape == (1, 16 * 16 * 6, 2)
    y, x, slot = 3, 11, 4
    entry = (y * 16 + x) * 6 + slot
    torch.testing.assert_close(logits[0, entry], maps[0][0, slot * 3 : slot * 3 + 3, y, x])
    torch.testing.assert_close(codes[0, entry], maps[1][0, slot * 7 : slot * 7 + 7, y, x])


def test_detections_are_what_the_maps_say(detector: SECOND, tiny: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two objects painted into the raw maps come out, oriented; one below the score and one covered do not."""
    grid = anchors(tiny).reshape(-1, 7)
    logits = torch.full((1, len(grid), 3), -8.0)
    codes, directions = torch.zeros(1, len(grid), 7), torch.zeros(1, len(grid), 2)
    car, walker = (5 * 16 + 7) * 6 + 0, (12 * 16 + 2) * 6 + 3
    goal = torch.stack([grid[car], grid[walker]])
    goal[:, 0] += 0.1
    goal[0, 6] = 0.2 + math.pi  # points backwards: only the direction output knows
    goal[1, 6] = 1.4
    codes[0, car], codes[0, walker] = encode(goal, grid[[car, walker]])
    codes[0, car, 6] -= math.pi
    logits[0, car, 0], logits[0, walker, 1] = 2.0, 1.0
    logits[0, car + 6, 0] = 1.5  # the next cell sees the car too
    logits[0, 40, 2] = -3.0  # 4.7 %
    directions[0, car] = torch.tensor([1.0, 0.0])
    monkeypatch.setattr(detector, "predict", lambda encoded: (logits, codes, directions))
    empty = Sites(torch.zeros(0, 128), torch.zeros(0, 4, dtype=torch.int32), (2, 16, 16))
    (found,) = detector.detect(empty, tiny)
    assert found["labels"].tolist() == [0, 1]
    torch.testing.assert_close(found["scores"], torch.tensor([2.0, 1.0]).sigmoid())
    torch.testing.assert_close(found["boxes"][:, :6], goal[:, :6])
    assert math.cos(float(found["boxes"][0, 6] - goal[0, 6])) == pytest.approx(1, abs=1e-5)
    assert math.cos(float(found["boxes"][1, 6] - goal[1, 6])) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("split", ["conv2.0", "conv3", "conv_out"])
def test_detections_of_the_split_network_equal_the_whole(
    split: str, detector: SECOND, tiny: Preset, scene: Scene
) -> None:
    voxels = collate([voxelize(scene(1), tiny), voxelize(scene(2), tiny)])
    with torch.no_grad(), sparse.one_thread():
        whole = detector.detect(detector.backbone(voxels), tiny, score=0.001)
        encoded = detector.backbone.tail(detector.backbone.head(voxels, split), split)
        halves = detector.detect(encoded, tiny, score=0.001)
    assert [len(scan["scores"]) for scan in whole] == [len(scan["scores"]) for scan in halves]
    assert len(whole[0]["scores"]) > 0
    for ours, theirs in zip(halves, whole, strict=True):
        for name in ("boxes", "scores", "labels"):
            assert torch.equal(ours[name], theirs[name])
        assert ours["labels"].dtype == torch.int64


def test_an_empty_scan_is_answered(detector: SECOND, tiny: Preset) -> None:
    (found,) = detector.detect(detector.backbone(voxelize(np.zeros((0, 4)), tiny)), tiny, score=0.9)
    assert found["boxes"].shape == (0, 7)
    with pytest.raises(ValueError, match="do not belong to preset street"):
        detector.detect(detector.backbone(voxelize(np.zeros((0, 4)), tiny)), PRESETS["street"])
    assert SPLITS["conv_out"].grid(PRESETS["street"])[1:] == PRESETS["street"].bev


def test_focal_loss_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3), math.log(3)])  # p = 1/2, 3/4, 3/4
    targets = torch.tensor([1.0, 1.0, 0.0])
    expected = [0.25 * 0.25 * math.log(2), 0.25 * 0.0625 * math.log(4 / 3), 0.75 * 0.5625 * math.log(4)]
    torch.testing.assert_close(sigmoid_focal(logits, targets), torch.tensor(expected))
    plain = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(sigmoid_focal(logits, targets, alpha=0.5, gamma=0.0), plain / 2)


def test_loss_by_hand() -> None:
    """One positive, one negative, one anchor of which nothing is asked."""
    grid = torch.tensor([[0.0, 0, 0, 3, 4, 2, 0]]).repeat(3, 1)
    goal = torch.tensor([1.0, 0, 0, 3, 4, 2, 2.0])  # code .2 along x; heading 2 is bin 0 (45 to 225 degrees)
    targets = Targets(torch.tensor([1, 0, -1]), torch.stack([goal, grid[1], grid[2]]))
    logits = torch.zeros(3, 3)
    codes = torch.zeros(3, 7)
    codes[0, 6] = 2.0 + math.pi  # half a turn off: no box loss
    directions = torch.tensor([[0.0, math.log(3)], [9.0, 9], [9.0, 9]])
    loss = detection_loss(logits, codes, directions, grid, targets)
    focal_positive, focal_negative = 0.25 * 0.25 * math.log(2), 0.75 * 0.25 * math.log(2)
    assert loss.classes.item() == pytest.approx(focal_positive + 5 * focal_negative)
    assert loss.boxes.item() == pytest.approx(2 * (0.2 - 0.5 / 9), abs=1e-5)  # smooth L1 beyond beta
    assert loss.directions.item() == pytest.approx(0.2 * math.log(4))
    assert loss.total.item() == pytest.approx((loss.classes + loss.boxes + loss.directions).item())


def test_loss_is_least_at_the_answer_and_finite_without_objects() -> None:
    grid = anchors(Preset("cell", (0.0, 0.0, -3.0, 3.2, 3.2, 1.0)))
    boxes = torch.tensor([[1.5, 1.4, -1.0, 3.8, 1.7, 1.5, 0.1]])
    targets = assign(grid, boxes, torch.tensor([0]))
    flat = grid.reshape(-1, 7)
    logits = torch.full((len(flat), 3), -9.0)
    logits[targets.label == 1, 0] = 9.0
    answer = encode(targets.box, flat)
    torch.testing.assert_close(decode(answer, flat), targets.box)
    perfect = detection_loss(logits, answer, torch.tensor([[-9.0, 9.0]]).repeat(len(flat), 1), flat, targets)
    assert perfect.total.item() < 1e-3
    nothing = assign(grid, torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64))
    start = detection_loss(
        torch.full((len(flat), 3), PRIOR), torch.zeros_like(flat), torch.zeros(len(flat), 2), flat, nothing
    )
    assert start.boxes.item() == start.directions.item() == 0
    assert start.classes.item() == pytest.approx(len(flat) * 3 * 0.75 * 0.01**2 * -math.log(0.99), rel=1e-3)
