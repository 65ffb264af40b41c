"""Between the ear and the workers: a bounded queue for each attack, holding windows of frames.

``live``: the newest comes first, and what does not fit is dropped, oldest first, and counted. ``lossless``: every
frame, in order, and :meth:`FrameQueue.put` waits for room - the mirror is then not read, and the link's spool takes
the strain. An attack that needs its frames in order gets them in order in both modes; what live mode drops is added
to the next frame's ``gap_before``.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from attacker.attacks.base import CapturedFrame, Needs

Mode = Literal["live", "lossless"]

MAX_BYTES = 512 << 20
"""Of frames that wait, unless told otherwise."""


@dataclass(frozen=True)
class Entry:
    """A frame that waits. t_queued_ns: this process's CLOCK_MONOTONIC; decode_ms: spent on its payloads."""

    frame: CapturedFrame
    t_queued_ns: int
    decode_ms: float = 0.0

    @cached_property
    def nbytes(self) -> int:
        """Of its tensors."""
        return sum(part.payload.nbytes for part in self.frame.parts)


@dataclass(frozen=True)
class Work:
    """What a worker is to do for one attack and one session: observe windows, or (``windows`` empty) finish.

    windows: each of ``needs.window`` entries, oldest first.
    """

    attack: str
    session: str
    windows: tuple[tuple[Entry, ...], ...]

    @property
    def finish(self) -> bool:
        return not self.windows


@dataclass
class Counts:
    """offered = inverted + learnt + failed + dropped + withdrawn + what waits and is being worked on.

    late: frames that came after later ones of their incarnation and are of no use to an attack that needs order;
    refused: frames of sessions that the attack may not see or cannot invert. Neither was offered.
    """

    offered: int = 0
    inverted: int = 0
    learnt: int = 0
    failed: int = 0
    dropped: int = 0
    withdrawn: int = 0
    late: int = 0
    refused: int = 0
    waiting: int = 0
    working: int = 0
    peak: int = 0


@dataclass
class _Session:
    recent: deque[Entry]  # the last frames, for windows
    waiting: deque[tuple[Entry, ...]] = field(default_factory=deque)
    position: tuple[int, int] = (-1, -1)  # incarnation and frame last offered
    dropped: int = 0  # in order only: since the last one taken
    busy: int = 0  # workers that hold work of this session
    finish: bool = False


class _Attack:
    def __init__(self, name: str, needs: Needs) -> None:
        self.name, self.needs = name, needs
        self.counts = Counts()
        self.waiting_bytes = 0  # of the frames that windows end with: each ends one
        self.sessions: dict[str, _Session] = {}

    def session(self, name: str) -> _Session:
        return self.sessions.setdefault(name, _Session(deque(maxlen=max(self.needs.window, 1))))

    def offer(self, entry: Entry) -> bool:
        """Queue the window that this frame ends; False where there is none."""
        session = self.session(entry.frame.session)
        place = (entry.frame.incarnation, entry.frame.frame)
        if self.needs.order == "in_order":
            if place <= session.position:
                self.counts.late += 1
                return False
            session.position = place
        session.recent.append(entry)
        if len(session.recent) < self.needs.window:
            return False
        session.waiting.append(tuple(session.recent))
        session.finish = False
        self.counts.offered += 1
        self.counts.waiting += 1
        self.waiting_bytes += entry.nbytes
        self.counts.peak = max(self.counts.peak, self.counts.waiting)
        return True

    def drop_oldest(self) -> None:
        session = min((s for s in self.sessions.values() if s.waiting), key=lambda s: s.waiting[0][-1].t_queued_ns)
        self.waiting_bytes -= session.waiting.popleft()[-1].nbytes
        session.dropped += 1
        self.counts.waiting -= 1
        self.counts.dropped += 1

    def withdraw(self) -> None:
        for session in self.sessions.values():
            self.counts.withdrawn += len(session.waiting)
            self.counts.waiting -= len(session.waiting)
            session.waiting.clear()
            session.recent.clear()
        self.waiting_bytes = 0

    def take(self, live: bool) -> Work | None:
        in_order = self.needs.order == "in_order"
        newest = live and not in_order
        free = {name: s for name, s in self.sessions.items() if not (in_order and s.busy)}
        ready = [(s.waiting[-1 if newest else 0][-1].t_queued_ns, name) for name, s in free.items() if s.waiting]
        if ready:
            name = max(ready)[1] if newest else min(ready)[1]
            return self._take_windows(name, self.sessions[name], newest)
        for name, session in free.items():
            if session.finish and not session.busy:
                session.finish = False
                session.busy += 1
                return Work(self.name, name, ())
        return None

    def _take_windows(self, name: str, session: _Session, newest: bool) -> Work:
        count = min(max(self.needs.batch, 1), len(session.waiting))
        if newest:
            windows = [session.waiting.pop() for _ in range(count)][::-1]
        else:
            windows = [session.waiting.popleft() for _ in range(count)]
        if session.dropped and self.needs.order == "in_order":
            first = windows[0][-1]
            gapped = replace(first.frame, gap_before=first.frame.gap_before + session.dropped)
            windows[0] = (*windows[0][:-1], replace(first, frame=gapped))
            session.dropped = 0
        session.busy += 1
        self.counts.waiting -= count
        self.waiting_bytes -= sum(window[-1].nbytes for window in windows)
        self.counts.working += count
        return Work(self.name, name, tuple(windows))


