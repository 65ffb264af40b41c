"""What the victim is trained on: procedural streets, kept on disk, and windows cut from them.

A window keeps the sensor's coordinates: mean-voxel features are raw metres, so a crop moved to the origin
would train a different network.  Its corner lies on a multiple of 8 voxels, the stride of the deepest split.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from victims.lidar.anchors import class_index
from victims.lidar.boxes import points_in_boxes
from victims.lidar.presets import BEV_STRIDE, PRESETS, Preset
from victims.lidar.street import street_scan
from victims.lidar.voxels import Sites, voxelize

#: An object with fewer voxels than this in range is not asked for: there is nothing to see of it.
FEWEST_VOXELS = 3


@dataclass(frozen=True)
class LabelledScan:
    """points (P, 4) float32; boxes (M, 7) float32; classes (M,) int64 indices into CLASSES; sensor's frame."""

    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """A training item: voxels under ``preset`` and the objects whose centres lie in it."""

    voxels: Sites
    preset: Preset
    boxes: Tensor
    classes: Tensor


def street(seed: int) -> LabelledScan:
    """The procedural street of ``seed`` as a labelled scan over all azimuths."""
    scan = street_scan(seed)
    classes = np.array([class_index(label) for label in scan.labels], dtype=np.int64)
    boxes = np.asarray(scan.boxes, dtype=np.float32).reshape(-1, 7)
    return LabelledScan(np.asarray(scan.points, dtype=np.float32), boxes, classes)


class ScanCache:
    """Labelled scans 0 .. count - 1 in a folder, made by a second process while training already runs."""

    def __init__(self, folder: Path, first_seed: int, count: int, make: Callable[[int], LabelledScan] = street) -> None:
        if count < 1:
            raise ValueError(f"a cache of {count} scans cannot train anything")
        self.folder, self.first_seed, self.count, self.make = folder, first_seed, count, make
        self._process: BaseProcess | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, index: int) -> Path:
        return self.folder / f"{self.first_seed + index:08d}.npz"

    def start(self) -> None:
        """Make the missing scans in the background; does nothing when all are there."""
        if all(self.path(i).exists() for i in range(self.count)):
            return
        context = multiprocessing.get_context("spawn")
        arguments = (self.folder, self.first_seed, self.count, self.make)
        self._process = context.Process(target=fill, args=arguments, daemon=True)
        self._process.start()

    def stop(self) -> None:
        """End the background process, if any; finished scans stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.join()
            self._process = None

    def load(self, index: int) -> LabelledScan:
        """Scan ``index``, waiting until it is made; RuntimeError when nobody is making it."""
        path = self.path(index)
        while not path.exists():
            if self._process is None or not self._process.is_alive():
                if path.exists():
                    break
                raise RuntimeError(f"scan {path} is missing and the process that makes scans has ended")
            time.sleep(0.2)
        with np.load(path) as stored:
            return LabelledScan(stored["points"], stored["boxes"], stored["classes"])


def fill(folder: Path, first_seed: int, count: int, make: Callable[[int], LabelledScan]) -> None:
    """Make the missing ones of ``count`` scans; returns early when the process that asked for them is gone."""
    parent = os.getppid()
    for seed in range(first_seed, first_seed + count):
        path = folder / f"{seed:08d}.npz"
        if path.exists():
            continue
        if os.getppid() != parent:  # killed with SIGKILL: nobody waits for these scans
            return
        scan = make(seed)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        with temporary.open("wb") as file:
            np.savez(file, points=scan.points, boxes=scan.boxes, classes=scan.classes)
        temporary.replace(path)


def augmented(scan: LabelledScan, rng: np.random.Generator) -> LabelledScan:
    """The scan turned about the sensor by any angle, mirrored half of the time, scaled by up to 5 %."""
    angle = rng.uniform(-np.pi, np.pi)
    mirror = bool(rng.random() < 0.5)
    scale = rng.uniform(0.95, 1.05)
    points, boxes = scan.points.copy(), scan.boxes.copy()
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, s], [-s, c]], dtype=np.float32)
    if mirror:
        points[:, 1] *= -1
        boxes[:, 1] *= -1
        boxes[:, 6] *= -1
    points[:, :2] = points[:, :2] @ turn
    boxes[:, :2] = boxes[:, :2] @ turn
    boxes[:, 6] += angle
    # The sensor's height above the road must stay what it is, so z is not scaled.
    points[:, :2] *= scale
    boxes[:, [0, 1, 3, 4]] *= scale
    return LabelledScan(points, boxes, scan.classes)


def cut_window(
    scan: LabelledScan, rng: np.random.Generator, size: float, *, on_object: float, base: Preset = PRESETS["kitti"]
) -> Window:
    """A square window of ``size`` metres somewhere in the range of ``base``.

    With probability ``on_object`` it contains the centre of an object, chosen evenly over the classes that are
    in range; otherwise it lies anywhere, six in ten of these within 30 m ahead of the sensor.
    """
    step = BEV_STRIDE * base.voxel_size[0]
    x_min, y_min, z_min, x_max, y_max, z_max = base.range_xyz
    low = np.array([x_min, y_min])
    room = np.array([x_max, y_max]) - low - size
    centres = scan.boxes[:, :2]
    in_range = np.flatnonzero(((centres > low) & (centres < low + room + size)).all(axis=1))
    if len(in_range) and rng.random() < on_object:
        kind = rng.choice(np.unique(scan.classes[in_range]))
        target = centres[rng.choice(in_range[scan.classes[in_range] == kind])]
        corner = target - rng.uniform(0.1, 0.9, size=2) * size
    else:
        corner = low + rng.random(2) * room
        if rng.random() < 0.6:
            corner[0] = low[0] + rng.random() * max(0.0, min(room[0], 30.0 - size))
    corner = low + np.round(np.clip(corner - low, 0, room) / step) * step
    x0, y0 = float(corner[0]), float(corner[1])
    preset = Preset("window", (x0, y0, z_min, x0 + size, y0 + size, z_max), base.voxel_size, base.max_points_per_voxel)

    near = ((scan.points[:, :2] >= corner - 1) & (scan.points[:, :2] <= corner + size + 1)).all(axis=1)
    voxels = voxelize(scan.points[near], preset)
    boxes, classes = visible(scan, voxels, preset)
    return Window(voxels, preset, torch.from_numpy(boxes), torch.from_numpy(classes))


def visible(scan: LabelledScan, voxels: Sites, preset: Preset) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes and classes of the objects whose centre lies in the grid and of which at least 3 voxels are seen."""
    x_min, y_min, _, x_max, y_max, _ = preset.range_xyz
    x, y = scan.boxes[:, 0], scan.boxes[:, 1]
    held = np.flatnonzero((x >= x_min) & (x < x_max) & (y >= y_min) & (y < y_max))
    seen = points_in_boxes(voxels.features.numpy(), scan.boxes[held]).sum(axis=1) >= FEWEST_VOXELS
    return scan.boxes[held[seen]], scan.classes[held[seen]]
