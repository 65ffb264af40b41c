"""An edge from its role file to the end of its source."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel

from defenses.registry import turned_by_strength
from edge.config import EdgeConfig, EdgeSettings
from edge.driver import Done
from edge.journal import Journal, progress
from edge.opening import Opener
from edge.ring import Finished, Ring, Taken
from edge.segments import Segments
from edge.service import EdgeControl
from edge.session import Session
from edge.source import Source
from edge.timing import stages
from edge.training import Place, Rollbacks
from victims.base import Cut, Sample
from victims.registry import victim
from wire.control import TOKEN_VARIABLE
from wire.errors import InputError, SessionRefused, WireError
from wire.handshake import Opened

STOP_S = 20.0
"""How long what is in flight may take after SIGTERM."""


ROLLBACKS = 8
"""So many without a single answer, and the session is given up."""


class Edge:
    """One victim, one stream of samples, one session at a time.

    ``_turn`` is held while a sample is taken through the session, and while another session takes over; ``_knobs``
    while the defense is changed, and while another session takes it over.
    """

    def __init__(self, config: EdgeConfig) -> None:
        torch.set_num_threads(config.threads)
        self._config = config
        self._victim = victim(config.victim)
        self._before = progress(config.folder)
        self._splits = _offered(config, self._victim.splits)
        # One that was killed goes on where it was last moved to, as it does with its defense.
        split = self._before.split if self._before.split in self._splits else config.split
        cut = self._cut(split)
        steps, every = cut.train_steps, config.checkpoint_every
        self._rollbacks = Rollbacks(config.folder, every, steps) if steps is not None else None
        self._session = self._make(cut, config.session)
        self._turned = turned_by_strength("gradients" if steps is not None else "features")
        self._segments = Segments(config.folder, config.defense)
        self._segment, self._choice = self._segments.last
        self._defense = self._session.defense(self._choice)
        self._opener = Opener(self._prepare, self._install)
        self._turn, self._knobs, self._ended = threading.Lock(), threading.Lock(), False
        most, first = int(config.record_gb * 1e9), config.record_steps
        self._journal = Journal(config.folder, keep=config.record, max_bytes=most, first=first)
        self._ring = Ring()
        self._positions: dict[int, int] = {}
        self._counts = {"sent": 0, "answered": 0, "failed": 0, "unreadable": 0, "dropped": 0, "rollbacks": 0}
        self._wire_ms = 0.0  # of the newest frame
        self._lock = threading.Lock()
        self._source: Source | None = None
        self._position = 0

    def run(self, stop: threading.Event, on_ready: Callable[[int], None]) -> dict[str, Any]:
        """Stream until the source ends or ``stop`` is set; returns the counters.

        SessionRefused when edge and cloud do not hold the same victim; InputError for a bad role file or source.
        """
        config, client = self._config, self._session.client
        control = EdgeControl(
            self._ring,
            self.state,
            EdgeSettings,
            self._apply,
            address=config.control,
            token=os.environ.get(TOKEN_VARIABLE),
        )
        try:
            self._settle(self._session, client.open(timeout=config.start_timeout_s))
            on_ready(control.start())
            threading.Thread(target=self._give_up, args=(stop,), name="give-up", daemon=True).start()
            self._stream(stop)
        finally:
            self._session.client.close()
            self._journal.close()
            control.stop()
        return self._counters()

    def state(self) -> dict[str, Any]:
        """What ``GET /state`` shows."""
        session, source = self._session, self._source
        driver, calibration, clock = session.driver, session.calibration, session.client.clock()
        return {
            **self._counters(),
            "next_frame": driver.next_frame if driver else self._before.next_frame,
            "segment": driver.segment if driver else self._segment,
            "paused": source.paused if source else False,
            "rate_hz": source.rate_hz if source else self._config.rate_hz,
            "defense": {"name": self._choice.name, "settings": dict(self._choice.settings)},
            "defenses": self._turned,
            "split": session.cut.split,
            "splits": list(self._splits),
            "session": session.number,
            "first_frame": session.first_frame,
            "opening": self._opener.opening,
            "trouble": self._opener.trouble,
            "calibration": {"rms": calibration.rms, "clip": calibration.clip},
            "clock": {"offset_ns": clock.offset_ns, "bound_ns": clock.bound_ns},
            "wire": session.client.counters(),
        }

    def _stream(self, stop: threading.Event) -> None:
        """Until the source ends; a training whose cloud has lost its state rolls back, and goes on from there.

        The cloud may die again while it is asked, so a rollback is tried again too.
        """
        tries = 0
        while True:
            answered = self._counts["answered"]
            try:
                if tries:
                    self._roll_back()
                self._run_source(stop)
                return
            except SessionRefused as error:
                tries = tries + 1 if self._counts["answered"] == answered else 1
                if error.code != "STATE_LOST" or self._rollbacks is None or stop.is_set() or tries > ROLLBACKS:
                    raise

    def _run_source(self, stop: threading.Event) -> None:
        config, before = self._config, self._before
        live = config.mode == "live"
        self._position = 0 if live and self._rollbacks is None else before.next_sample
        driver = self._session.start(self._defense, self._done, first_frame=before.next_frame, segment=self._segment)
        self._journal.session(self._session.told())
        source = Source(
            self._samples, live=live, rate_hz=config.rate_hz, loop=config.loop, on_unreadable=self._unreadable
        )
        if self._source is not None and self._source.paused:  # the one before a rollback
            source.pause(True)
        self._source = source
        for sample, capture_ns in source:
            if stop.is_set():  # it came while we waited for a sample, or were paused
                break
            with self._turn:
                driver = self._session.driver or driver
                with self._lock:
                    self._positions[driver.next_frame] = self._position
                    self._position += 1
                    self._counts["sent"] += 1
                self._ring.take(Taken(driver.next_frame, sample, capture_ns))
                driver.run(sample, capture_ns)
            if stop.is_set():
                break
            driver.wait_for_room(
                alone=live and self._link_bound(source.rate_hz)
            )  # before a sample is taken: it would age
        with self._turn:
            self._ended = True
        (self._session.driver or driver).finish()

    def _make(self, cut: Cut, number: int) -> Session:
        return Session(self._config, self._victim, cut, number, self._rollbacks.next() if self._rollbacks else None)

    def _settle(self, session: Session, opened: Opened) -> None:
        """A training goes on where both ends can; anything else goes on where the record ends."""
        if self._rollbacks is not None and session.continued is not None:
            place = self._rollbacks.settle(session.head, session.continued, opened)
            self._before = replace(self._before, next_frame=place.frame, next_sample=place.position)

    def _roll_back(self) -> None:
        """Another incarnation of the session in the place of the one that the cloud refused."""
        with self._turn, self._knobs:
            old = self._session
            if old.driver is not None:
                old.driver.abandon()
            old.client.close("rolled back")
            with self._lock:
                self._positions.clear()
                self._counts["sent"] = self._counts["answered"] + self._counts["failed"]
                self._counts["rollbacks"] += 1
            session = self._make(old.cut, old.number)
            self._session = session  # closed whatever becomes of it
            self._settle(session, session.client.open(timeout=self._config.start_timeout_s))
            self._segment = self._segments.last[0]
            self._defense = session.defense(self._choice)

    def _prepare(self, cut: Cut) -> Session:
        """A session of this cut, opened. SessionRefused and WireError as for the first one."""
        session = Session(self._config, self._victim, cut, self._session.number + 1)
        session.client.open(timeout=self._config.start_timeout_s)
        return session

    def _install(self, session: Session) -> None:
        """Let ``session`` take over: what is in flight is finished first, so that the record stays in order."""
        with self._turn, self._knobs:
            old = self._session
            driver = old.driver
            if self._ended or driver is None:
                raise WireError("the stream has ended")
            defense = session.defense(self._choice)
            driver.finish()
            self._segments.begin(driver.segment + 1, self._choice)
            session.start(defense, self._done, first_frame=driver.next_frame, segment=driver.segment + 1)
            self._journal.session(session.told())
            self._session = session
        old.client.close("cut elsewhere")

    def _link_bound(self, rate_hz: float | None) -> bool:
        """Whether a payload takes longer to cross than the next sample takes to come: a second one in flight would
        only wait behind the first, and grow old."""
        return rate_hz is not None and self._wire_ms * rate_hz > 1e3

    def _samples(self) -> Iterator[Sample]:
        """The victim's stream, from where an earlier process of this run stopped (lossless)."""
        stream = iter(self._open())
        for _ in range(self._position):
            try:
                if next(stream, None) is None:
                    break
            except InputError:
                continue  # counted when it was first met
        return stream

    def _open(self) -> Iterable[Sample]:
        settings = {"seed": self._config.seed, **self._config.victim_settings, "frames": self._config.frames}
        return self._victim.samples(self._config.source, settings)

    def _done(self, done: Done) -> None:
        with self._lock:
            self._counts["failed" if done.error else "answered"] += 1
            position = self._positions.pop(done.frame)
        row = {**stages(done, self._session.client.clock()), "position": position}
        self._wire_ms = row["wire"] or 0.0
        outcome = done.outcome.arrays if done.outcome is not None else {}
        self._ring.add(Finished(done.frame, row, done.sample, outcome, done.capture_ns))
        self._journal.frame(done, row)
        if self._rollbacks is not None:
            self._rollbacks.keep(self._session.head, Place(done.frame + 1, position + 1))

    def _unreadable(self, error: InputError) -> None:
        with self._lock:
            self._journal.unreadable(self._position, error)
            self._position += 1
            self._counts["unreadable"] += 1

    def _counters(self) -> dict[str, Any]:
        dropped = self._source.dropped if self._source else 0
        return {**self._counts, "dropped": dropped}

    def _cut(self, split: str) -> Cut:
        """InputError where there are no weights for it."""
        return self._victim.cut(split, self._config.victim_settings)

    def _apply(self, settings: BaseModel) -> dict[str, Any]:
        """Apply a validated ``PATCH /settings``; says the first frame that it holds for."""
        source = self._source
        if source is None or not isinstance(settings, EdgeSettings):
            raise InputError("the edge is not streaming yet; try again when /state shows a next_frame")
        cut = self._wanted(settings.split) if settings.split is not None else None
        with self._knobs:
            driver = self._session.driver
            if driver is None:
                raise InputError("the edge is not streaming yet")
            first = driver.next_frame
            if settings.defense is not None:
                defense = self._session.defense(settings.defense)
                self._segments.begin(driver.segment + 1, settings.defense)
                first = driver.swap(defense)
                self._choice = settings.defense
        if settings.rate_hz is not None:
            source.rate_hz = settings.rate_hz
        if settings.paused is not None:
            source.pause(settings.paused)
        if settings.step:
            source.step()
        if settings.split is not None:
            self._opener.ask(cut)
        said = {"first_frame": first, "segment": driver.segment, "t_ns": time.monotonic_ns()}
        return said if settings.split is None else {**said, "opening": self._opener.opening}

    def _wanted(self, split: str) -> Cut | None:
        """The cut that a wish asks for; None for the one that streams. InputError for what cannot be had."""
        if split not in self._splits:
            raise InputError(f"split {split!r} is not offered here; there are: {', '.join(self._splits)}")
        if split == self._session.cut.split:
            return None
        if self._session.cut.train_steps:
            raise InputError(f"split {split!r}: a training goes on at the split point that it began with")
        return self._cut(split)

    def _give_up(self, stop: threading.Event) -> None:
        """A stop ends a pause and waits for what is in flight, but not for a cloud that never comes back."""
        stop.wait()
        if self._source is not None:
            self._source.pause(False)
        time.sleep(STOP_S)
        self._session.client.close("stopped")


def _offered(config: EdgeConfig, there: Sequence[str]) -> tuple[str, ...]:
    """The role file's split points in the victim's order. InputError for one that does not exist."""
    wanted = {config.split, *config.splits}
    for split in wanted:
        if split not in there:
            raise InputError(f"split {split!r} does not exist in {config.victim}; there are: {', '.join(there)}")
    return tuple(split for split in there if split in wanted)
