"""Readers of real scans: KITTI folders (with or without split files) and bare folders of ``.bin`` scans.

A scan file is little-endian float32, N x 4 without header: x forward, y left, z up (metres), reflectance 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from victims.lidar.presets import CLASSES
from victims.lidar.scan import Scan
from wire.errors import InputError

CAMERA_HALF_ANGLE_DEG = 40.7
"""Half of the left colour camera's horizontal view; OpenPCDet cuts KITTI scans to it before voxelising."""

POINT_BYTES = 16
MAX_POINTS = 4_000_000
"""A revolution of the densest sensors has 0.3 M points; a larger file is no scan and is refused before reading."""


def read_bin(path: Path) -> np.ndarray:
    """Points float32 (N, 4) of one scan file.

    InputError for a missing or empty file, a size that is no multiple of 16 bytes, or values that are not finite.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: cannot read the scan ({error.strerror}); expected a KITTI .bin file") from error
    if size == 0:
        raise InputError(f"{path}: the scan file is empty; expected N x 16 bytes (x, y, z, reflectance as float32)")
    if size % POINT_BYTES:
        raise InputError(f"{path}: {size} bytes is no multiple of {POINT_BYTES}; expected float32 x, y, z, reflectance")
    if size > MAX_POINTS * POINT_BYTES:
        raise InputError(f"{path}: {size // POINT_BYTES} points; at most {MAX_POINTS} are accepted in one scan")
    points = np.fromfile(path, dtype="<f4").reshape(-1, 4)
    broken = int((~np.isfinite(points)).any(axis=1).sum())
    if broken:
        raise InputError(f"{path}: {broken} of {len(points)} points are not finite; remove them first")
    return points


def camera_view(points: np.ndarray) -> np.ndarray:
    """The points within the camera's azimuth (forward, +-40.7 degrees); same dtype and order."""
    azimuth = np.abs(np.arctan2(points[:, 1], points[:, 0]))
    kept: np.ndarray = points[azimuth <= np.deg2rad(CAMERA_HALF_ANGLE_DEG)]
    return kept


@dataclass(frozen=True)
class ScanFile:
    """Where a scan and, if there are any, its labels and calibration lie."""

    name: str
    scan: Path
    label: Path | None = None
    calibration: Path | None = None

    @property
    def cut(self) -> bool:
        """Whether the file holds the camera's view only (a folder ``..._fov``): it has no full view."""
        return self.scan.parent.parent.name.endswith("_fov")


def find_scans(folder: Path, split_file: Path | None = None) -> list[ScanFile]:
    """The scans of a folder, in order of name.

    Understood are: a KITTI object folder (``velodyne/``, perhaps ``label_2/`` and ``calib/``), a KITTI raw drive
    (``velodyne_points/data/``), a bare folder of ``.bin`` files, and a folder that holds ``splits/`` beside such
    folders (its test lists are taken).  A list of frames is, in this order: ``split_file``, ``ImageSets/val.txt`` in or
    beside the folder, ``splits/object_test.txt`` beside it, or every scan there is.  InputError when nothing is found.
    """
    if not folder.is_dir():
        raise InputError(f"--data {folder}: no such folder; expected a KITTI folder or one of .bin scans")
    if (folder / "splits").is_dir() and split_file is None:
        return _test_lists(folder)
    for sub in ("velodyne", "velodyne_points/data", "."):
        files = sorted((folder / sub).glob("*.bin"))
        if files:
            break
    else:
        raise InputError(f"--data {folder}: no .bin scans in it, in velodyne/ or in velodyne_points/data/")
    wanted = _wanted(folder, split_file)
    found = [_scan_file(folder, f) for f in files if wanted is None or f.stem in wanted]
    if wanted is not None and len(found) < len(wanted):
        missing = sorted(set(wanted) - {f.name for f in found})
        if split_file is not None or not found:
            raise InputError(f"{folder}: {len(missing)} listed scans are not there: {', '.join(missing[:5])}")
    return found


def _scan_file(folder: Path, path: Path) -> ScanFile:
    label = folder / "label_2" / f"{path.stem}.txt"
    calibration = folder / "calib" / f"{path.stem}.txt"
    both = label.is_file() and calibration.is_file()
    return ScanFile(path.stem, path, label if both else None, calibration if both else None)


def _wanted(folder: Path, split_file: Path | None) -> Sequence[str] | None:
    if split_file is not None:
        if not split_file.is_file():
            raise InputError(f"--split-file {split_file}: no such file; expected one frame name a line")
        return split_file.read_text().split()
    beside = folder.parent / "splits"
    lists = {"kitti_object_training": "object_test.txt", "kitti_object_training_fov": "object_fov_test.txt"}
    candidates = [folder / "ImageSets/val.txt", folder.parent / "ImageSets/val.txt"]
    if folder.name in lists:
        candidates.append(beside / lists[folder.name])
    for candidate in candidates:
        if candidate.is_file():
            return candidate.read_text().split()
    return None


def _test_lists(folder: Path) -> list[ScanFile]:
    found: list[ScanFile] = []
    for sub in ("kitti_object_training", "kitti_object_training_fov"):
        if (folder / sub).is_dir():
            found += find_scans(folder / sub)
    if not found:
        raise InputError(f"--data {folder}: has splits/ but neither kitti_object_training nor ..._fov beside it")
    return found


def read_scan(file: ScanFile) -> Scan:
    """One scan with its labelled boxes of the three classes, in the LiDAR frame."""
    points = read_bin(file.scan)
    if file.label is None or file.calibration is None:
        return Scan(points, np.zeros((0, 7), np.float32), (), file.name)
    boxes, labels = read_labels(file.label, file.calibration)
    return Scan(points, boxes, labels, file.name)


def read_labels(label: Path, calibration: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Boxes float32 (M, 7) (centre, length, width, height, heading; LiDAR frame) and their classes.

    KITTI's labels hold the bottom centre in the rectified camera frame and rotation_y about its downward axis.
    """
    matrices: dict[str, np.ndarray] = {}
    for line in calibration.read_text().splitlines():
        key, _, values = line.partition(":")
        if values.strip():
            matrices[key] = np.array([float(v) for v in values.split()])
    try:
        rect = np.eye(4)
        rect[:3, :3] = matrices["R0_rect"].reshape(3, 3)
        to_camera = np.eye(4)
        to_camera[:3] = matrices["Tr_velo_to_cam"].reshape(3, 4)
    except (KeyError, ValueError) as error:
        raise InputError(f"{calibration}: needs R0_rect (9 values) and Tr_velo_to_cam (12 values): {error}") from error
    to_lidar = np.linalg.inv(rect @ to_camera)
    boxes: list[list[float]] = []
    labels: list[str] = []
    for number, line in enumerate(label.read_text().splitlines(), 1):
        fields = line.split()
        if not fields or fields[0] not in CLASSES:
            continue
        try:
            h, w, length, x, y, z, rotation = (float(v) for v in fields[8:15])
        except ValueError as error:
            raise InputError(f"{label}:{number}: expected 15 fields of a KITTI label, got {len(fields)}") from error
        cx, cy, cz, _ = to_lidar @ np.array([x, y, z, 1.0])
        heading = -rotation - np.pi / 2
        boxes.append([cx, cy, cz + h / 2, length, w, h, (heading + np.pi) % (2 * np.pi) - np.pi])
        labels.append(fields[0])
    return np.array(boxes, np.float32).reshape(-1, 7), tuple(labels)
