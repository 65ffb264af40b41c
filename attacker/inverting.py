"""One work on one attack: frames in, reconstructions or reasons out. Threads and worker processes do the same.

A frame on which an attack raises becomes a :class:`Failure` with its reason; the attack goes on with the next. An
inverter is used by one thread at a time: an attack that needs order has one for each session, any other as many as
threads use at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from attacker.attacks.base import Attack, Grants, Inverter, Reconstruction, SessionInfo
from attacker.queue import Work
from attacker.reconstructions import Reconstructions
from wire.errors import InputError


@dataclass(frozen=True)
class Failure:
    """No reconstruction for windows that end at ``frames`` (none: the session's end), in one line."""

    frames: tuple[int, ...]
    reason: str

    @classmethod
    def of(cls, frames: tuple[int, ...], error: Exception) -> Failure:
        """What an attack, or what it made, raised."""
        return cls(frames, f"{type(error).__name__}: {error}".splitlines()[0])


@dataclass(frozen=True)
class Outcome:
    """What came of a work, or of some of its windows. begin_ns: this process's CLOCK_MONOTONIC; spent_ms: by window."""

    made: tuple[Reconstruction | Failure, ...]
    begin_ns: int
    spent_ms: float


@dataclass(frozen=True)
class Tally:
    """Of a work's windows: how many failed, and how many were learnt from."""

    failed: int = 0
    learnt: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.failed + other.failed, self.learnt + other.learnt)


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
        return self._attacks[attack].open(info, self._grants[attack].at(info.split)), -1

    def give_back(self, attack: str, session: str, inverter: Inverter, incarnation: int) -> None:
        """Ready for the next."""
        with self._lock:
            self._idle.setdefault((attack, session), []).append((inverter, incarnation))

    def take_all(self, attack: str, session: str) -> list[Inverter]:
        """Every idle inverter of a session that is over."""
        with self._lock:
            return [inverter for inverter, _ in self._idle.pop((attack, session), [])]


def invert(work: Work, inverters: Inverters) -> Iterator[Outcome]:
    """Do a work, one outcome after the other. A batch that fails is tried again window by window, where order does not
    matter: one bad frame must not take the others with it."""
    begin_ns = time.monotonic_ns()
    made: tuple[Reconstruction | Failure, ...]
    if work.finish:
        yield Outcome(tuple(_finish(work, inverters)), begin_ns, 0.0)
        return
    try:
        made = _observe(work, inverters)
    except Exception as error:  # whatever an attack does, the next frame gets its turn
        if len(work.windows) > 1 and not inverters.in_order(work.attack):
            for window in work.windows:
                yield from invert(replace(work, windows=(window,)), inverters)
            return
        made = (Failure.of(_ends(work), error),)
    yield Outcome(made, begin_ns, (time.monotonic_ns() - begin_ns) / 1e6 / len(work.windows))


def record(work: Work, outcome: Outcome, store: Reconstructions, *, learns: bool = False) -> Tally:
    """Keep what was made and note what failed. Arrays that cannot be stored are a failure.

    learns: windows of which nothing was made were learnt from, and are noted too; the outcome is then the whole work's.
    """
    entries = {entry.frame.frame: entry for window in work.windows for entry in window}
    newest = work.windows[-1][-1] if work.windows else None
    failed, named = 0, set[int]()
    for item in outcome.made:
        named.update(item.frames)
        if isinstance(item, Failure):
            failed += _fail(work, item, store)
            continue
        entry = entries.get(max(item.frames, default=-1), newest)
        times: dict[str, float] = {}
        if entry is not None:
            wait = (outcome.begin_ns - entry.t_queued_ns) / 1e6
            times = {"decode": entry.decode_ms, "wait": wait, "invert": outcome.spent_ms}
        try:
            store.add(
                replace(item, attack=work.attack),
                incarnation=entry.frame.incarnation if entry else 0,
                t_captured_ns=entry.frame.t_last_ns if entry else 0,
                times_ms=times,
            )
        except InputError as error:
            failed += _fail(work, unstorable(work, item, error), store)
    learnt = tuple(frame for frame in _ends(work) if frame not in named) if learns else ()
    if learnt:
        store.learnt(work.attack, work.session, work.windows[-1][-1].frame.incarnation, learnt)
    return Tally(min(failed, len(work.windows)), len(learnt))


def unstorable(work: Work, item: Reconstruction, error: InputError) -> Failure:
    """The failure of the windows that this reconstruction is of."""
    frames = tuple(frame for frame in _ends(work) if frame in item.frames)
    return Failure.of(frames or _ends(work)[-1:], error)


def _fail(work: Work, failure: Failure, store: Reconstructions) -> int:
    incarnation = work.windows[-1][-1].frame.incarnation if work.windows else 0
    store.fail(work.attack, work.session, incarnation, failure.frames, failure.reason)
    return len(failure.frames)


def _ends(work: Work) -> tuple[int, ...]:
    return tuple(window[-1].frame.frame for window in work.windows)


def _observe(work: Work, inverters: Inverters) -> tuple[Reconstruction, ...]:
    incarnation = work.windows[-1][-1].frame.incarnation
    inverter, before = inverters.borrow(work.attack, work.session)
    try:
        if before < incarnation and incarnation:  # one that is new may have found a state of before the rollback
            inverter.rewind(incarnation, work.windows[0][-1].frame.frame)
        return tuple(inverter.observe([entry.frame for window in work.windows for entry in window]))
    finally:
        inverters.give_back(work.attack, work.session, inverter, incarnation)


def _finish(work: Work, inverters: Inverters) -> Iterator[Reconstruction | Failure]:
    for inverter in inverters.take_all(work.attack, work.session):
        try:
            yield from list(inverter.finish())
        except Exception as error:  # the other inverters still finish
            yield Failure.of((), error)
