"""Road coordinates, and the ground met by rays, against trigonometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from victims.lidar.ground import Ground
from victims.lidar.sensor import ELEVATIONS_DEG, MOUNT_HEIGHT_M, Turn


def flat(**changes) -> Ground:
    level = ((0.0, 1.0, 0.0), (0.0, 1.0, 0.0))
    fields = {
        "curvature": 1e-6,
        "half_road": 200.0,
        "pavement": 1.0,
        "kerb": 0.0,
        "crossfall": 0.0,
        "waves": (),
        "banks": level,
        "paved": True,
        "marked": False,
    }
    return Ground(**(fields | changes))


def cast(ground: Ground, sector=(-180.0, 180.0), lateral=0.0, yaw=0.0) -> Turn:
    turn = Turn(np.random.Generator(np.random.SFC64(1)), sector)
    ground.cast(turn, 0.0, lateral, yaw)
    return turn


@given(st.floats(-100, 100), st.floats(-30, 30), st.sampled_from([1e-6, -1e-6, 1 / 180, -1 / 180, 1 / 900]))
def test_locate_inverts_place(a, n, curvature):
    ground = flat(curvature=curvature)
    x, y, _ = ground.place(np.array(a), np.array(n))
    back = ground.locate(x, y)
    assert float(back[0]) == pytest.approx(a, abs=1e-4)
    assert float(back[1]) == pytest.approx(n, abs=1e-4)


def test_place_on_a_quarter_circle():
    # Radius 100 to the left: a quarter turn ends at (100, 100), heading left.
    x, y, heading = flat(curvature=0.01).place(np.array(50 * np.pi), np.array(0.0))
    assert (float(x), float(y), float(heading)) == pytest.approx((100.0, 100.0, np.pi / 2))


def test_level_ground_is_met_where_the_beam_comes_down():
    # A cross slope of -0.02 from the crown: stay close to straight ahead, where it is level.
    turn = cast(flat(), (-0.5, 0.5))
    s = turn.depth[:, turn.first : turn.stop]
    for beam in (20, 32, 50, 63):
        expected = MOUNT_HEIGHT_M / np.tan(np.radians(-ELEVATIONS_DEG[beam]))
        assert np.median(s[beam]) == pytest.approx(expected, rel=0.01)
    assert np.isinf(s[:7]).all()  # level and rising beams never come down


def test_a_bank_is_met_earlier_than_level_ground_and_hides_what_is_behind():
    bank = flat(half_road=4.0, banks=((0.0, 1.0, 0.0), (0.5, 8.0, 0.0)))
    turn = cast(bank, (85.0, 95.0))
    s = turn.depth[:, turn.first : turn.stop]
    # Up to 4 m at 13 m distance: above the sensor, so even the top beam (+2 degrees) meets it,
    # where 0.5 (s - 5) - 0.08 - 1.73 = s tan 2.
    expected = (2.5 + 0.08 + MOUNT_HEIGHT_M) / (0.5 - np.tan(np.radians(2.0)))
    assert np.median(s[0]) == pytest.approx(expected, rel=0.03)


def test_the_car_leans_with_the_road():
    # On a steady cross slope the sensor leans along, and the ground looks level.
    turn = cast(flat(crossfall=0.05, half_road=0.01, pavement=300.0), (60.0, 120.0), lateral=5.0)
    beam = turn.depth[40, turn.first : turn.stop]
    assert np.median(beam) == pytest.approx(MOUNT_HEIGHT_M / np.tan(np.radians(-ELEVATIONS_DEG[40])), rel=0.01)


def test_kerb_raises_the_pavement():
    ground = flat(half_road=4.0, kerb=0.12, pavement=2.0)
    road, pavement = ground.height(np.zeros(2), np.array([3.99, 4.2]))
    assert pavement - road == pytest.approx(0.12, abs=0.002)
