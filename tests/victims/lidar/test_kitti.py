"""Readers of real scans, against files made by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from victims.lidar import kitti
from victims.registry import victim
from wire.errors import InputError

POINTS = np.array([[10, 0, 0, 0.5], [0, 10, 0, 0.1], [10, 8, -1, 0.2], [-5, 0, 0, 0.9]], "<f4")

# A camera 0.3 m in front of the scanner looking along +x: camera x = -lidar y, y = -lidar z, z = lidar x - 0.3.
CALIBRATION = """P2: 1 0 0 0 0 1 0 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 0 1 0 0 -0.3
"""
LABEL = """Car 0.00 0 0 0 0 0 0 1.5 1.6 4.0 2.0 1.7 9.7 0.0
DontCare -1 -1 -10 0 0 0 0 -1 -1 -1 -1000 -1000 -1000 -10
Van 0.00 0 0 0 0 0 0 2.0 1.8 5.0 0.0 1.7 20.0 0.0
Pedestrian 0.00 0 0 0 0 0 0 1.8 0.6 0.8 0.0 1.6 5.7 -1.5707963
"""


def object_folder(root: Path, stems: tuple[str, ...] = ("000001", "000002")) -> Path:
    folder = root / "kitti_object_training"
    for sub in ("velodyne", "label_2", "calib"):
        (folder / sub).mkdir(parents=True)
    for stem in stems:
        POINTS.tofile(folder / "velodyne" / f"{stem}.bin")
        (folder / "label_2" / f"{stem}.txt").write_text(LABEL)
        (folder / "calib" / f"{stem}.txt").write_text(CALIBRATION)
    return folder


def test_points_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    POINTS.tofile(path)
    np.testing.assert_array_equal(kitti.read_bin(path), POINTS)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\0" * 17, "17 bytes is no multiple of 16"),
        (np.array([[1, 2, np.nan, 0]], "<f4").tobytes(), "1 of 1 points are not finite"),
        (np.array([[1, 2, np.inf, 0], [1, 2, 3, 0]], "<f4").tobytes(), "1 of 2 points are not finite"),
    ],
)
def test_a_bad_scan_gets_one_line_that_names_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        kitti.read_bin(path)
    assert "bad.bin" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_scan_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.bin"):
        kitti.read_bin(tmp_path / "nowhere.bin")
    with pytest.raises(InputError, match="no such folder"):
        kitti.find_scans(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no \.bin scans"):
        kitti.find_scans(tmp_path)


def test_camera_view_keeps_the_azimuths_within_40_7_degrees() -> None:
    # atan2(8, 10) = 38.66 degrees is inside; 90 and 180 are not.
    np.testing.assert_array_equal(kitti.camera_view(POINTS), POINTS[[0, 2]])


def test_labels_are_turned_into_the_lidar_frame(tmp_path: Path) -> None:
    folder = object_folder(tmp_path)
    scan = kitti.read_scan(kitti.find_scans(folder)[0])
    assert scan.labels == ("Car", "Pedestrian")  # Van and DontCare are no class of the detector
    # camera (2, 1.7, 9.7) -> lidar x = 9.7 + 0.3, y = -2, z = -1.7 at the bottom, plus half of 1.5 for the centre.
    # rotation_y 0 is along camera x = -lidar y: heading -pi/2.
    np.testing.assert_allclose(scan.boxes[0], [10, -2, -0.95, 4.0, 1.6, 1.5, -math.pi / 2], atol=1e-5)
    # rotation_y -pi/2 is along camera z = lidar x: heading 0.
    np.testing.assert_allclose(scan.boxes[1], [6, 0, -0.7, 0.8, 0.6, 1.8, 0], atol=1e-5)


def test_lists_of_frames(tmp_path: Path) -> None:
    folder = object_folder(tmp_path)
    assert [f.name for f in kitti.find_scans(folder)] == ["000001", "000002"]
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "val.txt").write_text("000002\n")
    assert [f.name for f in kitti.find_scans(folder)] == ["000002"]
    chosen = tmp_path / "mine.txt"
    chosen.write_text("000001\n")
    assert [f.name for f in kitti.find_scans(folder, chosen)] == ["000001"]
    chosen.write_text("000009\n")
    with pytest.raises(InputError, match="000009"):
        kitti.find_scans(folder, chosen)


def test_a_bare_folder_of_scans_is_read_without_labels(tmp_path: Path) -> None:
    POINTS.tofile(tmp_path / "b.bin")
    POINTS[:1].tofile(tmp_path / "a.bin")
    files = kitti.find_scans(tmp_path)
    assert [f.name for f in files] == ["a", "b"]
    assert kitti.read_scan(files[0]).labels == ()


def test_a_stream_goes_on_after_a_bad_scan(tmp_path: Path) -> None:
    POINTS.tofile(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes(b"\0" * 15)
    POINTS.tofile(tmp_path / "c.bin")
    stream = iter(victim("second").samples(str(tmp_path), {"view": "full"}))
    assert next(stream).name == "a"
    with pytest.raises(InputError, match=r"b\.bin"):
        next(stream)
    assert next(stream).name == "c"
    with pytest.raises(StopIteration):
        next(stream)


def test_test_lists_beside_real_folders(tmp_path: Path) -> None:
    object_folder(tmp_path)
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "object_test.txt").write_text("000002\n")
    assert [f.name for f in kitti.find_scans(tmp_path)] == ["000002"]
    assert [f.name for f in kitti.find_scans(tmp_path / "kitti_object_training")] == ["000002"]
