"""The readers on real scans, against the counts in the data's own README, and the shipped attack on one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.attacks.lidar.concretizer import Concretizer
from lab.metrics.base import scorer
from victims.lidar import kitti
from victims.lidar.boxes import points_in_boxes
from victims.lidar.victim import SECOND_VICTIM, scan_sample

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def objects(real_data: Path) -> Path:
    return real_data / "lidar" / "kitti_object_training"


def scan(objects: Path, name: str) -> kitti.Scan:
    folder = objects
    file = kitti.ScanFile(
        name, folder / "velodyne" / f"{name}.bin", folder / "label_2" / f"{name}.txt", folder / "calib" / f"{name}.txt"
    )
    return kitti.read_scan(file)


@pytest.mark.parametrize(
    ("name", "points", "inside"),
    [
        ("000008", 122555, {"Car": [6237, 1940, 1041, 668, 164, 53]}),
        ("000003", 113110, {"Car": [680]}),
        ("000005", 125086, {"Pedestrian": [70]}),
        ("000001", 120268, {"Car": [9], "Cyclist": [18]}),
    ],
)
def test_boxes_hold_the_points_that_the_readme_counts(
    objects: Path, name: str, points: int, inside: dict[str, list[int]]
) -> None:
    read = scan(objects, name)
    assert len(read.points) == points
    held = points_in_boxes(read.points, torch.from_numpy(read.boxes)).sum(axis=1)
    found: dict[str, list[int]] = {}
    for label, count in zip(read.labels, held.tolist(), strict=True):
        found.setdefault(label, []).append(int(count))
    # The README counts in the camera's frame, which is tilted against the scanner's by up to a degree.
    assert set(found) == set(inside)
    for label, counts in inside.items():
        assert sorted(found[label], reverse=True) == pytest.approx(counts, rel=0.05, abs=3)


def test_the_splits_name_six_test_scans(real_data: Path) -> None:
    names = [file.name for file in kitti.find_scans(real_data / "lidar")]
    assert names == ["000001", "000002", "000004", "000005", "000008", "000134"]


def test_the_attack_restores_a_real_scan_from_conv3(objects: Path) -> None:
    settings = {"preset": "kitti", "weights": "shipped"}
    sample = scan_sample(scan(objects, "000003"), "camera")  # of the tune list: the test list is for the study
    exchange = SECOND_VICTIM.cut("conv3.0", settings).head().exchange(sample)
    (payload,) = next(exchange)
    frame = CapturedFrame("5e55", 0, 0, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])
    inverter = Concretizer().open(SessionInfo("5e55", "second", "conv3.0", "00", ("sparse_voxels",)), Grants())
    (made,) = inverter.observe([frame])
    scored = scorer("lidar", settings).score(sample, made.arrays, np.random.default_rng(0)).values
    assert scored["f1_15"] is not None and scored["f1_15"] >= 0.98
