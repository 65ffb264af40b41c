"""The threads that invert: each takes work from the queue, runs one attack on it, and keeps what comes out.

A frame on which an attack raises is recorded with its reason; the attack goes on with the next. An inverter is used by
one thread at a time: an attack that needs order has one for each session, any other as many as workers use at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from attacker.attacks.base import Attack, Grants, Inverter, Reconstruction, SessionInfo
from attacker.queue import Entry, FrameQueue, Work
from attacker.reconstructions import Reconstructions


class Inverters:
    """The open inverters of every attack and session."""

    def __init__(self, attacks: Mapping[str, Attack], grants: Mapping[str, Grants]) -> None:
        self._attacks, self._grants = attacks, grants
        self._infos: dict[str, SessionInfo] = {}
        self._idle: dict[tuple[str, str], list[tuple[Inverter, int]]] = {}
        self._lock = threading.Lock()

    def in_order(self, attack: str) -> bool:
        """Whether this attack needs its frames in order."""
        return self._attacks[attack].needs.order == "in_order"

    def know(self, info: SessionInfo) -> None:
        """A session that frames may come of."""
        with self._lock:
            self._infos[info.session] = info

    def borrow(self, attack: str, session: str) -> tuple[Inverter, int]:
        """An idle inverter and the incarnation that it is in, or a new one (-1)."""
        with self._lock:
            idle = self._idle.setdefault((attack, session), [])
            if idle:
                return idle.pop()
            info = self._infos[session]
        return self._attacks[attack].open(info, self._grants[attack]), -1

    def give_back(self, attack: str, session: str, inverter: Inverter, incarnation: int) -> None:
        """Ready for the next."""
        with self._lock:
            self._idle.setdefault((attack, session), []).append((inverter, incarnation))

    def take_all(self, attack: str, session: str) -> list[Inverter]:
        """Every idle inverter of a session that is over."""
        with self._lock:
            return [inverter for inverter, _ in self._idle.pop((attack, session), [])]


class Worker(threading.Thread):
    """Runs until the queue is closed and empty. :attr:`last_invert_ms`: of the newest work."""

    def __init__(self, number: int, queue: FrameQueue, inverters: Inverters, store: Reconstructions) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self.last_invert_ms: float | None = None
        self._queue, self._inverters, self._store = queue, inverters, store

    def run(self) -> None:
        while work := self._queue.take():
            failed = len(work.windows)
            try:
                if work.finish:
                    self._finish(work)
                else:
                    failed = self._invert(work)
            finally:
                self._queue.done(work, failed=failed)

    def _invert(self, work: Work) -> int:
        """Returns how many windows failed."""
        try:
            self._observe(work)
        except Exception as error:  # whatever an attack does, the next frame gets its turn
            if len(work.windows) > 1 and not self._inverters.in_order(work.attack):
                # one bad frame must not take its batch with it
                return sum(self._invert(replace(work, windows=(window,))) for window in work.windows)
            self._fail(work, error)
            return len(work.windows)
        return 0

    def _observe(self, work: Work) -> None:
        incarnation = work.windows[-1][-1].frame.incarnation
        begin_ns = time.monotonic_ns()
        inverter, before = self._inverters.borrow(work.attack, work.session)
        try:
            if 0 <= before < incarnation:
                inverter.rewind(incarnation, work.windows[0][-1].frame.frame)
            made = list(inverter.observe([entry.frame for window in work.windows for entry in window]))
        finally:
            self._inverters.give_back(work.attack, work.session, inverter, incarnation)
        spent_ms = (time.monotonic_ns() - begin_ns) / 1e6
        self.last_invert_ms = spent_ms
        self._keep(work, made, begin_ns, spent_ms)

    def _keep(self, work: Work, made: list[Reconstruction], begin_ns: int, spent_ms: float) -> None:
        entries = {entry.frame.frame: entry for window in work.windows for entry in window}
        newest = work.windows[-1][-1]
        for item in made:
            entry = entries.get(max(item.frames, default=-1), newest)
            times = {
                "decode": entry.decode_ms,
                "wait": (begin_ns - entry.t_queued_ns) / 1e6,
                "invert": spent_ms / len(work.windows),
            }
            self._store.add(
                replace(item, attack=work.attack),
                incarnation=entry.frame.incarnation,
                t_captured_ns=entry.frame.t_last_ns,
                times_ms=times,
            )

    def _finish(self, work: Work) -> None:
        for inverter in self._inverters.take_all(work.attack, work.session):
            try:
                for item in inverter.finish():
                    self._store.add(replace(item, attack=work.attack), incarnation=0, t_captured_ns=0, times_ms={})
            except Exception as error:  # the other inverters still finish
                self._fail(work, error)

    def _fail(self, work: Work, error: Exception) -> None:
        ends: list[Entry] = [window[-1] for window in work.windows]
        incarnation = ends[-1].frame.incarnation if ends else 0
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        self._store.fail(work.attack, work.session, incarnation, [entry.frame.frame for entry in ends], reason)
