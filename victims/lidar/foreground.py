"""An auxiliary task for training the sparse backbone: which sites lie in an object (after SA-SSD, CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from victims.lidar.backbone import split_point
from victims.lidar.losses import sigmoid_focal
from victims.lidar.presets import CLASSES
from victims.lidar.training_data import Window
from victims.lidar.voxels import Sites


def foreground(sites: Sites, windows: Sequence[Window], split: str) -> Tensor:
    """(N, 3) float32, 1 where a site of split point ``split`` lies in an object of the class, else 0.

    Boxes are grown by half a site on every side, so that a site which covers their face belongs to them.
    windows: one for each scan of the batch.
    """
    stride = torch.tensor(split_point(split).stride[::-1], dtype=torch.float32)
    inside_of = torch.zeros(len(sites), len(CLASSES))
    for index, window in enumerate(windows):
        rows = torch.nonzero(sites.coords[:, 0] == index).squeeze(1)
        size = torch.tensor(window.preset.voxel_size)
        low = torch.tensor(window.preset.range_xyz[:3])
        centre = (sites.coords[rows, 1:].flip(1) * stride + 0.5) * size + low
        for box, kind in zip(window.boxes, window.classes, strict=True):
            offset = centre - box[:3]
            c, s = torch.cos(box[6]), torch.sin(box[6])
            along, across = offset[:, 0] * c + offset[:, 1] * s, -offset[:, 0] * s + offset[:, 1] * c
            reach = box[3:6] / 2 + stride * size / 2
            inside = (along.abs() <= reach[0]) & (across.abs() <= reach[1]) & (offset[:, 2].abs() <= reach[2])
            inside_of[rows[inside], int(kind)] = 1.0
    return inside_of


def foreground_loss(layer: nn.Module, sites: Sites, windows: Sequence[Window], split: str) -> Tensor:
    """Focal loss of ``layer`` (C -> 3 logits a site) against ``foreground``, divided by the positive entries."""
    goal = foreground(sites, windows, split)
    return sigmoid_focal(layer(sites.features), goal).sum() / goal.sum().clamp_min(1.0)
