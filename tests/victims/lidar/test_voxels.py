from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from victims.lidar.presets import PRESETS, Preset, preset
from victims.lidar.voxels import Sites, collate, voxelize
from wire.errors import InputError


def by_hand(points: np.ndarray, grid: Preset) -> dict[tuple[int, int, int], np.ndarray]:
    """The definition, point by point: mean of the first points of each voxel."""
    voxels: dict[tuple[int, int, int], list[np.ndarray]] = {}
    low, size = np.float32(grid.range_xyz[:3]), np.float32(grid.voxel_size)
    for point in points:
        x, y, z = (int(i) for i in np.floor((point[:3] - low) / size))
        if all(0 <= i < n for i, n in zip((z, y, x), grid.cells, strict=True)):
            held = voxels.setdefault((z, y, x), [])
            if len(held) < grid.max_points_per_voxel:
                held.append(point)
    return {cell: np.mean(held, axis=0) for cell, held in voxels.items()}


def test_shapes_of_the_presets() -> None:
    assert PRESETS["kitti"].shape == (41, 1600, 1408)
    assert PRESETS["street"].shape == (41, 512, 512)
    assert PRESETS["kitti"].bev == (200, 176)
    assert PRESETS["street"].bev == (64, 64)
    assert PRESETS["near"].shape == (41, 320, 320)
    assert PRESETS["near"].bev == (40, 40)
    with pytest.raises(InputError, match="no LiDAR preset 'waymo'; there are kitti, near, street"):
        preset("waymo")


@pytest.mark.parametrize("broken", [(0, 0, -3, 25.61, 12.8, 1), (0, 0, -3, 25.7, 12.8, 1), (0, 0, 1, 25.6, 12.8, 1)])
def test_a_grid_that_does_not_divide_is_refused(broken: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="preset odd"):
        Preset("odd", broken)  # type: ignore[arg-type]


def test_two_points_in_a_voxel_give_their_mean(tiny: Preset) -> None:
    points = np.array([[1.01, 0.01, -1.01, 0.2], [1.03, 0.03, -1.03, 0.4], [2.01, 0.01, -1.01, 0.9]], dtype=np.float32)
    sites = voxelize(points, tiny)
    # x: 1.01 / .05 = 20; y: 3.21 / .05 = 64; z: 1.99 / .1 = 19
    assert sites.coords.tolist() == [[0, 19, 64, 20], [0, 19, 64, 40]]
    np.testing.assert_allclose(sites.features.numpy(), [[1.02, 0.02, -1.02, 0.3], points[2]], rtol=1e-6)


def test_only_the_first_five_points_count(tiny: Preset) -> None:
    points = np.tile(np.array([[1.01, 0.01, -1.05, 0.0]], dtype=np.float32), (7, 1))
    points[:, 3] = [1, 2, 3, 4, 5, 100, 100]
    assert voxelize(points, tiny).features[0, 3].item() == 3.0


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.floats(0.1, 8.0))
def test_equals_the_definition(seed: int, count: int, spread: float) -> None:
    grid = Preset("cube", (0.0, -0.4, -1.0, 0.8, 0.4, 0.0))
    rng = np.random.default_rng(seed)
    points = rng.normal([0.4, 0, -0.5, 0.5], spread * np.array([0.1, 0.1, 0.1, 0.1]), (count, 4)).astype(np.float32)
    sites, expected = voxelize(points, grid), by_hand(points, grid)
    cells = [tuple(row) for row in sites.coords[:, 1:].tolist()]
    assert cells == sorted(expected)
    for cell, features in zip(cells, sites.features.numpy(), strict=True):
        np.testing.assert_allclose(features, expected[cell], rtol=1e-5, atol=1e-6)


def test_no_point_in_range_gives_no_site(tiny: Preset) -> None:
    for points in (np.zeros((0, 4)), np.full((3, 4), 1e30), [[6.4, 0, 0, 0], [1, 1, 1.0, 0], [-1e-3, 0, 0, 0]]):
        sites = voxelize(points, tiny)
        assert sites.features.shape == (0, 4)
        assert sites.coords.shape == (0, 4)


def test_broken_points_are_counted_and_refused(tiny: Preset) -> None:
    points = np.zeros((5, 4), dtype=np.float32)
    points[1, 0], points[3, 3] = np.nan, np.inf
    with pytest.raises(InputError, match="2 of 5 points"):
        voxelize(points, tiny)
    with pytest.raises(InputError, match=r"got \(5, 3\)"):
        voxelize(points[:, :3], tiny)


def test_no_cap_on_the_number_of_voxels() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform([0, -40, -3, 0], [70.4, 40, 1, 1], (90_000, 4)).astype(np.float32)
    grid = PRESETS["kitti"]
    filled = np.unique(np.floor((points[:, :3] - np.float32(grid.range_xyz[:3])) / np.float32(grid.voxel_size)), axis=0)
    assert len(voxelize(points, grid)) == len(filled) > 85_000


def test_canonical_sorts_and_is_idempotent(tiny: Preset, scene: Callable[[int], np.ndarray]) -> None:
    sites = collate([voxelize(scene(1), tiny), voxelize(scene(2), tiny)])
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(sites)))
    sorted_again = Sites(sites.features[order], sites.coords[order], sites.shape, 2).canonical()
    assert torch.equal(sorted_again.coords, sites.coords)
    assert torch.equal(sorted_again.features, sites.features)
    assert sites.canonical() is sites
    assert sorted(map(tuple, sites.coords.tolist())) == list(map(tuple, sites.coords.tolist()))


def test_a_batch_numbers_its_scans(tiny: Preset, scene: Callable[[int], np.ndarray]) -> None:
    first, empty, last = voxelize(scene(1), tiny), voxelize(np.zeros((0, 4)), tiny), voxelize(scene(2), tiny)
    batch = collate([first, empty, last])
    assert batch.batch == 3
    assert batch.coords[:, 0].unique().tolist() == [0, 2]
    assert torch.equal(batch.features[batch.coords[:, 0] == 2], last.features)
    with pytest.raises(ValueError, match="different grids"):
        collate([first, voxelize(scene(1), PRESETS["street"])])
