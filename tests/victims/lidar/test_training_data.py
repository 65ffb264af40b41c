from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from victims.lidar.boxes import points_in_boxes
from victims.lidar.presets import PRESETS
from victims.lidar.training_data import LabelledScan, ScanCache, augmented, cut_window, street
from victims.lidar.voxels import voxelize


def labelled(seed: int) -> LabelledScan:
    """Boxes around the sensor, each filled with points; cheap enough for a cache test."""
    rng = np.random.default_rng(seed)
    count = 12
    distance, bearing = rng.uniform(5, 60, count), rng.uniform(-np.pi, np.pi, count)
    centres = np.stack([distance * np.cos(bearing), distance * np.sin(bearing), np.full(count, -0.9)], axis=1)
    boxes = np.concatenate([centres, rng.uniform(1, 4, (count, 3)), rng.uniform(-4, 4, (count, 1))], axis=1)
    local = rng.uniform(-0.49, 0.49, (count, 200, 3)) * boxes[:, None, 3:6]
    c, s = np.cos(boxes[:, 6])[:, None], np.sin(boxes[:, 6])[:, None]
    x, y = local[..., 0] * c - local[..., 1] * s, local[..., 0] * s + local[..., 1] * c
    xyz = np.stack([x, y, local[..., 2]], axis=-1) + boxes[:, None, :3]
    points = np.concatenate([xyz.reshape(-1, 3), rng.random((count * 200, 1))], axis=1)
    return LabelledScan(points.astype(np.float32), boxes.astype(np.float32), rng.integers(0, 3, count))


@pytest.mark.parametrize("seed", range(6))
def test_augmentation_keeps_points_in_their_boxes(seed: int) -> None:
    scan = labelled(seed)
    turned = augmented(scan, np.random.default_rng(seed))
    before, after = points_in_boxes(scan.points, scan.boxes), points_in_boxes(turned.points, turned.boxes)
    # Scaling moves the faces with the points; a few points within rounding of a face may change sides.
    assert (before != after).mean() < 0.01
    assert before.any(axis=1).all()
    np.testing.assert_array_equal(turned.points[:, 2:], scan.points[:, 2:])
    ratio = np.linalg.norm(turned.points[:, :2], axis=1) / np.linalg.norm(scan.points[:, :2], axis=1)
    assert ratio.std() < 1e-4
    assert 0.95 <= ratio.mean() <= 1.05


def test_windows_keep_coordinates_and_alignment() -> None:
    rng = np.random.default_rng(0)
    scan = labelled(1)
    whole = voxelize(scan.points, PRESETS["kitti"])
    sites = {tuple(c[1:]): f for c, f in zip(whole.coords.tolist(), whole.features, strict=True)}
    for _ in range(20):
        window = cut_window(scan, rng, 16.0, on_object=0.7)
        x0, y0 = window.preset.range_xyz[:2]
        cells = round(x0 / 0.05), round((y0 + 40) / 0.05)
        assert cells[0] % 8 == cells[1] % 8 == 0
        assert window.preset.cells == (40, 320, 320)
        missing = 0
        for (_, z, y, x), feature in zip(window.voxels.coords.tolist(), window.voxels.features, strict=True):
            same = sites.get((z, y + cells[1], x + cells[0]))
            missing += same is None or not torch.allclose(same, feature)
        # Points within rounding of a voxel's face may fall to either side of it.
        assert missing <= 0.01 * max(100, len(window.voxels))
        if len(window.boxes):
            low = torch.tensor([x0, y0])
            assert ((window.boxes[:, :2] >= low) & (window.boxes[:, :2] < low + 16.0)).all()


def test_a_window_on_an_object_holds_one() -> None:
    rng = np.random.default_rng(0)
    held = [len(cut_window(labelled(s), rng, 16.0, on_object=1.0).boxes) for s in range(20)]
    assert min(held) >= 1


_TRAINER = """
import sys, time
from pathlib import Path
from victims.lidar.training_data import ScanCache
if __name__ == "__main__":
    cache = ScanCache(Path(sys.argv[1]), 0, 400)
    cache.start()
    cache.load(1)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_scans_are_made_in_the_background_until_the_trainer_is_killed_and_then_reused(tmp_path: Path) -> None:
    script, folder = tmp_path / "trainer.py", tmp_path / "scans"
    script.write_text(_TRAINER)
    root = Path(__file__).resolve().parents[3]
    trainer = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    )
    try:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == b"ready\n"
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.communicate()
    count = -1
    while count != (count := len(list(folder.glob("*.npz")))):
        time.sleep(2.0)
    assert 2 <= count < 400  # the second process noticed

    stamps = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")}
    assert sorted(stamps) == [f"{seed:08d}.npz" for seed in range(count)]
    again = ScanCache(folder, 0, count)
    again.start()
    for index in (0, count - 1):
        held, expected = again.load(index), street(index)
        np.testing.assert_array_equal(held.points, expected.points)
        np.testing.assert_array_equal(held.boxes, expected.boxes)
        np.testing.assert_array_equal(held.classes, expected.classes)
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")} == stamps


def test_waiting_for_a_scan_that_nobody_makes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"00000007.npz is missing"):
        ScanCache(tmp_path, 7, 1).load(0)
