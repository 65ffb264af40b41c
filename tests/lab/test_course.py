"""The course of an attack, from recorded snapshots, against values that follow by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lab.course import Course, courses
from lab.metrics.pictures import psnr
from lab.runfolder import RunFolder
from wire import arrays
from wire.errors import RunError
from wire.record import RecordWriter

SIDE = 16
COUNT = 9


def picture(frame: int) -> np.ndarray:
    return np.random.default_rng(frame).integers(60, 200, (SIDE, SIDE, 3), dtype=np.uint8)


def off(frame: int, levels: int) -> np.ndarray:
    """The picture, every value off by so many levels: its PSNR is 20 log10(255 / levels)."""
    return (picture(frame) + levels).astype(np.uint8)


def record(
    path: Path, attack: str, levels: Sequence[int], iterations: Sequence[int], seconds: Sequence[float], frames: int
) -> RunFolder:
    """A run in which ``attack`` was off by so many levels at each snapshot, a level more with every frame."""
    run = RunFolder.create(path, "visual", {"seed": 1}) if not (path / "run.toml").exists() else RunFolder.open(path)
    with (
        RecordWriter(run.edge, max_bytes=1 << 30) as edge,
        RecordWriter(run.reconstructions, max_bytes=1 << 30) as made,
    ):
        for frame in range(frames):
            edge.write("sample", arrays.pack({"image": picture(frame)}, {"frame": frame, "name": str(frame)}), log_ns=1)
            found = {
                "image": off(frame, levels[-1] + frame),
                "snapshots": np.stack([off(frame, level + frame) for level in levels]),
                "snapshot_iteration": np.array(iterations),
                "snapshot_cpu_s": np.array(seconds),
            }
            meta = {"session": "5e", "frames": (frame,), "attack": attack}
            made.write("reconstruction", arrays.pack(found, meta), log_ns=1)
    return run


def db(levels: float) -> float:
    return float(20 * np.log10(255 / levels))


def test_values_at_equal_iterations_and_equal_time(tmp_path: Path) -> None:
    run = record(tmp_path / "runs", "fast", [40, 20, 10], [0, 50, 100], [0.0, 0.5, 1.0], COUNT)
    record(run.path, "slow", [40, 30, 5], [0, 10, 20], [0.0, 5.0, 10.0], COUNT)
    found = courses(run, {frame: str(frame) for frame in range(COUNT)}, seed=0)
    assert found.iterations(["fast", "slow"]) == 20
    assert found.cpu_s(["fast", "slow"]) == 1.0
    assert found.ends("slow")[3] == pytest.approx(db(8))
    assert found.after("fast", 50)[2] == pytest.approx(db(22))
    assert found.after("fast", 75)[0] == pytest.approx((db(20) + db(10)) / 2)  # between snapshots
    assert found.within("slow", 1.0)[0] == pytest.approx(db(40) + (db(30) - db(40)) / 5)
    assert found.gains("fast")[0] == pytest.approx((db(10) - db(20)) * 0.4)
    difference = found.difference(found.ends("slow"), found.ends("fast"))
    by_hand = [db(5 + frame) - db(10 + frame) for frame in range(COUNT)]
    assert difference.mean == pytest.approx(np.mean(by_hand))
    assert difference.low is not None
    assert min(by_hand) <= difference.low <= np.mean(by_hand)
    places, means = found.over_iterations("fast")
    assert (places[0], places[-1]) == (1, 100)
    assert means[-1] == pytest.approx(np.mean([db(10 + frame) for frame in range(COUNT)]))
    assert found.over_time("fast")[0][-1] == 1.0


def test_an_attack_without_snapshots_has_no_course_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    run = record(tmp_path / "runs", "whole", [9], [0], [0.1], 1)
    with RecordWriter(run.reconstructions, max_bytes=1 << 30) as made:
        meta = {"session": "5e", "frames": (0,), "attack": "floor"}
        made.write("reconstruction", arrays.pack({"image": picture(0)}, meta), log_ns=1)
    assert list(courses(run, {0: "0"}, 0).by_attack) == ["whole"]
    record(run.path, "torn", [9, 8], [0], [0.1, 0.2], 1)
    with pytest.raises(RunError, match="torn has snapshots without"):
        courses(run, {0: "0"}, 0)


def test_a_second_descent_goes_on_where_the_first_ended() -> None:
    steps = np.array([0, 10, 10, 20])
    course = Course(steps, steps / 10, np.array([10.0, 20.0, 21.0, 25.0]))
    assert psnr(picture(0), off(0, 1)) > course.after(100) == 25.0
    assert course.gain == pytest.approx(25 - (21 + 0.6 * 4))
