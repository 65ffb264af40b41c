"""Anchors of SECOND's detection head and which of them should find which object.

Sizes, heights and thresholds are those of OpenPCDet's ``cfgs/kitti_models/second.yaml``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from victims.lidar.presets import CLASSES, Preset
from wire.errors import InputError


@dataclass(frozen=True)
class AnchorClass:
    """The anchor of one class.  size: dx, dy, dz; bottom: height of its lower face; metres.

    An anchor is positive from an overlap of ``matched`` with an object, negative below ``unmatched``.
    """

    name: str
    size: tuple[float, float, float]
    bottom: float
    matched: float
    unmatched: float


ANCHOR_CLASSES: tuple[AnchorClass, ...] = (
    AnchorClass("Car", (3.9, 1.6, 1.56), -1.78, 0.6, 0.45),
    AnchorClass("Pedestrian", (0.8, 0.6, 1.73), -0.6, 0.5, 0.35),
    AnchorClass("Cyclist", (1.76, 0.6, 1.73), -0.6, 0.5, 0.35),
)
ROTATIONS: tuple[float, float] = (0.0, 1.57)
ANCHORS_PER_CELL = len(ANCHOR_CLASSES) * len(ROTATIONS)


def anchors(preset: Preset, *, align_center: bool = True) -> Tensor:
    """Anchors (Y, X, 6, 7) float32 of the bird's-eye-view map, the six being class-major, rotation-minor.

    align_center True puts them at the centres of the map's cells, so that one set of weights serves grids of
    any extent.  False spreads them from border to border, as the published KITTI checkpoints expect.
    """
    y_cells, x_cells = preset.bev
    x_min, y_min, _, x_max, y_max, _ = preset.range_xyz
    if align_center:
        xs = x_min + (torch.arange(x_cells, dtype=torch.float64) + 0.5) * (x_max - x_min) / x_cells
        ys = y_min + (torch.arange(y_cells, dtype=torch.float64) + 0.5) * (y_max - y_min) / y_cells
    else:
        xs = torch.linspace(x_min, x_max, x_cells, dtype=torch.float64)
        ys = torch.linspace(y_min, y_max, y_cells, dtype=torch.float64)
    grid = torch.zeros(y_cells, x_cells, ANCHORS_PER_CELL, 7, dtype=torch.float64)
    grid[..., 0] = xs[None, :, None]
    grid[..., 1] = ys[:, None, None]
    for c, kind in enumerate(ANCHOR_CLASSES):
        for r, rotation in enumerate(ROTATIONS):
            cell = grid[:, :, c * len(ROTATIONS) + r]
            cell[..., 2] = kind.bottom + kind.size[2] / 2
            cell[..., 3:6] = torch.tensor(kind.size, dtype=torch.float64)
            cell[..., 6] = rotation
    return grid.float()


def nearest_bev_iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap (A, B) of boxes turned to the nearer axis: cheap, and what SECOND assigns anchors by."""

    def footprint(boxes: Tensor) -> Tensor:
        folded = (boxes[:, 6] - torch.round(boxes[:, 6] / torch.pi) * torch.pi).abs()
        along_x = (folded < torch.pi / 4)[:, None]
        size = torch.where(along_x, boxes[:, 3:5], boxes[:, [4, 3]])
        return torch.cat([boxes[:, :2] - size / 2, boxes[:, :2] + size / 2], dim=1)

    p, q = footprint(a), footprint(b)
    sides = (torch.minimum(p[:, None, 2:], q[None, :, 2:]) - torch.maximum(p[:, None, :2], q[None, :, :2])).clamp_min(0)
    overlap = sides.prod(-1)
    area_p, area_q = (p[:, 2:] - p[:, :2]).prod(-1), (q[:, 2:] - q[:, :2]).prod(-1)
    return overlap / (area_p[:, None] + area_q[None] - overlap).clamp_min(1e-6)


@dataclass(frozen=True)
class Targets:
    """What the head should say, per anchor of the flattened map (A = Y * X * 6).

    label: (A,) int64, class index + 1 where positive, 0 where negative, -1 where nothing is asked.
    box: (A, 7) float32, the assigned object where positive, the anchor itself elsewhere.
    """

    label: Tensor
    box: Tensor


def assign(grid: Tensor, boxes: Tensor, classes: Tensor) -> Targets:
    """Assign objects to anchors, each class among its own anchors.

    grid: (Y, X, 6, 7) from ``anchors``.  boxes: (M, 7) float32; classes: (M,) int64 indices into CLASSES.
    An object's best anchors are positive whatever their overlap (as long as there is any).
    """
    flat = grid.reshape(-1, 7)
    label = torch.zeros(len(flat), dtype=torch.int64)
    box = flat.clone()
    slot = torch.arange(len(flat)) % ANCHORS_PER_CELL
    for c, kind in enumerate(ANCHOR_CLASSES):
        objects = boxes[classes == c]
        if len(objects) == 0:
            continue
        own = torch.nonzero(slot // len(ROTATIONS) == c).squeeze(1)
        iou = nearest_bev_iou(flat[own], objects)
        best, which = iou.max(dim=1)
        decision = torch.zeros(len(own), dtype=torch.int64)
        decision[best >= kind.unmatched] = -1
        decision[best >= kind.matched] = c + 1
        top = iou.max(dim=0).values
        forced, owner = torch.nonzero((iou == top[None]) & (top[None] > 0), as_tuple=True)
        decision[forced] = c + 1
        which[forced] = owner
        label[own] = decision
        positive = decision > 0
        box[own[positive]] = objects[which[positive]]
    return Targets(label, box)


def class_index(name: str) -> int:
    """Index of a class name in CLASSES; InputError names the known ones."""
    if name not in CLASSES:
        raise InputError(f"no class {name!r}; the detector knows {', '.join(CLASSES)}")
    return CLASSES.index(name)
