from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from victims.lidar.foreground import foreground, foreground_loss
from victims.lidar.presets import Preset
from victims.lidar.training_data import Window
from victims.lidar.voxels import Sites

GRID = Preset("window", (8.0, -4.0, -3.0, 16.0, 4.0, 1.0))


def window(boxes: list[list[float]], classes: list[int]) -> Window:
    voxels = Sites(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), GRID.shape)
    return Window(voxels, GRID, torch.tensor(boxes).reshape(-1, 7), torch.tensor(classes, dtype=torch.int64))


def at_conv2(*cells: tuple[int, int, int, int]) -> Sites:
    return Sites(torch.zeros(len(cells), 32), torch.tensor(cells, dtype=torch.int32), (21, 80, 80), 2)


def test_sites_in_a_turned_box_by_hand() -> None:
    """conv2 has stride 2: site (z, y, x) is centred on voxel (2z, 2y, 2x), so at 8.025 + .1 x along x."""
    car = [12.0, 0.0, -1.0, 4.0, 1.0, 1.5, math.pi / 2]  # long along y: x 11.5 to 12.5, y -2 to 2
    windows = [window([car], [0]), window([], [])]
    sites = at_conv2(
        (0, 10, 40, 40),  # 12.025, 0.025, -.95: in the middle
        (0, 10, 58, 40),  # y = 1.825: in
        (0, 10, 62, 40),  # y = 2.225: out by more than half a site
        (0, 10, 40, 46),  # x = 12.625: out
        (0, 3, 40, 40),  # z = -2.35: below
        (1, 10, 40, 40),  # the other scan
    )
    assert foreground(sites, windows, "conv2").tolist() == [[1, 0, 0], [1, 0, 0], *([[0, 0, 0]] * 4)]


def test_loss_by_hand() -> None:
    layer = nn.Linear(32, 3)
    nn.init.zeros_(layer.bias)
    walker = [12.0, 0.0, -1.0, 0.8, 0.8, 1.7, 0.0]
    loss = foreground_loss(layer, at_conv2((0, 10, 40, 40), (0, 10, 70, 70)), [window([walker], [1])], "conv2")
    # Logits 0: one positive at .25 * .25 * log 2, five negatives at .75 * .25 * log 2, over one positive.
    assert loss.item() == pytest.approx((0.0625 + 5 * 0.1875) * math.log(2))
