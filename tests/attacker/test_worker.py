"""Three toy attacks, one for each kind of traffic, through queue, workers and store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from attacker.attacks.base import (
    CapturedFrame,
    Grants,
    Inverter,
    Needs,
    Reconstruction,
    SessionInfo,
)
from attacker.decoding import decode_frame
from attacker.frames import RawFrame
from attacker.inverting import Inverters
from attacker.queue import Entry, FrameQueue, Mode
from attacker.reconstructions import Reconstructions, finished
from attacker.sessions import Ear, Sessions
from attacker.worker import Worker
from victims.base import Progress, Sample
from wire.arrays import unpack
from wire.mirror import UP
from wire.record import read


class Toy:
    """Base: opens its ``inverter``; learns nothing."""

    name = "toy"
    modality = "toy"
    needs = Needs("wire", "none")
    inverter: type

    def fit(self, data: Iterable[Sample], grants: Grants, work: Path, progress: Progress) -> Path:
        return work

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        made: Inverter = self.inverter()
        return made


class FrameByFrame:
    def rewind(self, incarnation: int, step: int) -> None: ...

    def finish(self) -> Sequence[Reconstruction]:
        return []


class Dense(Toy):
    """The mean of the features; fails on every fifth frame."""

    needs = Needs("wire", "none", batch=3)

    class inverter(FrameByFrame):
        def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
            if any(frame.frame % 5 == 4 for frame in frames):
                raise RuntimeError("cannot invert this\nsecond line")
            return [
                Reconstruction(
                    f.session, (f.frame,), "dense", {"mean": f.payloads("up")[0].tensors["x"].mean().numpy()}
                )
                for f in frames
            ]


class Sparse(Toy):
    """The sites of a window of two scans, one upon the other."""

    needs = Needs("wire", "none", window=2)

    class inverter(FrameByFrame):
        def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
            sites = np.concatenate([f.payloads("up", "features")[0].tensors["coords"].numpy() for f in frames])
            return [Reconstruction(frames[-1].session, tuple(f.frame for f in frames), "sparse", {"sites": sites})]


class Training(Toy):
    """Adds up gradients in order, through a rollback; gives one reconstruction at the end."""

    needs = Needs("wire", "none", order="in_order")

    class inverter:
        def __init__(self) -> None:
            self.steps: list[tuple[int, int]] = []
            self.total = 0.0
            self.rewinds: list[int] = []

        def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
            for frame in frames:
                assert len(frame.payloads("down", "embeddings")) == 1
                self.steps.append((frame.incarnation, frame.frame))
                self.total += sum(float(p.tensors["g"][0, 0]) for p in frame.payloads("up", "gradients"))
            return []

        def rewind(self, incarnation: int, step: int) -> None:
            self.rewinds += [incarnation, step]

        def finish(self) -> Sequence[Reconstruction]:
            arrays = {"steps": np.array(self.steps), "total": np.array(self.total), "rewinds": np.array(self.rewinds)}
            return [Reconstruction("s", tuple(n for _, n in self.steps), "training", arrays)]


def run(traffic, folder: Path, attack: Toy, messages, mode: Mode = "lossless", workers: int = 2) -> FrameQueue:
    """Everything between the mirror and the disk, in this process."""
    name = type(attack).__name__.lower()
    sessions, store = Sessions(), Reconstructions(folder, 1 << 30)
    queue = FrameQueue({name: attack.needs}, mode, 4)
    inverters = Inverters({name: attack}, {name: Grants()})
    threads = [Worker(n, queue, inverters, store) for n in range(workers)]
    for thread in threads:
        thread.start()
    for connection, part in enumerate(messages):
        ear = Ear(sessions)
        for record in traffic.session_records(part, connection):
            for event in ear.feed(record):
                for session in sessions:
                    inverters.know(session.info)
                if isinstance(event, RawFrame):
                    queue.put(Entry(decode_frame(event), 0))
    queue.close(drain=True)
    for thread in threads:
        thread.join(20)
    store.close()
    return queue


def test_dense_a_failing_frame_is_recorded_and_the_others_go_on(traffic, tmp_path: Path) -> None:
    queue = run(traffic, tmp_path, Dense(), [traffic.opening() + traffic.inference(range(12), size=50)])
    made = {}
    failures = []
    for recorded in read(tmp_path):
        if recorded.topic == "reconstruction":
            arrays, meta = unpack(recorded.data)
            made[meta["frames"]] = float(arrays["mean"])
            assert {"decode_ms", "wait_ms", "invert_ms"} <= set(meta)
            assert meta["t_captured_ns"] == recorded.log_ns > 0
        else:
            failures.append(recorded.json())
    assert made == {
        (n,): pytest.approx(float(traffic.dense(n, 50).tensors["x"].mean())) for n in range(12) if n % 5 != 4
    }
    assert sorted(f["frames"][0] for f in failures) == [4, 9]
    assert {f["reason"] for f in failures} == {"RuntimeError: cannot invert this"}
    counts = queue.counts()["dense"]
    assert (counts.inverted, counts.failed) == (10, 2)
    assert finished(tmp_path) == {("dense", traffic.SESSION.hex(), 0, n) for n in range(12)}


def test_sparse_windows_of_two(traffic, tmp_path: Path) -> None:
    up = traffic.Sender(UP)
    messages = traffic.opening() + [m for n in range(4) for m in up.send(traffic.sparse(n), exchange=n)]
    run(traffic, tmp_path, Sparse(), [messages])
    found = {unpack(r.data)[1]["frames"]: unpack(r.data)[0]["sites"] for r in read(tmp_path)}
    assert set(found) == {(0, 1), (1, 2), (2, 3)}
    for frames, sites in found.items():
        expected = [traffic.sparse(n).tensors["coords"].numpy() for n in frames]
        np.testing.assert_array_equal(sites, np.concatenate(expected))


def test_training_in_order_through_a_rollback(traffic, tmp_path: Path) -> None:
    first = traffic.opening() + traffic.training(range(5), parts=3)
    second = traffic.opening(incarnation=1) + traffic.training(range(2, 7), parts=3)
    run(traffic, tmp_path, Training(), [first, second], workers=3)
    (recorded,) = read(tmp_path)
    arrays, _ = unpack(recorded.data)
    steps = [(0, n) for n in range(5)] + [(1, n) for n in range(2, 7)]
    assert arrays["steps"].tolist() == [list(step) for step in steps]
    assert float(arrays["total"]) == pytest.approx(sum(3 * n + 0.3 for _, n in steps))
    assert arrays["rewinds"].tolist() == [1, 2]


class Learning(Toy):
    """Learns from every frame and rebuilds every third; fails on frame 4."""

    needs = Needs("wire", "none", order="in_order", learns=True)

    class inverter(FrameByFrame):
        def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
            if any(f.frame == 4 for f in frames):
                raise RuntimeError("no")
            return [Reconstruction(f.session, (f.frame,), "", {"x": np.ones(1)}) for f in frames if f.frame % 3 == 0]


def test_what_is_learnt_from_is_counted_and_not_done_again(traffic, tmp_path: Path) -> None:
    queue = run(traffic, tmp_path, Learning(), [traffic.opening() + traffic.inference(range(8), size=50)])
    counts = queue.counts()["learning"]
    assert (counts.offered, counts.inverted, counts.learnt, counts.failed) == (8, 3, 4, 1)
    noted = [r.json() for r in read(tmp_path) if r.topic == "learnt"]
    assert [n["frames"] for n in noted] == [[1], [2], [5], [7]]
    assert noted[0] == {"attack": "learning", "session": traffic.SESSION.hex(), "incarnation": 0, "frames": [1]}
    assert finished(tmp_path) == {("learning", traffic.SESSION.hex(), 0, n) for n in range(8)}
    with pytest.raises(ValueError, match=r"^an attack that learns has order 'any'; accepted: in_order$"):
        Needs("wire", "none", learns=True)


def test_one_that_begins_after_a_rollback_is_told(traffic, tmp_path: Path) -> None:
    """It may have found a state of its own from before."""
    run(traffic, tmp_path, Training(), [traffic.opening(incarnation=2) + traffic.training(range(3, 5))])
    (recorded,) = read(tmp_path)
    assert unpack(recorded.data)[0]["rewinds"].tolist() == [2, 3]


def test_what_an_attack_gives_that_cannot_be_stored_is_its_failure(traffic, tmp_path: Path) -> None:
    class Dense(Toy):
        class inverter(FrameByFrame):
            def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
                return [Reconstruction("s", (frames[0].frame,), "dense", {"names": np.array(["x"])})]

    queue = run(traffic, tmp_path, Dense(), [traffic.opening() + traffic.inference(range(2), size=10)])
    assert queue.counts()["dense"].failed == 2
    assert all("<U1" in str(r.json()["reason"]) for r in read(tmp_path))
