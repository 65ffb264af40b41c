"""Labelled things: their box holds every point that comes back from them, closely."""

import numpy as np
import pytest

from victims.lidar import traffic
from victims.lidar.sensor import Turn


@pytest.mark.parametrize("make", [traffic.car, traffic.pedestrian, traffic.cyclist])
@pytest.mark.parametrize("seed", range(6))
def test_box_encloses_the_points_tightly(make, seed):
    rng = np.random.Generator(np.random.SFC64([seed, 11]))
    thing = make(rng)
    yaw, distance, bearing = rng.uniform(-3, 3), rng.uniform(5, 12), rng.uniform(-3, 3)
    place = np.array([distance * np.cos(bearing), distance * np.sin(bearing), -1.73])
    c, s = np.cos(yaw), np.sin(yaw)
    poses = np.array(
        [(place[0] + c * x - s * y, place[1] + s * x + c * y, place[2] + z, yaw + w) for _, x, y, z, w in thing.parts]
    )
    turn = Turn(rng)
    turn.cast([part[0] for part in thing.parts], poses, np.zeros(len(poses), int))
    x, y, z = (turn.returns().points[:, :3] - place).T
    local = np.stack([c * x + s * y, c * y - s * x, z], axis=1)
    assert len(local) > 20
    centre, size = np.array(thing.box[:3]), np.array(thing.box[3:])
    beyond = np.abs(local - centre) - size / 2
    assert beyond.max() < 0.06  # five sigma of the range noise


@pytest.mark.parametrize(
    ("make", "label", "low", "high"),
    [
        (traffic.car, "Car", (3.3, 1.5, 1.3), (5.3, 2.1, 1.9)),
        (traffic.pedestrian, "Pedestrian", (0.2, 0.4, 1.3), (1.2, 0.9, 2.2)),
        (traffic.cyclist, "Cyclist", (1.6, 0.5, 1.6), (2.0, 0.9, 1.9)),
    ],
)
def test_boxes_have_life_size(make, label, low, high):
    for seed in range(30):
        thing = make(np.random.Generator(np.random.SFC64(seed)))
        assert thing.label == label
        assert (np.array(thing.box[3:]) > low).all()
        assert (np.array(thing.box[3:]) < high).all()
        assert thing.box[2] == pytest.approx(thing.box[5] / 2, abs=0.12)  # stands on the ground


def test_vans_carry_no_label():
    assert traffic.van(np.random.Generator(np.random.SFC64(1))).label is None
