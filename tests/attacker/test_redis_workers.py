"""The listener's queue through a real redis-server to workers in this process, which can be frozen and thawed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, Needs, Reconstruction, SessionInfo
from attacker.queue import Entry, FrameQueue, Mode
from attacker.reconstructions import Reconstructions
from attacker.redis_address import parse
from attacker.redis_dispatcher import RedisWorkers
from attacker.redis_worker import RedisWorker
from wire.arrays import unpack
from wire.errors import InputError
from wire.payload import Payload
from wire.record import read

SESSION = "5e" * 16
CLAIM_S = 0.6


class Toy:
    """An attack whose inverters tell what they see, and can be made to wait in the middle of a frame."""

    name = modality = "toy"

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.opened = 0
        self.seen: list[tuple[int, int, int]] = []  # inverter, frame, gap before it
        self.frozen: dict[int, threading.Event] = {}  # frame -> what its first observer waits for
        self.held: list[int] = []

    def fit(self, *_: object) -> Path:
        raise NotImplementedError

    def open(self, session: SessionInfo, grants: Grants) -> ToyInverter:
        assert (session.session, session.split) == (SESSION, "s1")
        self.opened += 1
        return ToyInverter(self, self.opened)


class ToyInverter:
    def __init__(self, toy: Toy, number: int) -> None:
        self.toy, self.number, self.count = toy, number, 0

    def observe(self, frames: Sequence[CapturedFrame]) -> list[Reconstruction]:
        made = []
        for frame in frames:
            self.count += 1
            self.toy.seen.append((self.number, frame.frame, frame.gap_before))
            if frame.frame in self.toy.frozen:
                self.toy.held.append(frame.frame)
                self.toy.frozen.pop(frame.frame).wait(60)
            x = frame.payloads("up")[0].tensors["x"].numpy()
            made.append(Reconstruction(SESSION, (frame.frame,), "toy", {"x": x}, {"inverter": self.number}))
        return made

    def rewind(self, incarnation: int, step: int) -> None: ...

    def finish(self) -> list[Reconstruction]:
        return [Reconstruction(SESSION, (), "toy", {"count": np.array(self.count)})]


def entry(frame: int, size: int = 8) -> Entry:
    payload = Payload("features", "toy", {"x": torch.full((size,), float(frame))})
    part = CapturedPart("up", 0, 0, 1, payload, 1000 + frame, 2000 + frame)
    return Entry(CapturedFrame(SESSION, 0, frame, (part,)), time.monotonic_ns())


class Rig:
    """A queue, what gives it to Redis, and workers."""

    def __init__(self, url: str, folder: Path, toy: Toy, *, mode: Mode = "lossless", **settings: object) -> None:
        self.url, self.folder, self.toy = url, folder, toy
        self.queue = FrameQueue({"toy": toy.needs}, mode, 500)
        self.store = Reconstructions(folder / "made", 1 << 30)
        limits = {"frames": 16, "claim_s": CLAIM_S, "deliveries": 3, **settings}
        attacks = {"toy": (toy.needs.order == "in_order", "digest")}
        self.given = RedisWorkers(parse(url, "redis"), "test", self.queue, self.store, attacks, **limits)  # type: ignore[arg-type]
        self.given.know(SessionInfo(SESSION, "toy", "s1", "", ("toy",)))
        self.workers: list[RedisWorker] = []

    def worker(self, name: str, digest: str = "digest") -> RedisWorker:
        made = RedisWorker(
            parse(self.url, "redis"), "test", name, {"toy": self.toy}, {"toy": Grants()}, {"toy": digest}
        )  # type: ignore[dict-item]
        made.start()
        self.workers.append(made)
        return made

    def start(self, workers: int) -> None:
        self.given.start()
        for number in range(workers):
            self.worker(f"w{number}")

    def put(self, *frames: int, size: int = 8) -> None:
        for frame in frames:
            self.queue.put(entry(frame, size))

    def done(self) -> int:
        count = self.queue.counts()["toy"]
        return count.inverted + count.failed

    def end(self) -> bool:
        self.queue.close(drain=True)
        ended = self.given.join(60)
        for worker in self.workers:
            worker.stop(30)
        self.store.close()
        return ended

    def made(self) -> list[tuple[int, ...]]:
        return [unpack(r.data)[1]["frames"] for r in read(self.folder / "made") if r.topic == "reconstruction"]  # type: ignore[misc]

    def reasons(self) -> list[str]:
        return [str(r.json()["reason"]) for r in read(self.folder / "made") if r.topic == "failure"]


def until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def rig(redis_server, tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def build(needs: Needs | None = None, **settings: object) -> Rig:
        made.append(Rig(redis_server.url, tmp_path / str(len(made)), Toy(needs or Needs("wire", "none")), **settings))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for each in made:
        for event in each.toy.frozen.values():
            event.set()
        each.queue.close(drain=False)
        each.given.join(0.1)
        for worker in each.workers:
            freeze(worker)
            worker.stop(0.1)
        each.store.close()


IN_ORDER = Needs("wire", "none", order="in_order")


def freeze(worker: RedisWorker) -> None:
    """It is not heard of any more, as if its process were stopped."""
    worker._beating.set()


def test_each_frame_once_and_nothing_left_behind(rig, redis_server) -> None:
    run = rig(Needs("wire", "none", window=2, batch=3))
    run.start(2)
    run.put(*range(30))
    until(lambda: run.done() == 29)  # windows of two
    assert run.end()
    inverted = Counter(run.made())
    assert {frames: inverted[frames] for frames in ((n,) for n in range(1, 29))} == {(n,): 2 for n in range(1, 29)}
    assert (inverted[(0,)], inverted[(29,)]) == (1, 1)
    assert redis_server.client().keys("*") == [b"test:workers"] or redis_server.client().keys("*") == []


def test_an_emptied_server_loses_nothing(rig, redis_server) -> None:
    run = rig()
    run.toy.frozen = {5: (thaw := threading.Event())}
    run.start(2)
    run.put(*range(40))
    until(lambda: run.toy.held == [5] and run.done() >= 10)
    redis_server.kill()
    until(lambda: not run.given.state()["redis"]["up"])
    said = run.given.state()
    start = f"start it with `redis-server --port {redis_server.port}`, or correct the address"
    assert said["why"].startswith(f"Redis at redis://127.0.0.1:{redis_server.port}/0 cannot be reached")
    assert said["why"].endswith(start)
    run.put(*range(40, 50))  # meanwhile
    redis_server.start()
    thaw.set()
    until(lambda: run.done() == 50)
    said = run.given.state()["redis"]
    assert (said["up"], said["why"], said["outstanding"]) == (True, None, 0)
    assert said["put_again"] > 0
    assert run.end()
    assert Counter(run.made()) == Counter({(n,): 1 for n in range(50)} | {(): run.toy.opened})


def test_an_evicted_stream_is_put_in_again(rig, redis_server) -> None:
    run = rig()
    run.given.start()
    run.put(*range(8))
    client = redis_server.client()
    until(lambda: client.keys("*:work:*") and run.given.state()["redis"]["outstanding"] == 8)
    client.unlink(*client.keys("*:work:*"))
    run.worker("w0")
    until(lambda: run.done() == 8)
    assert run.given.state()["redis"]["put_again"] == 8
    assert run.end()
    assert sorted(run.made()) == [(), *((n,) for n in range(8))]


def test_in_order_one_worker_at_a_time_also_when_it_dies(rig) -> None:
    run = rig(IN_ORDER)
    run.toy.frozen = {6: (thaw := threading.Event())}
    run.start(2)
    run.put(*range(12))
    until(lambda: run.toy.held == [6])
    assert run.toy.seen == [(1, n, 0) for n in range(7)]  # one inverter, in order
    holder = next(w for w in run.workers if w.state()["leases"])
    assert [w.state()["leases"] for w in run.workers if w is not holder] == [[]]
    freeze(holder)
    until(lambda: run.done() == 12)
    # the other began anew with the frame that the first one held, and was told that it has missed six
    assert run.toy.seen[7:] == [(2, 6, 6), *((2, n, 0) for n in range(7, 12))]
    thaw.set()  # back from the dead: its answer changes nothing
    until(lambda: not holder.working or holder.state()["in_hand"] is None)
    assert run.given.state()["redis"]["reclaimed"] == 1
    assert run.end()
    assert [frames for frames in run.made() if frames] == [(n,) for n in range(12)]


def test_in_order_an_emptied_server_does_not_cost_the_state(rig, redis_server) -> None:
    run = rig(IN_ORDER)
    run.toy.frozen = {4: (thaw := threading.Event())}
    run.start(2)
    run.put(*range(10))
    until(lambda: run.toy.held == [4])
    holder = next(w for w in run.workers if w.state()["leases"])
    redis_server.kill()
    redis_server.start()
    client = redis_server.client()
    until(lambda: client.keys("*:lease"))
    assert client.get(client.keys("*:lease")[0]).decode() == holder.state()["name"]
    thaw.set()
    until(lambda: run.done() == 10)
    assert run.toy.seen == [(1, n, 0) for n in range(10)]  # nobody began anew, and frame 4 was not observed again
    assert run.end()
    assert [frames for frames in run.made() if frames] == [(n,) for n in range(10)]


def test_a_work_that_every_worker_dies_of_is_failed(rig) -> None:
    run = rig(deliveries=2)
    thaw = threading.Event()
    run.start(2)
    for worker in run.workers:
        run.toy.frozen = {3: thaw}
        if worker is run.workers[0]:
            run.put(*range(5))
        until(lambda: 3 not in run.toy.frozen)
        in_hand = next(w for w in run.workers if w.state()["in_hand"] and not w._beating.is_set())
        freeze(in_hand)
    run.worker("w2")
    until(lambda: run.done() == 5)
    thaw.set()
    assert run.queue.counts()["toy"].failed == 1
    assert run.end()
    assert run.reasons() == ["WorkerLost: 2 workers were given this work and none has answered"]
    assert sorted(f for f in run.made() if f) == [(0,), (1,), (2,), (4,)]


def test_live_newest_first_and_no_more_out_than_there_are_workers(rig) -> None:
    run = rig(mode="live")
    run.toy.frozen = {0: (thaw := threading.Event())}
    run.start(1)
    until(lambda: run.given.state()["redis"]["workers"])
    run.put(0)
    until(lambda: run.toy.held == [0])
    run.put(1, 2, 3)
    assert run.given.state()["redis"]["outstanding"] == 1
    thaw.set()
    until(lambda: run.done() == 4)
    assert [frame for _, frame, _ in run.toy.seen] == [0, 3, 2, 1]
    assert run.end()


def test_every_worker_that_helped_finishes_the_session(rig) -> None:
    run = rig()
    run.start(2)
    number = 0
    while run.toy.opened < 2 or len({inverter for inverter, _, _ in run.toy.seen}) < 2:
        run.put(number)
        number += 1
        until(lambda count=number: run.done() == count)
    run.queue.end(SESSION)
    assert run.end()
    counts = [unpack(r.data) for r in read(run.folder / "made")]
    assert sum(int(arrays["count"]) for arrays, meta in counts if meta["frames"] == ()) == number


def test_without_workers_the_state_says_what_to_start(rig, redis_server) -> None:
    run = rig(mode="live")
    run.given.start()
    where = f"redis://127.0.0.1:{redis_server.port}/0"
    assert run.given.state()["why"] == f"no worker reads from {where}: start one with `python -m attacker.work`"


def test_a_worker_with_other_settings_is_given_nothing(rig) -> None:
    run = rig()
    run.given.start()
    other = run.worker("other", digest="another")
    run.put(0)
    until(lambda: other.state()["refused"])
    assert other.state()["why"] == "toy: the attacker's settings for it, or its knowledge, differ from this worker's"
    assert run.done() == 0
    run.worker("right")
    until(lambda: run.done() == 1)
    assert other.state()["works"] == 0


def test_the_younger_of_two_attackers_has_the_prefix(rig, redis_server) -> None:
    older, younger = rig(), rig()
    older.given.start()
    younger.given.start()
    until(lambda: older.given.state()["redis"]["why"])
    assert older.given.state()["why"] == (
        f"another attacker has taken over 'test' on Redis at redis://127.0.0.1:{redis_server.port}/0: "
        "give each its own redis_prefix"
    )
    younger.worker("w0")
    younger.put(0)
    until(lambda: younger.done() == 1)


def test_a_full_server_is_named_at_the_start_and_waited_for_later(rig, redis_server) -> None:
    full = f"Redis at redis://127.0.0.1:{redis_server.port}/0 is full: raise its maxmemory, or lower redis_frames"
    client = redis_server.client()
    client.config_set("maxmemory", 1)
    with pytest.raises(InputError) as refused:
        rig().given.start()
    assert str(refused.value) == full
    client.config_set("maxmemory", 0)
    run = rig(frames=64)
    run.toy.frozen = {0: (thaw := threading.Event())}
    run.start(1)
    client.config_set("maxmemory", client.info("memory")["used_memory"] + 4_000_000)
    run.put(*range(60), size=50_000)  # 200 kB each: they do not all fit
    until(lambda: run.given.state()["why"] == full)
    assert run.given.state()["redis"]["outstanding"] < 60
    thaw.set()
    until(lambda: run.done() == 60)  # answers make room for the next
    client.config_set("maxmemory", 1)
    run.put(60)
    until(lambda: run.given.state()["why"] == full)
    client.config_set("maxmemory", 0)
    until(lambda: run.done() == 61)
    until(lambda: run.given.state()["why"] is None)
    assert run.end()
    assert sorted(f for f in run.made() if f) == [(n,) for n in range(61)]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "redis://127.0.0.1:{port}",
            "refuses this user or password: give the right one in EAVESPLIT_REDIS_URL=redis://:PASSWORD@HOST:PORT",
        ),
        (
            "redis://:wrong-{port}@127.0.0.1:{port}",
            "refuses this user or password: give the right one in EAVESPLIT_REDIS_URL=redis://:PASSWORD@HOST:PORT",
        ),
        (
            "redis://127.0.0.1:1",
            "cannot be reached (Connection refused): start it with `redis-server --port 1`, or correct the address",
        ),
    ],
)
def test_absent_or_another_password(redis_server, tmp_path: Path, url: str, said: str) -> None:
    redis_server.client().config_set("requirepass", "right")
    address = parse(url.format(port=redis_server.port), "redis")
    queue, store = FrameQueue({}, "live", 1), Reconstructions(tmp_path / "made", 1 << 20)
    attacker = RedisWorkers(address, "test", queue, store, {}, frames=1, claim_s=1.0, deliveries=1)
    worker = RedisWorker(address, "test", "w", {}, {}, {})
    for start in (attacker.start, worker.start):
        with pytest.raises(InputError) as refused:
            start()
        assert str(refused.value) == f"Redis at {address.shown} {said}"
        assert "wrong-" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://:secret@host", "redis://", "redis://:secret@host:port", "redis://:secret@host/a", "unix:///secret"]
)
def test_no_url_is_answered_with_what_one_is_and_repeats_no_password(url: str) -> None:
    with pytest.raises(InputError, match=r"redis: .*accepted: redis://\[\[USER\]:PASSWORD@\]HOST") as refused:
        parse(url, "redis")
    assert "secret" not in str(refused.value)


def test_a_url_is_read_whole_and_shown_without_its_password() -> None:
    address = parse("rediss://me:p%40ss@[::1]:7000/2", "redis")
    assert (address.host, address.port, address.db, address.tls) == ("::1", 7000, 2, True)
    assert (address.user, address.password) == ("me", "p@ss")
    assert address.shown == "rediss://[::1]:7000/2"
    assert "p@ss" not in repr(address)
    assert parse("redis://host", "redis").address == ("host", 6379)


def test_live_an_attack_that_no_worker_runs_holds_up_no_other(rig) -> None:
    run = rig(mode="live")
    run.queue = run.given._queue = FrameQueue(dict.fromkeys(("orphan", "toy"), run.toy.needs), "live", 500)
    run.given._attacks = {"orphan": (False, "d"), "toy": (False, "digest")}
    run.start(1)
    until(lambda: run.given.state()["redis"]["workers"])
    run.put(*range(5))
    until(lambda: run.done() == 5)
    assert run.queue.counts()["orphan"].waiting == 5
    run.queue.close(drain=False)
    assert run.given.join(20)
