"""Pictures of scans, features and reconstructions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from victims.base import Sample
from victims.lidar.backbone import SPLITS
from victims.lidar.presets import preset
from victims.lidar.view import VIEW, site_centres
from victims.view import Points, Text, view
from wire.payload import Payload


def features(split: str, site: tuple[int, int, int], channels: list[float]) -> Payload:
    grid, street = SPLITS[split].grid(preset("street")), preset("street")
    return Payload(
        "features",
        "sparse_voxels",
        {"coords": torch.tensor([[0, *site]], dtype=torch.int32), "features": torch.tensor([channels])},
        {"grid": grid, "stride": SPLITS[split].stride, "range": street.range_xyz, "voxel": street.voxel_size[::-1]},
    )


@pytest.mark.parametrize(
    ("split", "z_voxel"),
    # Windows of 3 about 2o; about 4o; from 8o to 8o + 8 (no padding); from 16o + 4 to 16o + 20: worked from kernel,
    # stride and padding of the four strided layers.
    [("conv2.0", 2 * 1), ("conv3.0", 4 * 1), ("conv4.0", 8 * 1 + 4), ("conv_out", 16 * 1 + 12)],
)
def test_a_site_lies_in_the_middle_of_its_window(split: str, z_voxel: int) -> None:
    stride = SPLITS[split].stride
    x, y, z = site_centres(features(split, (1, 3, 5), [1.0]))[0]
    assert x == pytest.approx(0.0 + (5 * stride[2] + 0.5) * 0.05)
    assert y == pytest.approx(-12.8 + (3 * stride[1] + 0.5) * 0.05)
    assert z == pytest.approx(-3.0 + (z_voxel + 0.5) * 0.1)


def test_features_are_coloured_by_their_norm() -> None:
    picture = VIEW.payload(features("conv3.0", (0, 0, 0), [3.0, -4.0]))
    assert isinstance(picture, Points)
    assert picture.value.tolist() == [5.0]


def test_another_layout_is_described() -> None:
    picture = VIEW.payload(Payload("features", "dense", {"x": torch.zeros(3)}, {}))
    assert picture == Text("features of 12 bytes in layout dense")


def test_scan_and_reconstruction_share_their_colours() -> None:
    scan = np.array([[1, 2, 3, 0.5], [4, 5, 6, 0.1]], np.float32)
    ours = view("lidar").sample(Sample("a", {"points": scan}))
    theirs = VIEW.reconstruction({"points": np.array([[1, 2, 3], [np.nan, 0, 0]], np.float32)})
    assert isinstance(ours, Points)
    assert isinstance(theirs, Points)
    assert ours.value.tolist() == [3.0, 6.0]
    assert theirs.xyz.tolist() == [[1.0, 2.0, 3.0]]
    assert ours.span == theirs.span


def test_empty_clouds_can_be_pictured() -> None:
    picture = VIEW.reconstruction({"points": np.zeros((0, 3), np.float32)})
    assert isinstance(picture, Points)
    assert picture.xyz.shape == (0, 3)
