"""A toy victim of each kind - dense, sparse, training - through the one driver and a real socket.

They are what shows that the contracts fit all three modalities before the modalities exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from cloud.service import Handler
from defenses.base import Calibration, Protected, Turn
from defenses.none import NoDefense
from defenses.registry import build
from edge.driver import Done, Driver
from victims.base import LAYOUTS, Exchange, Head, Outcome, Sample, Tail, register_layout
from wire.client import EdgeClient, Offer
from wire.errors import DecodeError
from wire.payload import Payload
from wire.server import CloudServer, Opening


def anything(payload: Payload) -> None:
    if any(not torch.isfinite(t).all() for t in payload.tensors.values() if t.is_floating_point()):
        raise DecodeError("toy: not finite")


for name in ("toy.dense", "toy.sparse", "toy.rays", "toy.embeddings", "toy.gradients"):
    register_layout(name, anything)


class DenseHead:
    emits = frozenset({"toy.dense"})

    def exchange(self, sample: Sample) -> Exchange:
        replies = yield [Payload("features", "toy.dense", {"x": torch.from_numpy(sample.arrays["x"]) * 2})]
        return Outcome({"y": next(replies).tensors["x"].numpy()})


class DenseTail:
    accepts = frozenset({"toy.dense"})

    def reply(self, payload: Payload) -> Payload:
        return Payload("result", "toy.dense", {"x": payload.tensors["x"] + 1})


class SparseHead:
    emits = frozenset({"toy.sparse"})

    def exchange(self, sample: Sample) -> Exchange:
        x = torch.from_numpy(sample.arrays["x"])
        sites = x.nonzero().to(torch.int32)
        replies = yield [
            Payload("features", "toy.sparse", {"coords": sites, "features": x[x != 0]}, {"grid": tuple(x.shape)})
        ]
        return Outcome({"sum": next(replies).tensors["sum"].numpy()})


class SparseTail:
    accepts = frozenset({"toy.sparse"})

    def reply(self, payload: Payload) -> Payload:
        return Payload("result", "toy.dense", {"sum": payload.tensors["features"].sum().reshape(1)})


class TrainingHead:
    """Two turns a step: rays up, embeddings down; then gradients up in three parts, and an acknowledgement of each."""

    emits = frozenset({"toy.rays", "toy.gradients"})

    def __init__(self) -> None:
        self.w = torch.full((4,), 0.5, requires_grad=True)

    def exchange(self, sample: Sample) -> Exchange:
        replies = yield [Payload("rays", "toy.rays", {"rays": torch.from_numpy(sample.arrays["rays"])})]
        h = next(replies).tensors["h"].clone().requires_grad_(True)
        loss = ((h @ self.w - torch.from_numpy(sample.arrays["colour"])) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            self.w -= 0.1 * self.w.grad
            self.w.grad = None
        acks = yield [Payload("gradients", "toy.gradients", {"g": g.contiguous()}) for g in h.grad.chunk(3)]
        return Outcome({"loss": np.array(float(loss.detach())), "acks": np.array(sum(1 for _ in acks))})


class TrainingTail:
    accepts = frozenset({"toy.rays", "toy.gradients"})

    def __init__(self) -> None:
        self.v = torch.eye(4, requires_grad=True)
        self.parts: list[torch.Tensor] = []

    def reply(self, payload: Payload) -> Payload:
        if payload.role == "rays":
            self.h, self.parts = payload.tensors["rays"] @ self.v, []
            return Payload("embeddings", "toy.embeddings", {"h": self.h.detach()})
        self.parts.append(payload.tensors["g"])
        if len(self.parts) == 3:
            self.h.backward(torch.cat(self.parts))
            with torch.no_grad():
                self.v -= 0.1 * self.v.grad
                self.v.grad = None
        return Payload("result", "toy.gradients", {"ack": torch.tensor([len(self.parts)])})


class Served:
    """A cloud with one toy tail."""

    def __init__(self, tail: Tail) -> None:
        import threading

        self.tail, self.computing, self.sessions = tail, threading.Lock(), 0

    def open(self, opening: Opening) -> Handler:
        self.sessions += 1
        return Handler(self.tail, self)  # type: ignore[arg-type]


@contextmanager
def connected(tail: Tail) -> Iterator[EdgeClient]:
    server = CloudServer(Served(tail), "127.0.0.1:0")
    client = EdgeClient(
        f"127.0.0.1:{server.start()}", Offer("toy", "middle", b"w" * 32, b"c" * 32, tuple(tail.accepts))
    )
    try:
        client.open()
        yield client
    finally:
        client.close()
        server.stop(1)


def run(head: Head, tail: Tail, samples: list[Sample], defense: object = None, *, in_flight: int = 2) -> list[Done]:
    done: list[Done] = []
    chosen = NoDefense({}, None) if defense is None else defense
    with connected(tail) as client:
        steps = len(samples) if isinstance(head, TrainingHead) else None
        driver = Driver(head, client, chosen, done.append, seed=1, in_flight=in_flight, steps=steps)  # type: ignore[arg-type]
        for sample in samples:
            driver.run(sample, 1)
        driver.finish()
    return done


def test_dense() -> None:
    samples = [Sample(str(n), {"x": np.full((2, 3), n, np.float32)}) for n in range(5)]
    done = run(DenseHead(), DenseTail(), samples)
    assert [d.frame for d in done] == list(range(5))
    for n, d in enumerate(done):
        assert d.outcome is not None
        np.testing.assert_array_equal(d.outcome.arrays["y"], np.full((2, 3), 2 * n + 1))


def test_sparse_with_an_empty_frame_among_them() -> None:
    samples = [Sample("a", {"x": np.eye(3, dtype=np.float32)}), Sample("b", {"x": np.zeros((3, 3), np.float32)})]
    sums = [float(d.outcome.arrays["sum"][0]) for d in run(SparseHead(), SparseTail(), samples) if d.outcome]
    assert sums == [3.0, 0.0]


def test_one_bad_frame_fails_by_name_and_the_others_go_on() -> None:
    samples = [Sample(str(n), {"x": np.array([v], np.float32)}) for n, v in enumerate((1.0, np.nan, 3.0))]
    done = run(DenseHead(), DenseTail(), samples)
    assert [d.error is None for d in done] == [True, False, True]
    assert "not finite" in str(done[1].error)


def test_a_head_that_fails_on_a_sample_fails_that_frame_only_and_in_order() -> None:
    class Picky(DenseHead):
        def exchange(self, sample: Sample) -> Exchange:
            if sample.name == "1":
                raise ValueError("sample 1 has no pixels")
            return (yield from super().exchange(sample))

    samples = [Sample(str(n), {"x": np.ones(1, np.float32)}) for n in range(4)]
    done = run(Picky(), DenseTail(), samples)
    assert [(d.frame, d.error) for d in done if d.error] == [(1, "ValueError: sample 1 has no pixels")]
    assert [d.frame for d in done] == [0, 1, 2, 3]


def unsplit(samples: list[Sample]) -> tuple[list[float], torch.Tensor]:
    """The same network in one piece: the independent implementation that the split one must equal."""
    v, w = torch.eye(4, requires_grad=True), torch.full((4,), 0.5, requires_grad=True)
    losses = []
    for sample in samples:
        loss = (
            (torch.from_numpy(sample.arrays["rays"]) @ v @ w - torch.from_numpy(sample.arrays["colour"])) ** 2
        ).mean()
        loss.backward()
        with torch.no_grad():
            for parameter in (v, w):
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
        losses.append(float(loss.detach()))
    return losses, v


def test_split_training_equals_unsplit_training_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    samples = [
        Sample(str(n), {"rays": rng.random((9, 4), np.float32), "colour": rng.random(9, np.float32)}) for n in range(6)
    ]
    tail = TrainingTail()
    done = run(TrainingHead(), tail, samples, in_flight=1)
    losses, v = unsplit(samples)
    assert [float(d.outcome.arrays["loss"]) for d in done if d.outcome] == losses
    assert torch.equal(tail.v, v)
    assert all(int(d.outcome.arrays["acks"]) == 3 for d in done if d.outcome)
    assert losses[-1] < losses[0]


class Counting(NoDefense):
    """Sees every turn whole: remembers how many parts each had."""

    roles = frozenset({"gradients", "rays"})

    def __init__(self) -> None:
        super().__init__({}, None)
        self.seen: list[tuple[int, int, int | None, int]] = []

    def protect(self, parts: object, turn: Turn) -> Protected:
        self.seen.append((turn.frame, turn.step, turn.steps, len(parts)))  # type: ignore[arg-type]
        return Protected(parts)  # type: ignore[arg-type]


def test_a_defense_sees_all_parts_of_a_turn_and_the_step() -> None:
    samples = [
        Sample(str(n), {"rays": np.ones((3, 4), np.float32), "colour": np.ones(3, np.float32)}) for n in range(2)
    ]
    defense = Counting()
    run(TrainingHead(), TrainingTail(), samples, defense, in_flight=1)
    assert defense.seen == [(0, 0, 2, 1), (0, 0, 2, 3), (1, 1, 2, 1), (1, 1, 2, 3)]


def test_a_swap_holds_from_the_frame_it_says_and_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Done] = []
    noise = build("feature_centric", {"strength": 1.0}, Calibration(rms=1.0))
    x = np.zeros(64, np.float32)
    dense = Sample("s", {"x": x})

    class RealDense(DenseHead):
        def exchange(self, sample: Sample) -> Exchange:
            replies = yield [Payload("features", "dense", {"x": torch.from_numpy(sample.arrays["x"])})]
            return Outcome({"y": next(replies).tensors["x"].numpy()})

    class Echo:
        accepts = frozenset({"dense"})

        def reply(self, payload: Payload) -> Payload:
            return payload

    monkeypatch.setitem(LAYOUTS, "dense", anything)  # the image modality's is stricter than this toy
    with connected(Echo()) as client:
        driver = Driver(RealDense(), client, NoDefense({}, None), done.append, seed=1, in_flight=3)
        for _ in range(3):
            driver.run(dense, 1)
        first = driver.swap(noise)
        for _ in range(3):
            driver.run(dense, 1)
        driver.finish()
    assert first == 3
    assert [d.segment for d in done] == [0, 0, 0, 1, 1, 1]
    spread = [float(d.outcome.arrays["y"].std()) for d in done if d.outcome]
    assert spread[:3] == [0.0, 0.0, 0.0]
    assert all(0.7 < s < 1.3 for s in spread[3:])  # 64 draws of deviation 1: five standard errors wide


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
