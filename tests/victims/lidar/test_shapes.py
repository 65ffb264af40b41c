"""Where rays meet shapes, against values worked out by hand and against an independent construction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from victims.lidar.shapes import Box, Column, Convex, Ellipsoid, Hit, Paint, Pose, Rays, Tube
from victims.lidar.traffic import plane
from victims.lidar.walls import Facade, Ring, Screen, Shell


def rays(azimuth_deg, tan, uniform: float = 0.5) -> Rays:
    """A grid of rays: azimuths in degrees across, tangents of the elevation down."""
    azimuth = np.radians(np.atleast_1d(np.asarray(azimuth_deg, float)))
    tangent = np.atleast_1d(np.asarray(tan, float)).astype(np.float32)[:, None]
    grid = np.full((tangent.shape[0], azimuth.size), uniform, np.float32)
    cos, sin = np.cos(azimuth).astype(np.float32)[None], np.sin(azimuth).astype(np.float32)[None]
    return Rays(cos + np.float32(1e-9), sin + np.float32(1e-9), tangent, np.sqrt(1 + tangent**2), grid)


def one(hit: Hit, bundle: Rays) -> float:
    s = np.broadcast_to(hit.s, bundle.uniform.shape)
    assert s.size == 1
    return float(s[0, 0])


def test_box_front_top_and_miss():
    box, ahead = Box(2.0, 4.0, 1.0), Pose(10.0, 0.0, -1.5, 0.0)
    low = rays(0.0, -0.1)
    # Front face at x = 9, met at z = -0.9, inside -1.5..-0.5.
    assert one(box.cast(low, ahead), low) == pytest.approx(9.0, abs=1e-4)
    # z = -s/20 is -0.45 at the front face (above the box) and reaches the top, z = -0.5, at s = 10.
    flat = rays(0.0, -0.05)
    hit = box.cast(flat, ahead)
    assert one(hit, flat) == pytest.approx(10.0, abs=1e-4)
    assert float(np.broadcast_to(hit.facing, (1, 1))[0, 0]) == pytest.approx(0.05 / np.sqrt(1 + 0.05**2), abs=1e-5)
    over = rays(0.0, 0.1)
    assert one(box.cast(over, ahead), over) == np.inf


def test_box_turned_by_a_quarter_shows_its_long_side():
    bundle = rays(0.0, -0.1)
    assert one(Box(2.0, 4.0, 2.0).cast(bundle, Pose(10.0, 0.0, -1.5, np.pi / 2)), bundle) == pytest.approx(
        8.0, abs=1e-4
    )


def test_box_behind_the_sensor_is_not_met():
    bundle = rays(0.0, -0.1)
    assert one(Box(2.0, 4.0, 2.0).cast(bundle, Pose(-10.0, 0.0, -1.5, 0.0)), bundle) == np.inf


def test_column_is_met_at_its_radius_widened_by_the_spot():
    bundle = rays([0.0, 7.0], 0.01)
    s = np.broadcast_to(Column(1.0, 1.0, 3.0).cast(bundle, Pose(10.0, 0.0, -1.5, 0.0)).s, (1, 2))
    assert s[0, 0] == pytest.approx(10.0 - 1.008, abs=1e-4)  # spread 0.0008 rad over 10 m
    assert s[0, 1] == np.inf  # passes 10 sin 7 = 1.22 m beside the axis


def test_ellipsoid_is_met_on_its_half_axes():
    bundle = rays(0.0, [0.0, 0.06])
    s = Ellipsoid(2.0, 1.0, 0.5).cast(bundle, Pose(10.0, 0.0, 0.0, 0.0)).s
    assert s[0, 0] == pytest.approx(8.0, abs=1e-4)
    assert s[1, 0] == np.inf  # 0.06 * s > 0.5 wherever the ray is within the middle
    assert one(Ellipsoid(2.0, 1.0, 0.5).cast(rays(0.0, 0.0), Pose(10.0, 0.0, 0.0, np.pi / 2)), rays(0.0, 0.0)) == (
        pytest.approx(9.0, abs=1e-4)
    )


def test_ellipsoid_hits_lie_on_its_surface():
    bundle = rays(np.linspace(-20, 20, 41), np.linspace(-0.2, 0.2, 21))
    shape = Ellipsoid(2.0, 1.3, 0.8)
    s = shape.cast(bundle, Pose(8.0, 0.5, 0.1, 0.0)).s
    met = np.isfinite(s)
    s = np.where(met, s, 1.0)
    x, y, z = s * bundle.cos - 8.0, s * bundle.sin - 0.5, s * bundle.tan - 0.1
    assert met.sum() > 100
    assert np.allclose(((x / 2.0) ** 2 + (y / 1.3) ** 2 + (z / 0.8) ** 2)[met], 1.0, atol=1e-3)


def test_tube_hits_lie_at_its_radius_from_the_axis_and_between_its_ends():
    bundle = rays(np.linspace(-15, 15, 121), np.linspace(-0.2, 0.2, 41))
    start, end = np.array([0.0, -1.0, -0.5]), np.array([0.4, 1.0, 0.7])
    s = Tube(tuple(start), tuple(end), 0.1).cast(bundle, Pose(6.0, 0.0, 0.0, 0.0)).s
    met = np.isfinite(s)
    assert met.sum() > 50
    s = np.where(met, s, 1.0)
    points = np.stack(np.broadcast_arrays(s * bundle.cos - 6.0, s * bundle.sin, s * bundle.tan), -1)[met] - start
    axis = (end - start) / np.linalg.norm(end - start)
    along = points @ axis
    spread = 0.0008 * np.linalg.norm(np.array([-6.0, 0, 0]) - start)
    assert along.min() > -1e-3
    assert along.max() < np.linalg.norm(end - start) + 1e-3
    assert np.allclose(np.linalg.norm(points - along[:, None] * axis, axis=1), 0.1 + spread, atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(3, 30), st.floats(-10, 10), st.floats(-3, 0.5), st.floats(-3.1, 3.1),
    st.floats(0.3, 5), st.floats(0.3, 5), st.floats(0.3, 3),
)  # fmt: skip
def test_convex_of_six_planes_is_a_box(x, y, z, yaw, length, width, height):
    a, b = length / 2, width / 2
    six = (
        plane(1, 0, 0, a, 0, 0), plane(-1, 0, 0, -a, 0, 0), plane(0, 1, 0, 0, b, 0),
        plane(0, -1, 0, 0, -b, 0), plane(0, 0, 1, 0, 0, height), plane(0, 0, -1, 0, 0, 0),
    )  # fmt: skip
    box = Box(length, width, height)
    convex = Convex(six, box.extent)
    bundle = rays(np.linspace(-80, 80, 161), np.linspace(-0.45, 0.1, 31))
    pose = Pose(x, y, z, yaw)
    if np.hypot(x, y) < np.hypot(a, b) + 0.5:
        return
    expected, got = np.broadcast_to(box.cast(bundle, pose).s, (31, 161)), convex.cast(bundle, pose).s
    differ = ~np.isclose(expected, got, atol=1e-3, rtol=1e-4) & ~(np.isinf(expected) & np.isinf(got))
    # Rays that graze an edge may fall on either side of it in single precision.
    assert differ.mean() < 0.002


def test_porous_box_stops_rays_after_an_exponential_path():
    count = 20000
    numbers = ((np.arange(count) + 0.5) / count).astype(np.float32)[None]
    bundle = rays(np.zeros(count), 0.0)._replace(uniform=numbers)
    shape = Box(2.0, 100.0, 2.0, Paint(0.3, 0.0, density=0.8))
    s = shape.cast(bundle, Pose(11.0, 0.0, -1.0, 0.0)).s[0]
    met = np.isfinite(s)
    # Beer's law: 1 - exp(-0.8 * 2) of the rays stop within the two metres from x = 10 on.
    assert met.mean() == pytest.approx(1 - np.exp(-1.6), abs=1e-3)
    assert s[met].min() >= 10.0
    assert s[met].max() < 12.0
    assert np.median(s) == pytest.approx(10.0 + np.log(2) / 0.8, abs=2e-3)


def test_facade_sets_its_windows_back():
    wall = Facade(12.0, 6.0, Paint(0.4), bay=4.0, floor=3.0, pane=(2.0, 1.0), sill=1.0, recess=0.3, glass_drop=0.7)
    # The wall stands across the view at x = 10, its own x axis along +y; its foot is at z = -1.5. Bays span
    # -6..-2, -2..2, 2..6, with panes -1..1 in the middle one, 1..2 m above the foot: z = -0.5..0.5.
    pose = Pose(10.0, 0.0, -1.5, np.pi / 2)
    pane, pier, below = rays(0.0, 0.0), rays(np.degrees(np.arctan(0.15)), 0.0), rays(0.0, -0.1)
    hit = wall.cast(pane, pose)
    assert one(hit, pane) == pytest.approx(10.3, abs=1e-4)
    assert float(np.asarray(hit.drop)[0, 0]) == pytest.approx(0.7)
    assert one(wall.cast(pier, pose), pier) == pytest.approx(np.hypot(10, 1.5), abs=1e-3)
    assert one(wall.cast(below, pose), below) == pytest.approx(10.0, abs=1e-4)
    # Enters the opening 0.9 m beside its middle and slants outwards: the reveal at 1 m comes before the pane.
    slant = rays(np.degrees(np.arctan(0.9)), 0.0)
    side = Pose(1.0, 0.0, -1.5, np.pi / 2)
    assert one(wall.cast(slant, side), slant) == pytest.approx(np.hypot(1.0, 0.9) / 0.9, abs=1e-3)
    over = rays(0.0, 0.46)  # 4.6 m up at the wall, which ends at 4.5
    assert one(wall.cast(over, pose), over) == np.inf


def test_screen_stops_rays_at_its_bars_only():
    fence = Screen(10.0, 2.0, pitch=1.0, bar=0.2, fill=0.0)
    pose = Pose(10.0, 0.0, -1.0, np.pi / 2)
    lateral = np.array([0.1, 0.5, 1.1, 1.5])
    bundle = rays(np.degrees(np.arctan(lateral / 10)), 0.0)
    s = np.broadcast_to(fence.cast(bundle, pose).s, (1, 4))[0]
    assert np.isfinite(s).tolist() == [True, False, True, False]
    assert s[0] == pytest.approx(np.hypot(10, 0.1), abs=1e-3)
    assert np.isfinite(fence.cast(rays(0.0, 0.095), pose).s).all()  # the top rail, 0.92..1 m above the sensor


def test_ring_is_open_between_spokes():
    wheel, pose = Ring(0.35), Pose(0.0, 5.0, 0.0, 0.0)
    tyre, hub = rays(90.0, 0.07), rays(90.0, 0.0)
    assert one(wheel.cast(tyre, pose), tyre) == pytest.approx(5.0, abs=1e-4)
    assert one(wheel.cast(hub, pose), hub) == np.inf
    spoke = rays(90.0, 0.0, uniform=0.05)
    assert one(wheel.cast(spoke, pose), spoke) == pytest.approx(5.0, abs=1e-4)


def test_shell_is_met_on_the_side_that_exists():
    level = rays(0.0, 0.0)
    near_side, far_side = Pose(10.0, 0.0, -1.0, np.pi), Pose(10.0, 0.0, -1.0, 0.0)
    half = Shell(2.0, np.pi / 2, 2.0)
    assert one(half.cast(level, near_side), level) == pytest.approx(8.0, abs=1e-4)
    assert one(half.cast(level, far_side), level) == pytest.approx(12.0, abs=1e-4)
    around = Pose(0.0, 0.0, -1.0, 0.0)
    assert one(half.cast(level, around), level) == pytest.approx(2.0, abs=1e-4)


SHAPES = [
    Box(3.0, 1.0, 2.0),
    Box(3.0, 1.0, 2.0, Paint(0.3, 0.0, 2.0)),
    Column(0.5, 0.3, 2.0),
    Ellipsoid(1.5, 0.6, 0.8),
    Tube((-1, 0, 0), (1, 0.5, 1.0), 0.1),
    Ring(0.35),
    Facade(4.0, 3.0, bay=2.0),
    Screen(4.0, 1.5, 0.3, 0.1, 0.5),
    Shell(1.5, 2.0, 1.0),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
@settings(max_examples=25, deadline=None)
@given(distance=st.floats(4, 40), bearing=st.floats(-3.1, 3.1), z=st.floats(-3, 0.5), yaw=st.floats(-3.1, 3.1))
def test_hits_lie_within_the_extent(shape, distance, bearing, z, yaw):
    pose = Pose(distance * np.cos(bearing), distance * np.sin(bearing), z, yaw)
    bundle = rays(np.degrees(bearing) + np.linspace(-30, 30, 241), np.linspace(-0.45, 0.05, 61))
    s = np.broadcast_to(shape.cast(bundle, pose).s, bundle.uniform.shape)
    met = np.isfinite(s)
    s = np.where(met, s, 1.0)
    x, y = (s * bundle.cos)[met] - pose.x, (s * bundle.sin)[met] - pose.y
    c, k = np.cos(yaw), np.sin(yaw)
    local = np.stack([c * x + k * y, c * y - k * x, (s * bundle.tan)[met] - z], axis=1)
    low, high = np.array(shape.extent[0::2]), np.array(shape.extent[1::2])
    slack = 0.25 if isinstance(shape, Facade) else 0.005  # panes lie behind the wall's plane
    assert (local > low - slack).all()
    assert (local < high + slack).all()