class FrameQueue:
    """Thread-safe. capacity: windows that may wait, for each attack; the bound is also held by ``peak`` in its
    counts. max_bytes: of the frames that they end with, but for the first one, however large it is."""

    def __init__(self, needs: Mapping[str, Needs], mode: Mode, capacity: int, max_bytes: int = MAX_BYTES) -> None:
        if capacity < 1:
            raise ValueError(f"queue of {capacity} frames; accepted: 1 and above")
        self.mode, self.capacity, self.max_bytes = mode, capacity, max_bytes
        self._attacks = {name: _Attack(name, need) for name, need in needs.items()}
        self._selected = set(self._attacks)
        self._paused = False
        self._closed = False
        self._turn = 0
        self._changed = threading.Condition()

    def put(self, entry: Entry, only: frozenset[str] | None = None) -> None:
        """Offer a frame to every selected attack (of ``only``). Lossless: waits while any of them has no room.

        A queue that is closed while this waits takes the frame all the same: nothing is lost.
        """
        with self._changed:
            if self.mode == "lossless":
                self._changed.wait_for(lambda: self._closed or all(self._room(a) for a in self._chosen(only)))
            for attack in self._chosen(only):
                attack.offer(entry)
                while self.mode == "live" and self._over_full(attack):
                    attack.drop_oldest()
            self._changed.notify_all()

    def refuse(self, attack: str) -> None:
        """Count a frame that this attack is not offered."""
        with self._changed:
            self._attacks[attack].counts.refused += 1

    def take(self, timeout: float | None = None, only: Collection[str] | None = None) -> Work | None:
        """The next work of any attack (of ``only``), in turn; None after ``timeout`` seconds, or when closed and empty.

        Every Work must be given back with :meth:`done`.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                work = None if self._paused and not self._closed else self._next(only)
                if work is not None:
                    self._changed.notify_all()  # there is room
                    return work
                if self._closed and self._idle():
                    return None
                left = None if deadline is None else deadline - time.monotonic()
                if (left is not None and left <= 0) or not self._changed.wait(left):
                    return None

    def learns(self, attack: str) -> bool:
        """Whether frames of which this attack makes nothing were learnt from."""
        return self._attacks[attack].needs.learns

    def done(self, work: Work, *, failed: int = 0, learnt: int = 0) -> None:
        """Work is finished: of its windows so many failed or were learnt from, the others count as inverted."""
        with self._changed:
            attack = self._attacks[work.attack]
            attack.sessions[work.session].busy -= 1
            attack.counts.working -= len(work.windows)
            attack.counts.failed += failed
            attack.counts.learnt += learnt
            attack.counts.inverted += len(work.windows) - failed - learnt
            self._changed.notify_all()

    def end(self, session: str) -> None:
        """After what waits, let every attack finish this session."""
        with self._changed:
            for attack in self._attacks.values():
                if session in attack.sessions:
                    attack.sessions[session].finish = True
            self._changed.notify_all()

    def close(self, *, drain: bool) -> None:
        """Nothing comes any more. drain: workers take what waits; else it is dropped and counted. Ends every
        session."""
        with self._changed:
            self._closed = True
            for attack in self._attacks.values():
                while not drain and attack.counts.waiting:
                    attack.drop_oldest()
                for session in attack.sessions.values():
                    session.finish = True
            self._changed.notify_all()

    def pause(self, paused: bool) -> None:
        """Workers take nothing while paused; frames go on being queued (live: dropped, lossless: held back)."""
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def select(self, attacks: frozenset[str]) -> None:
        """Only these attacks get frames from now on; what waits for the others is withdrawn and counted."""
        with self._changed:
            self._selected = set(attacks)
            for name, attack in self._attacks.items():
                if name not in attacks:
                    attack.withdraw()
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Nothing comes any more; some may wait."""
        return self._closed

    @property
    def over(self) -> bool:
        """Closed, and all that was taken is done."""
        with self._changed:
            busy = any(s.busy for a in self._attacks.values() for s in a.sessions.values())
            return self._closed and self._idle() and not busy

    @property
    def selected(self) -> list[str]:
        return sorted(self._selected)

    @property
    def paused(self) -> bool:
        return self._paused

    def counts(self) -> dict[str, Counts]:
        """A copy of every attack's counts."""
        with self._changed:
            return {name: replace(attack.counts) for name, attack in self._attacks.items()}

    def _chosen(self, only: frozenset[str] | None) -> list[_Attack]:
        return [a for name, a in self._attacks.items() if name in self._selected and (only is None or name in only)]

    def _room(self, attack: _Attack) -> bool:
        waiting = attack.counts.waiting
        return not waiting or (waiting < self.capacity and attack.waiting_bytes < self.max_bytes)

    def _over_full(self, attack: _Attack) -> bool:
        waiting = attack.counts.waiting
        return waiting > self.capacity or (waiting > 1 and attack.waiting_bytes > self.max_bytes)

    def _next(self, only: Collection[str] | None) -> Work | None:
        attacks = [a for name, a in self._attacks.items() if only is None or name in only]
        for step in range(len(attacks)):
            attack = attacks[(self._turn + step) % len(attacks)]
            work = attack.take(self.mode == "live")
            if work is not None:
                self._turn += step + 1
                return work
        return None

    def _idle(self) -> bool:
        """No work can come up any more: none waits, none is held whose end would free some."""
        return not any(s.waiting or s.finish for a in self._attacks.values() for s in a.sessions.values())
