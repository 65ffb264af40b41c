"""The beam table, the nearest-hit buffer and the errors of the sensor."""

import numpy as np
import pytest

from victims.lidar.sensor import BEAMS, COLUMNS, ELEVATIONS_DEG, RANGE_NOISE_M, Turn, azimuths_deg
from victims.lidar.shapes import Box, Column, Ellipsoid, Paint, Pose, Tube
from victims.lidar.walls import Facade, Screen, Shell


def turn(sector=(-180.0, 180.0), seed=7) -> Turn:
    return Turn(np.random.Generator(np.random.SFC64(seed)), sector)


def test_beam_table_of_the_two_blocks():
    assert ELEVATIONS_DEG.shape == (64,)
    assert ELEVATIONS_DEG[[0, 3, 31]] == pytest.approx([2.0, 1.0, -8.3333], abs=1e-3)
    assert ELEVATIONS_DEG[[32, 34, 63]] == pytest.approx([-8.8333, -9.8333, -24.3333], abs=1e-3)
    assert (np.diff(ELEVATIONS_DEG) < 0).all()


def test_columns_cover_a_full_turn():
    azimuth = azimuths_deg(0.5)
    assert azimuth.size == COLUMNS == 2000
    assert np.diff(azimuth) == pytest.approx(0.18)
    assert azimuth[0] == pytest.approx(-179.91)
    assert azimuth[-1] == pytest.approx(179.91)


@pytest.mark.parametrize("sector", [(10.0, 10.0), (20.0, -20.0), (-200.0, 0.0), (0.0, 181.0)])
def test_bad_sectors_are_refused(sector):
    with pytest.raises(ValueError, match="azimuth_deg"):
        turn(sector)


def test_windows_of_the_grid_miss_no_hit():
    """Casting through silhouettes must equal casting every shape at every ray."""
    shapes = [
        Box(4.0, 2.0, 1.5), Box(30.0, 0.3, 2.0), Column(0.3, 0.3, 6.0), Ellipsoid(2.0, 1.5, 1.0, Paint(0.4, 0.0, 1.0)),
        Tube((-3.0, 0.0, 0.0), (3.0, 0.5, 2.0), 0.1), Facade(25.0, 6.0, bay=3.0), Screen(20.0, 1.5, 0.2, 0.1, 0.1),
        Shell(2.0, 1.2, 1.5), Shell(9.0, 3.1, 3.0),
    ]  # fmt: skip
    rng = np.random.default_rng(3)
    poses = np.array([(*rng.uniform(-15, 15, 2), -1.7, rng.uniform(-3, 3)) for _ in shapes])
    poses[0] = (-8.0, 0.0, -1.7, 0.3)  # across the seam at 180 degrees
    poses[-1] = (0.5, 0.0, -1.7, 0.0)  # around the sensor
    quick, slow = turn(), turn()
    quick.cast(shapes, poses, np.arange(len(shapes)))
    rows, columns = slice(0, BEAMS), slice(0, COLUMNS)
    for i, shape in enumerate(shapes):
        slow.keep_nearest(rows, columns, shape.cast(slow.window(rows, columns, i), Pose(*poses[i].tolist())), i)
    assert np.isfinite(slow.depth).mean() > 0.5
    assert np.array_equal(quick.depth, slow.depth)


def test_the_nearer_wall_hides_the_farther():
    sensor = turn((-10.0, 10.0))
    walls = [Box(0.2, 40.0, 9.0, Paint(0.5)), Box(0.2, 40.0, 9.0, Paint(0.5))]
    sensor.cast(walls, np.array([(20.0, 0, -6, 0), (12.0, 0, -6, 0)]), np.array([0, 1]))
    returns = sensor.returns()
    assert set(returns.owner.tolist()) == {1}
    assert returns.points[:, 0] == pytest.approx(11.9, abs=0.1)


def test_range_noise_and_beam_angles_of_a_plane():
    sensor = turn((-20.0, 20.0))
    sensor.cast([Box(0.2, 60.0, 30.0, Paint(0.9))], np.array([(10.1, 0.0, -15.0, 0.0)]), np.array([0]))
    points = sensor.returns().points.astype(np.float64)
    beam = sensor.returns().beam
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    assert np.abs(elevation - ELEVATIONS_DEG[beam]).max() < 2e-3
    distance = np.linalg.norm(points[:, :3], axis=1)
    error = distance - 10.0 * distance / points[:, 0]
    assert error.std() == pytest.approx(RANGE_NOISE_M, rel=0.05)
    assert abs(error.mean()) < 0.001


def test_glass_loses_the_share_it_is_told():
    sensor = turn()
    sensor.cast([Shell(10.0, 3.2, 20.0, Paint(0.5, 0.4))], np.array([(0.0, 0.0, -10.0, 0.0)]), np.array([0]))
    rows = sensor.returns().beam
    upper = (rows < 36).sum() / (36 * COLUMNS)  # beams the carrying car's roof cannot hide
    assert upper == pytest.approx(0.6, abs=0.03)


def test_lowest_beams_are_hidden_by_the_carrying_car():
    sensor = turn()
    sensor.cast([Shell(3.0, 3.2, 20.0, Paint(0.5))], np.array([(0.0, 0.0, -10.0, 0.0)]), np.array([0]))
    returns = sensor.returns()
    azimuth = np.degrees(np.arctan2(returns.points[:, 1], returns.points[:, 0]))
    lowest = returns.beam == BEAMS - 1
    assert not (lowest & (np.abs(azimuth) > 170)).any()
    assert (lowest & (np.abs(azimuth - 100) < 5)).sum() > 50
