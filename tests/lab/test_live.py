"""The live demo over real processes: the page's knob reaches the line, and another split opens a new session.

What a browser shows of it, and after kills, is in ``test_live_page.py``."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from attacker.knowledge import KnowledgeCard
from lab.live import Live, demo_cut, for_every_split, is_training, live_settings
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Settings
from tests.asking import HTTP
from wire.errors import InputError

WAIT_S = 120.0


def cut(split: str) -> StreamSettings:
    if split not in ("conv3.0", "conv4.0"):
        raise InputError(f"split {split!r}: no weights for it")
    return StreamSettings(
        victim="second",
        split=split,
        victim_settings={"preset": "street", "weights": "shipped", "view": "camera"},
        attacks=[AttackChoice("coordinates")],
        knowledge=KnowledgeCard(),
        seed=3,
        defense="feature_centric",
        defense_settings={"strength": 0.0},
    )


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with Live("conv4.0", cut, tmp_path) as running:
        thread = threading.Thread(target=running.run)
        thread.start()
        yield running
        running.end()
        thread.join()


def until(live: Live, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The page's state once something holds of it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        state: dict[str, Any] = HTTP.get(f"{live.address}state", timeout=30).json()
        if {"status", "wire", "scores"} <= set(state) and true(state):
            return state
        assert time.monotonic() < deadline, state.get("status")
        time.sleep(0.1)


def test_the_knob_and_another_split(live: Live) -> None:
    first = until(live, lambda s: "coordinates" in s["scores"])
    assert first["status"]["link"]["up"]["rate_mbps"] == 941.0
    wish = {"defense": {"name": "feature_centric", "settings": {"strength": 2.0}}}
    answer = HTTP.patch(f"{live.address}settings", json=wish, timeout=30).json()
    assert answer["defense"]["segment"] == 1
    until(live, lambda s: s["wire"]["frame"] >= answer["defense"]["first_frame"])
    scored = until(live, lambda s: True)["wire"]["frame"]
    until(live, lambda s: s["scores"]["coordinates"]["frame"] > scored)
    refused = HTTP.patch(f"{live.address}settings", json={"split": "conv2.0"}, timeout=30)
    assert (refused.status_code, refused.json()["error"]) == (
        422,
        "edge: split 'conv2.0' is not offered here; there are: conv3.0, conv4.0",
    )
    assert HTTP.patch(f"{live.address}settings", json={"split": "conv3.0"}, timeout=30).status_code == 200
    there = until(live, lambda s: s["status"]["split"] == "conv3.0" and "coordinates" in s["scores"])
    assert (there["about"]["split"], there["about"]["splits"]) == ("conv3.0", ["conv3.0", "conv4.0"])


def test_a_port_in_use_is_one_line_and_nothing_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failing = Live("conv4.0", cut, tmp_path, port)
        with pytest.raises(InputError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"), failing:
            pass
    assert not failing.roles


def test_one_listener_is_ready_for_every_split_point() -> None:
    _, streams = demo_cut("demo-lidar", Settings(options={"strength": 0.0}))
    told = for_every_split({split: streams(split) for split in ("conv3.0", "conv4.0")})
    rows = {row["label"]: row.get("splits", {}) for row in told}
    assert {name: list(splits) for name, splits in rows.items()} == {
        "coordinates": [],
        "concretizer": ["conv3.0", "conv4.0"],
        "concretizer-aware": ["conv3.0"],
    }
    for splits in rows.values():
        assert all(path.stem.endswith(split) for split, files in splits.items() for path in files.values())


def test_a_training_goes_on_for_as_long_as_it_has_steps_at_one_cut() -> None:
    split, streams = demo_cut("demo-radiance", Settings(options={"side": 8, "views": 6, "steps": 1000}))
    told = live_settings(streams(split))
    assert is_training(told)
    assert (told.mode, told.frames, told.rate_hz, told.defense) == ("live", 0, 8.0, "none")
    assert told.victim_settings["curve_every"] == 16
    lidar = streams_of_lidar()
    assert not is_training(lidar)
    assert (lidar.frames, lidar.rate_hz) == (100, 2.0)


def streams_of_lidar() -> StreamSettings:
    split, streams = demo_cut("demo-lidar", Settings(options={"strength": 0.0}))
    return live_settings(streams(split))


def test_a_demo_study_tells_its_split_points() -> None:
    split, streams = demo_cut("demo-lidar", Settings(options={"strength": 0.0}))
    assert split == "conv3.0"
    assert streams("conv4.0").split == "conv4.0"
    with pytest.raises(InputError, match="conv9"):
        streams("conv9")
