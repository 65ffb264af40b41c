"""The street as a source of scans: repeatable, labelled, without gaps, and statistically near real 64-beam scans."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from victims.lidar.sensor import ELEVATIONS_DEG
from victims.lidar.street import ATTACK_SEEDS, STREAM_SEEDS, TRAIN_SEEDS, street_scan

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def scans():
    return [street_scan(seed) for seed in range(500, 524)]


def azimuth_deg(points: np.ndarray) -> np.ndarray:
    return np.degrees(np.arctan2(points[:, 1].astype(float), points[:, 0].astype(float)))


def voxel_count(points: np.ndarray) -> int:
    inside = (points[:, :3] >= (0, -40, -3)).all(axis=1) & (points[:, :3] < (70.4, 40, 1)).all(axis=1)
    index = np.floor((points[inside, :3] - (0, -40, -3)) / (0.05, 0.05, 0.1)).astype(np.int64)
    return len(np.unique(index, axis=0))


def test_seed_ranges_never_meet():
    assert TRAIN_SEEDS.stop <= ATTACK_SEEDS.start < ATTACK_SEEDS.stop <= STREAM_SEEDS.start
    assert min(len(TRAIN_SEEDS), len(ATTACK_SEEDS), len(STREAM_SEEDS)) >= 500_000


def test_a_fresh_process_gives_the_same_bits():
    code = (
        "import hashlib; from victims.lidar.street import street_scan; s = street_scan(1_000_003, 5);"
        "print(hashlib.sha256(s.points.tobytes() + s.boxes.tobytes()).hexdigest())"
    )
    street_scan(42)  # another history in this process, and other frames of the same street
    street_scan(1_000_003, 90)
    here = street_scan(1_000_003, 5)
    there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert hashlib.sha256(here.points.tobytes() + here.boxes.tobytes()).hexdigest() == there.strip()


@pytest.mark.parametrize("sector", [(-90.0, 90.0), (-40.7, 40.7), (100.0, 180.0), (-180.0, -120.0)])
@pytest.mark.parametrize(("seed", "frame"), [(3, 0), (7, 21)])
def test_sector_equals_full_scan_restricted(seed, frame, sector):
    full, part = street_scan(seed, frame), street_scan(seed, frame, azimuth_deg=sector)
    azimuth = azimuth_deg(full.points)
    assert np.array_equal(full.points[(azimuth >= sector[0]) & (azimuth < sector[1])], part.points)


def test_seeds_and_frames_differ():
    first, other, later = street_scan(1), street_scan(2), street_scan(1, 1)
    for scan in (other, later):
        common = min(len(first.points), len(scan.points))
        assert not np.array_equal(first.points[:common], scan.points[:common])
    assert (first.name, later.name) == ("street-1-0", "street-1-1")


def test_scans_are_well_formed(scans):
    for scan in scans:
        assert scan.points.dtype == np.float32
        assert scan.points.flags.c_contiguous
        assert scan.boxes.dtype == np.float32
        assert scan.boxes.shape == (len(scan.labels), 7)
        assert np.isfinite(scan.points).all()
        assert np.isfinite(scan.boxes).all()
        assert scan.points[:, 3].min() >= 0
        assert scan.points[:, 3].max() <= 1
        distance = np.linalg.norm(scan.points[:, :3], axis=1)
        assert distance.min() > 1.4
        assert distance.max() < 120.5
        assert set(scan.labels) <= {"Car", "Pedestrian", "Cyclist"}
        assert (np.abs(scan.boxes[:, 6]) <= np.pi + 1e-6).all()


def test_points_lie_on_the_beams(scans):
    for scan in scans[:6]:
        points = scan.points.astype(float)
        elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
        nearest = np.abs(elevation[:, None] - ELEVATIONS_DEG).min(axis=1)
        assert nearest.max() < 0.01


def test_statistics_are_near_real_scans(scans):
    """Bands about ten KITTI object scans: 113-127 k points, 16-21 k voxels in the camera's view, 32-51 k in front."""
    total = np.array([len(scan.points) for scan in scans])
    views = [scan.points[np.abs(azimuth_deg(scan.points)) < 40.7] for scan in scans]
    assert total.min() > 80_000
    assert total.max() <= 128_000
    assert 105_000 < total.mean() < 125_000
    assert 22_000 < np.mean([len(view) for view in views]) < 28_000
    in_view = np.array([voxel_count(view) for view in views])
    assert 17_000 < in_view.mean() < 21_000
    assert in_view.min() > 9_000
    assert 34_000 < np.mean([voxel_count(scan.points) for scan in scans]) < 46_000
    near = np.mean([(np.linalg.norm(view[:, :3], axis=1) < 15).mean() for view in views])
    far = np.mean([(np.linalg.norm(view[:, :3], axis=1) > 40).mean() for view in views])
    assert 0.5 < near < 0.8  # real: 0.56 to 0.82
    assert 0.02 < far < 0.12  # real: 0.02 to 0.10
    high = np.mean([(view[:, 2] > -1.3).mean() for view in views])
    assert 0.15 < high < 0.5  # real: 0.17 to 0.55 stand out of the ground


def test_every_class_occurs_and_boxes_hold_points(scans):
    labels = [label for scan in scans for label in scan.labels]
    assert min(labels.count(name) for name in ("Car", "Pedestrian", "Cyclist")) >= 10
    for scan in scans:
        for x, y, z, dx, dy, dz, heading in scan.boxes.astype(float):
            c, s = np.cos(heading), np.sin(heading)
            px, py, pz = (scan.points[:, :3] - (x, y, z)).T
            local = np.stack([c * px + s * py, c * py - s * px, pz], axis=1)
            assert (np.abs(local) < np.array([dx, dy, dz]) / 2 + 0.06).all(axis=1).sum() >= 5


def test_parked_cars_come_nearer_as_the_drive_goes_on():
    """What stands still moves back by the metre a frame that the sensor moves on."""
    found = 0
    for seed in range(8):
        before, after = street_scan(seed, 10), street_scan(seed, 12)
        for x, y, _, dx, dy, dz, heading in before.boxes[[label == "Car" for label in before.labels]]:
            if abs(x) > 25:
                continue
            same = [
                box for box in after.boxes if np.allclose(box[3:6], (dx, dy, dz), atol=1e-4) and abs(box[1] - y) < 1.5
            ]
            found += any(abs(box[0] - (x - 2.0)) < 0.4 and abs(box[6] - heading) < 0.05 for box in same)
    assert found >= 10


def test_a_long_drive_never_ends():
    for frame in (300, 1500):
        assert len(street_scan(1_000_001, frame).points) > 80_000


@pytest.mark.parametrize(("seed", "frame"), [(-1, 0), (0, -1)])
def test_negative_seed_or_frame_is_refused(seed, frame):
    with pytest.raises(ValueError, match="0 or more"):
        street_scan(seed, frame)
