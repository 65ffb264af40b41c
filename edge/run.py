"""An edge from its role file to the end of its source."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from pydantic import BaseModel

from defenses.base import Calibration, Defense
from defenses.registry import build, names
from edge.config import DefenseChoice, EdgeConfig, EdgeSettings
from edge.driver import Done, Driver
from edge.journal import Journal, progress
from edge.ring import Finished, Ring
from edge.service import EdgeControl
from edge.source import Source
from edge.timing import stages
from victims.base import Head, Sample
from victims.registry import victim
from wire.client import EdgeClient, Offer
from wire.errors import InputError
from wire.payload import Payload
from wire.tls import TlsFiles

STOP_S = 20.0
"""How long what is in flight may take after SIGTERM."""


class Edge:
    """One victim's head, one session, one stream."""

    def __init__(self, config: EdgeConfig) -> None:
        torch.set_num_threads(config.threads)
        self._config = config
        self._victim = victim(config.victim)
        self._cut = self._victim.cut(config.split, config.victim_settings)
        self._head: Head = self._cut.head()
        self._before = progress(config.folder)
        self._calibration = self._calibrate()
        self._choice = config.defense
        self._defense = self._build(config.defense)
        self._journal = Journal(config.folder, keep=config.record, max_bytes=int(config.record_gb * 1e9))
        self._ring = Ring()
        self._positions: dict[int, int] = {}
        self._counts = {"sent": 0, "answered": 0, "failed": 0, "unreadable": 0, "dropped": 0}
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._source: Source | None = None
        self._client: EdgeClient | None = None
        self._position = 0

    def run(self, stop: threading.Event, on_ready: Callable[[int], None]) -> dict[str, Any]:
        """Stream until the source ends or ``stop`` is set; returns the counters.

        SessionRefused when edge and cloud do not hold the same victim; InputError for a bad role file or source.
        """
        config = self._config
        offer = Offer(
            victim=config.victim,
            split=config.split,
            weights_sha256=self._cut.weights_sha256,
            config_sha256=self._cut.config_sha256,
            layouts=tuple(sorted(self._head.emits)),
        )
        credentials = TlsFiles.of(config.tls) if config.tls else None
        client = EdgeClient(config.address, offer, credentials=credentials, resend=config.mode == "lossless")
        self._client = client
        control = EdgeControl(self._ring, self.state, EdgeSettings, self._apply, address=config.control)
        try:
            client.open(timeout=config.start_timeout_s)
            self._journal.session({"session": offer.session_id.hex(), "first_frame": self._before.next_frame})
            on_ready(control.start())
            threading.Thread(target=_give_up, args=(stop, client), name="give-up", daemon=True).start()
            self._stream(client, stop)
        finally:
            client.close()
            self._journal.close()
            control.stop()
        return self._counters()

    def state(self) -> dict[str, Any]:
        """What ``GET /state`` shows."""
        driver, source, client = self._driver, self._source, self._client
        clock = client.clock() if client else None
        return {
            **self._counters(),
            "next_frame": driver.next_frame if driver else self._before.next_frame,
            "segment": driver.segment if driver else self._before.segment,
            "paused": source.paused if source else False,
            "rate_hz": source.rate_hz if source else self._config.rate_hz,
            "defense": {"name": self._choice.name, "settings": dict(self._choice.settings)},
            "defenses": names(),
            "split": self._config.split,
            "calibration": {"rms": self._calibration.rms, "clip": self._calibration.clip},
            "clock": {"offset_ns": clock.offset_ns, "bound_ns": clock.bound_ns} if clock else None,
            "wire": client.counters() if client else {},
        }

    def _stream(self, client: EdgeClient, stop: threading.Event) -> None:
        config, before = self._config, self._before
        live = config.mode == "live"
        self._position = 0 if live else before.next_sample
        driver = Driver(
            self._head,
            client,
            self._defense,
            self._done,
            seed=config.seed,
            session=config.session,
            in_flight=1 if self._cut.train_steps else config.in_flight,
            steps=self._cut.train_steps,
            first_frame=before.next_frame,
            segment=before.segment,
        )
        source = Source(
            self._samples, live=live, rate_hz=config.rate_hz, loop=config.loop, on_unreadable=self._unreadable
        )
        self._driver, self._source = driver, source
        for sample, capture_ns in source:
            with self._lock:
                self._positions[driver.next_frame] = self._position
                self._position += 1
                self._counts["sent"] += 1
            driver.run(sample, capture_ns)
            if stop.is_set():
                break
        driver.finish()

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
        clock = self._client.clock() if self._client else None
        row = {**stages(done, clock), "position": position}
        outcome = done.outcome.arrays if done.outcome is not None else {}
        self._ring.add(Finished(done.frame, row, done.sample, outcome, done.capture_ns))
        self._journal.frame(done, row)

    def _unreadable(self, error: InputError) -> None:
        with self._lock:
            self._journal.unreadable(self._position, error)
            self._position += 1
            self._counts["unreadable"] += 1

    def _counters(self) -> dict[str, Any]:
        dropped = self._source.dropped if self._source else 0
        return {**self._counts, "dropped": dropped}

    def _build(self, choice: DefenseChoice) -> Defense:
        return build(choice.name, choice.settings, self._calibration)

    def _calibrate(self) -> Calibration:
        """Measure the clean features once; a resumed run uses what was stored, or its strengths would shift."""
        path = self._config.folder / "calibration.json"
        if path.is_file():
            return Calibration(**json.loads(path.read_text()))
        defense = build(self._config.defense.name, self._config.defense.settings, None)
        calibration = defense.calibrate(self._clean(self._config.calibration_frames))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        values = {"rms": calibration.rms, "clip": calibration.clip, "frames": calibration.frames}
        temporary.write_text(json.dumps(values))
        os.replace(temporary, path)
        return calibration

    def _clean(self, frames: int) -> Iterator[Payload]:
        settings = {"seed": self._config.seed, **self._config.victim_settings, "frames": frames}
        stream = iter(self._victim.samples(self._config.source, settings))
        for _ in range(frames):
            try:
                sample = next(stream)
            except StopIteration:
                return
            except InputError:
                continue
            exchange = self._head.exchange(sample)
            yield from next(exchange)
            exchange.close()

    def _apply(self, settings: BaseModel) -> dict[str, Any]:
        """Apply a validated ``PATCH /settings``; says the first frame that it holds for."""
        driver, source = self._driver, self._source
        if driver is None or source is None or not isinstance(settings, EdgeSettings):
            raise InputError("the edge is not streaming yet; try again when /state shows a next_frame")
        first = driver.next_frame
        if settings.defense is not None:
            first = driver.swap(self._build(settings.defense))
            self._choice = settings.defense
        if settings.rate_hz is not None:
            source.rate_hz = settings.rate_hz
        if settings.paused is not None:
            source.pause(settings.paused)
        if settings.step:
            source.step()
        return {"first_frame": first, "segment": driver.segment, "t_ns": time.monotonic_ns()}


def _give_up(stop: threading.Event, client: EdgeClient) -> None:
    """A stop waits for what is in flight, but not for a cloud that never comes back."""
    stop.wait()
    time.sleep(STOP_S)
    client.close("stopped")
