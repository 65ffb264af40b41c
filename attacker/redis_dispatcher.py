"""Gives what the queue holds to worker processes through Redis, and records what they make of it.

One thread takes works from the queue and puts them into streams; another takes results, and looks twice a second
whether all is still there that should be. Every work is held here until its result is recorded, so what Redis loses
(killed, emptied, full, evicted) is put in again; workers that die are the other workers' business
(:mod:`attacker.redis_entries`). Nothing is trimmed by length, which would drop works that nobody has read: what stands
in Redis is bounded by what is given out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from attacker.attacks.base import SessionInfo
from attacker.inverting import Failure, Outcome, record
from attacker.outstanding import Given, Outstanding
from attacker.queue import FrameQueue, Work
from attacker.reconstructions import Reconstructions
from attacker.redis_address import RedisAddress, check, client, explain
from attacker.redis_codec import Result, Task, decode_result, encode_task
from attacker.redis_health import Health
from attacker.redis_keys import KEPT_MS, Keys, Stream, Terms
from attacker.redis_life import Life, Superseded
from attacker.redis_roll import Roll
from attacker.redis_scripts import Scripts
from wire.errors import DecodeError, InputError

LOOK_S = 0.5
WAIT_S = 0.1
RESULTS_AT_ONCE = 8


class RedisWorkers:
    """Worker processes that read from Redis, as :class:`attacker.worker.Workers`.

    attacks: row -> (whether it needs order, digest of its settings). frames: works of each that are outstanding at
    once in lossless mode; live, as many in all as there are workers, so that the newest frame goes out when a worker is
    free. claim_s: a worker that is not heard of for so long is given up. deliveries: a work that as many workers died
    of is failed.
    """

    def __init__(
        self,
        address: RedisAddress,
        prefix: str,
        queue: FrameQueue,
        store: Reconstructions,
        attacks: Mapping[str, tuple[bool, str]],
        *,
        frames: int,
        claim_s: float,
        deliveries: int,
    ) -> None:
        self._address, self._queue, self._store, self._attacks = address, queue, store, attacks
        self._frames = frames
        self._claim_ms = round(claim_s * 1000)
        self._redis: Any = client(address)
        self._life = Life(self._redis, address, Keys(prefix), Terms("", self._claim_ms, deliveries))
        self._keys = self._life.keys
        self._scripts = Scripts(self._redis)
        self._health = Health(address)
        self._infos: dict[str, SessionInfo] = {}
        self._outstanding = Outstanding()
        self._changed = threading.Condition()  # guards what is outstanding
        self._abandoned = threading.Event()
        self._roll = Roll(claim_s)
        self._reclaimed = self._unreadable = 0
        self._look_at = self._hold_until = 0.0
        self._threads = [
            threading.Thread(target=target, name=f"redis-{name}", daemon=True)
            for name, target in (("give", self._give), ("receive", self._receive))
        ]

    def start(self) -> None:
        check(self._redis, self._address)
        from redis.exceptions import RedisError

        try:
            self._keys = self._life.begin()
            self._look()
        except RedisError as error:
            raise InputError(explain(error, self._address)) from None
        for thread in self._threads:
            thread.start()

    def know(self, info: SessionInfo) -> None:
        self._infos[info.session] = info

    @property
    def working(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.working and time.monotonic() < deadline:
            if self._queue.mode == "live" and (self._health.why is not None or not self._roll.alive):
                break  # nobody is there who could still answer
            for thread in self._threads:
                thread.join(WAIT_S)
        self._abandoned.set()
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(deadline - time.monotonic(), 1.0))
        self._life.leave()
        return self._queue.over

    def state(self) -> dict[str, Any]:
        with self._changed:
            alive = self._roll.alive
            counts = {
                "outstanding": len(self._outstanding),
                "put_again": self._outstanding.again,
                "reclaimed": self._reclaimed,
                "duplicates": self._outstanding.duplicates + self._roll.unwanted,
                "unreadable": self._unreadable,
                "workers": alive,
                "workers_lost": self._roll.lost,
            }
        said = self._health.state()
        why = said["why"]
        if why is None and not alive:
            why = f"no worker reads from {self._address.shown}: start one with `python -m attacker.work`"
        return {"redis": said | counts, "why": why}

    # giving

    def _give(self) -> None:
        from redis.exceptions import RedisError

        while not self._over():
            try:
                if not self._give_next():
                    with self._changed:
                        self._changed.wait(WAIT_S)
                self._health.well("give")
            except RedisError as error:
                self._abandoned.wait(self._health.ill("give", error))

    def _give_next(self) -> bool:
        """Put something into Redis, or take the next work from the queue; False where there is nothing to do."""
        held = time.monotonic() < self._hold_until
        with self._changed:
            waiting = [g for g in self._outstanding.waiting() if not (held and self._attacks[g.work.attack][0])]
            wanted = self._wanted()
        for given in waiting:
            self._put(given)
        if waiting or not wanted:
            return bool(waiting)
        work = self._queue.take(WAIT_S, wanted)
        if work is not None:
            self._note(work)
        return work is not None or not self._queue.closed  # a closed queue does not wait

    def _wanted(self) -> list[str]:
        """The attacks of which a work may be given out. Live: one for each worker, and none that no worker runs."""
        if self._queue.mode == "lossless" or self._queue.closed:
            return [attack for attack in self._attacks if self._outstanding.of(attack) < self._frames]
        alive = self._roll.alive
        if len(self._outstanding) >= len(alive):
            return []
        able = [attack for counts in alive.values() for attack in counts.get("attacks", ())]
        return [attack for attack in self._attacks if self._outstanding.of(attack) < able.count(attack)]

    def _note(self, work: Work) -> None:
        """It is outstanding; the end of a session only where a worker may hold some of its state."""
        in_order = self._attacks[work.attack][0]
        with self._changed:
            if not work.finish or (in_order and self._outstanding.begun(work.attack, work.session)):
                self._outstanding.give(work, self._keys.work(work.attack, work.session), in_order=in_order)
                return
            helped = self._outstanding.ended(work.attack, work.session)
            self._outstanding.share(work, {worker: self._keys.own(worker) for worker in sorted(helped)})
        if not helped:
            self._queue.done(work)

    def _put(self, given: Given) -> None:
        work = given.work
        try:
            fields = encode_task(Task(given.number, given.after, self._infos[work.session], work))
        except InputError as error:
            self._answered(Result(given.number, "", 1, (), str(error)))
            return
        stream = Stream(work.attack, self._attacks[work.attack][0], self._attacks[work.attack][1], given.worker)
        entry = self._scripts.add(
            given.stream,
            self._keys.streams,
            self._keys.bell,
            description=stream.encode(),
            ttl_ms=KEPT_MS,
            fields=fields,
        )
        with self._changed:
            self._outstanding.put(given.number, entry)

    # receiving

    def _receive(self) -> None:
        from redis.exceptions import RedisError

        while not self._over():
            try:
                if time.monotonic() >= self._look_at:
                    self._look()
                    self._look_at = time.monotonic() + LOOK_S
                wait_ms = round(WAIT_S * 1000)
                found = self._redis.xread({self._keys.results: "0-0"}, count=RESULTS_AT_ONCE, block=wait_ms)
                for entry, fields in found[0][1] if found else ():
                    self._take(fields)
                    self._redis.xdel(self._keys.results, entry)
                self._health.well("receive")
            except RedisError as error:
                self._abandoned.wait(self._health.ill("receive", error))
            except Superseded as error:
                self._abandoned.wait(self._health.ill("receive", str(error)))

    def _take(self, fields: Mapping[bytes, bytes]) -> None:
        try:
            result = decode_result(fields)
        except DecodeError:
            self._unreadable += 1  # its work is missed at the next look, and put in again
            return
        self._reclaimed += max(result.deliveries - 1, 0)
        self._answered(result)

    def _answered(self, result: Result) -> None:
        with self._changed:
            given = self._outstanding.answered(result.number, result.worker)
        if given is None:
            return
        work, outcomes = given.work, result.outcomes
        if result.reason:
            ends = tuple(window[-1].frame.frame for window in work.windows)
            outcomes = (Outcome((Failure(ends, result.reason),), 0, 0.0),)
        # what did not go into inverting was waiting, on whichever machine
        spent_ms = sum(o.spent_ms for o in outcomes) * max(len(work.windows), 1) / max(len(outcomes), 1)
        begin_ns = time.monotonic_ns() - round(spent_ms * 1e6)
        for outcome in outcomes:
            heard = replace(outcome, begin_ns=begin_ns)
            given.whole.told += record(work, heard, self._store, learns=self._queue.learns(work.attack))
        self._share_done(given)

    def _share_done(self, given: Given) -> None:
        whole, work = given.whole, given.work
        stream = self._keys.work(work.attack, work.session)
        with self._changed:
            whole.shares -= 1
            done = whole.shares == 0
            over = done and work.finish and stream not in self._outstanding.inside()
            if done and given.stream == stream and work.finish:
                self._outstanding.ended(work.attack, work.session)
            self._changed.notify_all()
        if over:
            self._life.forget(stream)
        if done:
            self._queue.done(work, failed=min(whole.told.failed, len(work.windows)), learnt=whole.told.learnt)

    # looking after

    def _look(self) -> None:
        """See that Redis still holds what it was given, and who works."""
        with self._changed:
            inside = self._outstanding.inside()
        asked = self._redis.pipeline(transaction=True)
        asked.get(self._keys.terms).time().hgetall(self._keys.workers).xlen(self._keys.results)
        for key in (self._keys.terms, self._keys.streams, self._keys.bell, self._keys.results, *inside):
            asked.pexpire(key, KEPT_MS)
        for stream in inside:
            asked.xlen(stream)
        terms, clock, workers, results, *lengths = asked.execute()
        if not self._life.is_ours(terms):
            self._life.tell()
            self._roll.emptied(time.monotonic())
            # whoever holds a stream in order gets its lease back before the stream is there again
            self._hold_until = time.monotonic() + (self._claim_ms / 2000 if self.working else 0.0)
            self._lose(None)
            return
        self._call_roll(workers, clock[0] * 1000 + clock[1] // 1000)
        there = dict(zip(inside, lengths[len(lengths) - len(inside) :], strict=True))
        if sum(there.values()) + results < sum(inside.values()):
            if results:
                self._look_at = 0.0  # which ones is known once these are read
                return
            for stream in inside:
                if there[stream] < inside[stream]:
                    self._redis.unlink(stream)
                    self._lose(stream)

    def _lose(self, stream: str | None) -> None:
        with self._changed:
            self._outstanding.lose(stream)
            self._changed.notify_all()

    def _call_roll(self, workers: Mapping[bytes, bytes], server_ms: int) -> None:
        with self._changed:
            gone = self._roll.call(workers, server_ms, time.monotonic(), self._outstanding.sharers())
            shares = [given for worker in gone for given in self._outstanding.gone(worker)]
            self._changed.notify_all()
        for given in shares:
            self._share_done(given)
        for worker in gone:
            self._redis.hdel(self._keys.workers, worker)
            self._life.forget(self._keys.own(worker))

    def _over(self) -> bool:
        return self._abandoned.is_set() or self._queue.over
