"""A running edge is moved to another split point: a new session in the same stream, the same record, no frame lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from cloud.config import CloudConfig
from cloud.service import Tails
from edge.config import EdgeConfig
from edge.run import Edge
from tests.asking import HTTP
from victims.base import LAYOUTS, Cut, Exchange, Outcome, Sample, config_digest, weights_digest
from wire import arrays, record
from wire.errors import InputError
from wire.payload import Payload
from wire.server import CloudServer

WAIT_S = 60.0
FACTORS = {"early": 2.0, "middle": 3.0, "late": 5.0, "bare": 7.0}
"""The head multiplies by it: an answer tells where the network was cut."""


class Toy:
    """A victim whose answers name their split point: ``y = factor * x + 1``. ``bare`` has no weights."""

    name, modality, splits = "toy", "lidar", tuple(FACTORS)

    def cut(self, split: str, settings: Mapping[str, Any]) -> Cut:
        if split == "bare":
            raise InputError("no weights for bare")
        factor = torch.tensor([FACTORS[split]])
        digests = weights_digest({"factor": factor}), config_digest({})
        return Cut("toy", split, *digests, lambda: Head(factor), Tail)

    def samples(self, source: str, settings: Mapping[str, Any]) -> Iterator[Sample]:
        return (Sample(str(n), {"x": np.full(4, n, np.float32)}) for n in count(1))


class Head:
    emits = frozenset({"dense"})

    def __init__(self, factor: torch.Tensor) -> None:
        self._factor = factor

    def exchange(self, sample: Sample) -> Exchange:
        features = torch.from_numpy(sample.arrays["x"]) * self._factor
        replies = yield [Payload("features", "dense", {"features": features})]
        return Outcome({"y": next(replies).tensors["y"].numpy()})


class Tail:
    accepts = frozenset({"dense"})

    def reply(self, payload: Payload) -> Payload:
        return Payload("result", "dense", {"y": payload.tensors["features"] + 1})


class Running:
    """An edge in a thread, as its control port shows it."""

    def __init__(self, config: EdgeConfig) -> None:
        self._stop, self.port = threading.Event(), 0
        edge, ready = Edge(config), threading.Event()

        def is_ready(port: int) -> None:
            self.port = port
            ready.set()

        self._thread = threading.Thread(target=lambda: edge.run(self._stop, is_ready))
        self._thread.start()
        assert ready.wait(WAIT_S)

    def ask(self, **wish: Any) -> httpx.Response:
        return HTTP.patch(f"http://127.0.0.1:{self.port}/settings", json=wish, timeout=WAIT_S)

    def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while not true(state := HTTP.get(f"http://127.0.0.1:{self.port}/state", timeout=WAIT_S).json()):
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return dict(state)

    def end(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EdgeConfig]:
    monkeypatch.setitem(LAYOUTS, "dense", lambda payload: None)
    monkeypatch.setattr("edge.run.victim", lambda name: Toy())
    monkeypatch.setattr("cloud.service.victim", lambda name: Toy())
    server = CloudServer(Tails(CloudConfig(victim="toy", splits=["early", "middle"])))
    yield EdgeConfig(
        address=f"127.0.0.1:{server.start()}",
        victim="toy",
        split="early",
        splits=list(FACTORS),
        mode="live",
        rate_hz=50.0,
        folder=tmp_path / "edge",
    )
    server.stop(0)


def recorded(folder: Path) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]], dict[int, float]]:
    """Sessions in order; frame -> row; frame -> the factor that its answer tells."""
    sessions, rows, factors, seen = [], {}, {}, {}
    for item in record.read(folder):
        if item.topic == "session":
            sessions.append(json.loads(item.data))
        elif item.topic == "stages":
            row = json.loads(item.data)
            assert row["frame"] not in rows
            rows[row["frame"]] = row
        elif item.topic in ("sample", "outcome"):
            found, meta = arrays.unpack(item.data)
            if item.topic == "sample":
                seen[meta["frame"]] = float(found["x"][0])
            else:
                factors[meta["frame"]] = (float(found["y"][0]) - 1) / seen[meta["frame"]]
    return sessions, rows, factors


def test_the_stream_goes_on_in_a_new_session(config: EdgeConfig) -> None:
    edge = Running(config)
    edge.until(lambda s: s["answered"] > 3)
    answer = edge.ask(split="middle").json()
    assert answer["opening"] == "middle"
    moved = edge.until(lambda s: s["split"] == "middle")
    assert (moved["opening"], moved["trouble"], moved["session"], moved["segment"]) == (None, None, 1, 1)
    edge.until(lambda s: s["answered"] > moved["next_frame"] + 3)
    edge.end()

    sessions, rows, factors = recorded(config.folder)
    first = moved["first_frame"]
    assert [(s["split"], s["number"], s["first_frame"]) for s in sessions] == [("early", 0, 0), ("middle", 1, first)]
    assert len({s["session"] for s in sessions}) == 2
    assert sorted(rows) == list(range(len(rows)))  # none lost, none twice
    assert not any(row["error"] for row in rows.values())
    assert {frame: row["segment"] for frame, row in rows.items()} == {frame: int(frame >= first) for frame in rows}
    for frame, factor in factors.items():
        assert factor == pytest.approx(FACTORS["middle" if frame >= first else "early"]), frame
    # strengths are measured in each session's own clean features: four samples of constant n = 1 to 4
    stored = {name: json.loads((config.folder / name).read_text())["rms"] for name in CALIBRATIONS}
    assert stored["calibration-middle.json"] == pytest.approx(1.5 * stored["calibration.json"])
    assert stored["calibration.json"] == pytest.approx(2 * np.sqrt(np.mean([1, 4, 9, 16])))


CALIBRATIONS = ("calibration.json", "calibration-middle.json")


def test_one_that_was_ended_goes_on_where_it_was_moved_to(config: EdgeConfig) -> None:
    edge = Running(config)
    edge.until(lambda s: s["answered"] > 0)
    edge.ask(split="middle")
    before = edge.until(lambda s: s["split"] == "middle" and s["next_frame"] > s["first_frame"])
    edge.end()
    again = Running(config)
    after = again.until(lambda s: s["answered"] > 0)
    again.end()
    assert (after["split"], after["splits"]) == ("middle", list(FACTORS))
    assert after["first_frame"] >= before["next_frame"]


@pytest.mark.parametrize(
    ("split", "line"),
    [
        ("deep", "split 'deep' is not offered here; there are: early, middle, late, bare"),
        ("bare", "no weights for bare"),
    ],
)
def test_what_cannot_be_had_is_refused_at_once(config: EdgeConfig, split: str, line: str) -> None:
    edge = Running(config)
    edge.until(lambda s: s["answered"] > 0)
    refused = edge.ask(split=split)
    now = edge.until(lambda s: s["answered"] > 5)
    edge.end()
    assert (refused.status_code, refused.json()["error"]) == (422, line)
    assert (now["split"], now["session"], now["segment"]) == ("early", 0, 0)


def test_a_cloud_that_refuses_the_new_session_leaves_the_old_one_running(config: EdgeConfig) -> None:
    edge = Running(config)
    edge.until(lambda s: s["answered"] > 0)
    assert edge.ask(split="late").status_code == 200
    told = edge.until(lambda s: s["trouble"])
    assert told["trouble"].startswith("split late: BAD_SPLIT")
    assert "served: early, middle" in told["trouble"]
    on = edge.until(lambda s: s["answered"] > told["answered"] + 3)
    assert (on["split"], on["failed"], on["opening"]) == ("early", 0, None)
    edge.ask(split="middle")  # the next wish is as good as the first
    edge.until(lambda s: s["split"] == "middle" and s["trouble"] is None)
    edge.end()
    sessions, rows, _ = recorded(config.folder)
    assert [s["split"] for s in sessions] == ["early", "middle"]
    assert not any(row["error"] for row in rows.values())


def test_a_knob_that_is_turned_while_paused_holds_in_the_new_session(config: EdgeConfig) -> None:
    edge = Running(config)
    edge.until(lambda s: s["answered"] > 0)
    edge.ask(paused=True)
    edge.ask(defense={"name": "feature_centric", "settings": {"strength": 0.5}})
    edge.ask(split="middle")
    moved = edge.until(lambda s: s["split"] == "middle")
    assert (moved["paused"], moved["defense"]["settings"]) == (True, {"strength": 0.5})
    assert moved["segment"] == 2
    edge.ask(paused=False)
    edge.until(lambda s: s["next_frame"] > moved["next_frame"] + 3)
    edge.ask(paused=True)
    edge.end()  # a stop does not wait for whoever paused it


def test_a_split_point_that_does_not_exist_is_refused_before_anything_starts(config: EdgeConfig) -> None:
    with pytest.raises(InputError, match="split 'deep' does not exist in toy; there are: early, middle, late, bare"):
        Edge(config.model_copy(update={"splits": ["deep"]}))
