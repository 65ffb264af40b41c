"""The ring behind the edge's control port: a sample is there before its answer is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Timer

import httpx
import numpy as np
import pytest

from edge.config import EdgeSettings
from edge.ring import KEPT, Finished, Ring, Taken
from edge.service import EdgeControl
from victims.base import Sample
from wire.arrays import unpack

POINTS = np.arange(8, dtype=np.float32).reshape(2, 4)
SAMPLE = Sample("street-3", {"points": POINTS}, {"labels": np.array([2], np.int64)}, {"step": 7})


@pytest.fixture
def served() -> Iterator[tuple[Ring, httpx.Client]]:
    ring = Ring()
    control = EdgeControl(ring, dict, EdgeSettings, lambda settings: {})
    with httpx.Client(base_url=f"http://127.0.0.1:{control.start()}", timeout=30) as client:
        yield ring, client
    control.stop()


def test_a_sample_can_be_had_while_its_head_still_works(served: tuple[Ring, httpx.Client]) -> None:
    ring, client = served
    assert client.get("/samples/latest").status_code == 204
    ring.take(Taken(4, SAMPLE, time.monotonic_ns() - 250_000_000))
    answer = client.get("/samples/latest", params={"after": 3})
    arrays, meta = unpack(answer.content)
    np.testing.assert_array_equal(arrays["points"], POINTS)
    np.testing.assert_array_equal(arrays["truth.labels"], [2])
    assert (meta["frame"], meta["name"], meta["step"]) == (4, "street-3", 7)
    assert float(answer.headers["X-Age-Ms"]) >= 250.0
    assert client.get("/samples/latest", params={"after": 4}).status_code == 204
    assert client.get("/outcomes/4").status_code == 404
    assert client.get("/frames").json() == []


def test_who_waits_is_woken_by_the_next_sample(served: tuple[Ring, httpx.Client]) -> None:
    ring, client = served
    Timer(0.1, lambda: ring.take(Taken(0, SAMPLE, time.monotonic_ns()))).start()
    answer = client.get("/samples/latest", params={"wait_s": 20})
    assert unpack(answer.content)[1]["frame"] == 0


def test_an_answer_can_be_had_alone_and_its_row_tells_the_capture(served: tuple[Ring, httpx.Client]) -> None:
    ring, client = served
    outcome = {"scores": np.array([0.5], np.float32)}
    for frame in range(KEPT + 1):
        ring.add(Finished(frame, {"frame": frame, "head": 3.0}, SAMPLE, outcome, 1_000 + frame))
    rows = client.get("/frames", params={"after": KEPT - 1}).json()
    assert [(row["frame"], row["capture_ns"], row["head"]) for row in rows] == [(KEPT, 1_000 + KEPT, 3.0)]
    found, _ = unpack(client.get(f"/outcomes/{KEPT}").content)
    assert list(found) == ["scores"]
    assert {"points", "truth.labels", "outcome.scores"} == set(unpack(client.get("/truth").content)[0])
    assert client.get("/outcomes/0").status_code == 404  # no longer kept
