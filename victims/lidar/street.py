"""The procedural street: an endless, deterministic source of labelled LiDAR scans.

A seed fixes a kind of scene, the ground and everything that stands on it, block after block along the road; a frame is
one turn of the sensor from a car that drives along it, about a metre a frame. The static world is the same in every
frame of a seed; cars and people in motion keep their own speeds. No recorded data is used.
"""

from __future__ import annotations

import numpy as np

from victims.lidar.ground import Ground
from victims.lidar.scan import Scan
from victims.lidar.scenery import ADVANCE_M, BLOCK_M, LOOP_M, Placed, Street, block_of, street_of
from victims.lidar.sensor import Turn
from victims.lidar.shapes import Shape

TRAIN_SEEDS = range(500_000)
"""Streets a victim is trained on."""
ATTACK_SEEDS = range(500_000, 1_000_000)
"""Streets an attack is trained on (and, from their held-out tail, its thresholds)."""
STREAM_SEEDS = range(1_000_000, 2_000_000)
"""Streets a victim streams; no training ever draws from them."""

_SIGHT_M = 105.0
_MIN_POINTS = 5


def street_scan(seed: int, frame: int = 0, *, azimuth_deg: tuple[float, float] = (-180.0, 180.0)) -> Scan:
    """Scan number `frame` (>= 0) of a drive along the street `seed` (>= 0).

    The same seed and frame give bit-identical points. `azimuth_deg` (low, high) casts only the columns with
    low <= azimuth < high in degrees, with exactly the points that the full scan has there. Objects with fewer than five
    points are not labelled. Raises ValueError for a negative seed or frame and for an empty or reversed sector.
    """
    if seed < 0 or frame < 0:
        raise ValueError(f"street_scan(seed={seed}, frame={frame}): both must be 0 or more")
    street = street_of(seed)
    ground = street.ground
    rng = np.random.Generator(np.random.SFC64([seed, 3, frame]))
    turn = Turn(rng, azimuth_deg)
    station = ADVANCE_M * frame
    lateral = street.lane + 0.15 * float(np.sin(0.11 * frame + seed % 7))
    yaw = 0.012 * float(np.sin(0.07 * frame + seed % 5))
    placed = _visible(seed, street, frame, station)
    ground.cast(turn, station, lateral, yaw)
    shapes, poses, owners, anchors = _flatten(ground, placed, station, lateral, yaw)
    turn.cast(shapes, poses, owners)
    returns = turn.returns()
    boxes, labels = _boxes(placed, anchors, returns.owner)
    return Scan(returns.points, boxes, labels, f"street-{seed}-{frame}")


def _visible(seed: int, street: Street, frame: int, station: float) -> list[Placed]:
    first, last = int((station - _SIGHT_M) // BLOCK_M), int((station + _SIGHT_M) // BLOCK_M)
    placed = [thing for index in range(first, last + 1) for thing in block_of(seed, index)]
    for mover in street.movers:
        apart = (mover.a + mover.speed * frame - station + LOOP_M / 2) % LOOP_M - LOOP_M / 2
        # Nothing may overlap the car that carries the sensor.
        if abs(apart) < 6.0 and abs(mover.n - street.lane) < 2.2:
            continue
        placed.append(Placed(mover.thing, station + apart, mover.n, mover.yaw))
    return placed


def _flatten(
    ground: Ground, placed: list[Placed], station: float, lateral: float, yaw: float
) -> tuple[list[Shape], np.ndarray, np.ndarray, np.ndarray]:
    """Shapes, their poses (P, 4) and owners (P,), and the anchor (T, 4) of each thing, in the sensor's frame."""
    at = np.array([(p.a, p.n, p.yaw) for p in placed])
    x, y, heading = ground.place(at[:, 0] - station, at[:, 1])
    y = y - lateral
    c, s = np.cos(yaw), np.sin(yaw)
    x, y = c * x + s * y, c * y - s * x
    z = ground.seen(station, lateral, yaw).apply(ground.height(at[:, 0], at[:, 1]), x, y)
    anchors = np.stack([x, y, z, heading + at[:, 2] - yaw], axis=1)
    owners = np.repeat(np.arange(len(placed)), [len(p.thing.parts) for p in placed])
    shapes = [part[0] for p in placed for part in p.thing.parts]
    local = np.array([part[1:] for p in placed for part in p.thing.parts], float)
    base = anchors[owners]
    c, s = np.cos(base[:, 3]), np.sin(base[:, 3])
    poses = base + local
    poses[:, 0] = base[:, 0] + c * local[:, 0] - s * local[:, 1]
    poses[:, 1] = base[:, 1] + s * local[:, 0] + c * local[:, 1]
    return shapes, poses, owners, anchors


def _boxes(placed: list[Placed], anchors: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    counts = np.bincount(owner[owner >= 0], minlength=len(placed))
    rows, labels = [], []
    for i in np.flatnonzero(counts >= _MIN_POINTS):
        thing = placed[i].thing
        if thing.label is None or thing.box is None:
            continue
        x, y, z, heading = anchors[i]
        bx, by, bz, dx, dy, dz = thing.box
        c, s = np.cos(heading), np.sin(heading)
        wrapped = (heading + np.pi) % (2 * np.pi) - np.pi
        rows.append((x + c * bx - s * by, y + s * bx + c * by, z + bz, dx, dy, dz, wrapped))
        labels.append(thing.label)
    return np.array(rows, np.float32).reshape(-1, 7), tuple(labels)
