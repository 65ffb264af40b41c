"""The listening process without its ports: records or a capture in, reconstructions out.

One lock orders everything that is heard, from however many mirrors; the queue stands between it and the workers.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import torch

from attacker.advance import Advance
from attacker.attacks.base import Attack, Needs
from attacker.capture import Capture, replay, told
from attacker.config import WORK, AttackerConfig
from attacker.decoding import decode_frame
from attacker.frames import RawFrame
from attacker.granting import digest, entitled, grants_of
from attacker.inverting import Inverters
from attacker.knowledge import KnowledgeCard
from attacker.listener import Hear
from attacker.newest import NewestFrame
from attacker.queue import Entry, FrameQueue, Mode
from attacker.reconstructions import Reconstructions, finished
from attacker.redis_address import address_of
from attacker.redis_dispatcher import RedisWorkers
from attacker.restoring import REASON, Known, unkept
from attacker.sessions import Ear, Event, SessionClosed, SessionOpened, Sessions
from attacker.snapshots import Snapshots
from attacker.streams import Gap, Sizes
from attacker.worker import ThreadWorkers, Workers
from wire.errors import DecodeError
from wire.mirror import Kind, Record
from wire.record import ReadSummary

_ENDS = ("inverted", "learnt", "dropped", "failed")
TLS_REASON = "the stream is TLS: sizes and times only"


class Attacker:
    """Everything between the mirror port and the results.

    Raises InputError where an attack does not exist, or its needs exceed the knowledge card.
    """

    def __init__(self, config: AttackerConfig, card: KnowledgeCard) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.card = config, card
        self.attacks: dict[str, Attack] = entitled(config.attacks, card)
        self._needs: dict[str, Needs] = {}
        for wanted in config.attacks:
            needs = self.attacks[wanted.row].needs
            splits = frozenset(wanted.splits) or needs.splits
            self._needs[wanted.row] = dataclasses.replace(needs, splits=splits)
        self.sessions = Sessions()
        self.mode: Mode = "lossless" if config.capture else config.mode  # a capture does not run away
        every = {n: a.needs for n, a in self.attacks.items()}
        self.queue = FrameQueue(every, self.mode, config.queue_frames, config.queue_mb << 20)
        self.store = Reconstructions(config.folder / "reconstructions", config.record_bytes)
        self.capture: Capture | None = None
        if config.mirror:
            kept = config.folder / "capture"
            self.capture = Capture(kept, config.record, config.record_bytes, config.record_steps)
        self.newest = NewestFrame()
        self.snapshots = Snapshots(config.snapshots)
        self.summary = ReadSummary()
        self._advance = {row: Advance() for row in self.attacks}
        self._workers = self._hire()
        self._stopping = False
        self._ears: dict[int, Ear] = {}
        self._skipped = self._unreadable = 0  # of ears that are gone
        self._hearing = threading.Lock()
        self._invalid = 0
        self._last_invalid: str | None = None
        self._lost_bytes = 0
        self._tls_bytes = 0
        self._restored = 0
        self._newest: RawFrame | None = None  # of a capture that was heard again
        self._refused: dict[str, str] = {}

    def start(self) -> None:
        """Start the workers. Raises InputError where they cannot be had."""
        self._workers.start()

    def restore(self) -> None:
        """Read our own capture of before: sessions and frames are then known, and in lossless mode what was captured
        but not yet inverted is queued. Call before the first mirror is accepted."""
        if self.capture is not None:
            folder = self.config.folder / "capture"
            queued = self._replay(folder, invert=self.mode == "lossless")
            if self._newest is not None and not told(folder, self._newest):
                self.capture.write(self._newest)
            self._restored = self.sessions.totals()["captured"]
            for lost in unkept(self.sessions, self._needs, self.card, queued) if self.mode == "lossless" else ():
                self.store.fail(lost.attack, lost.session, lost.incarnation, lost.frames, REASON)

    def run_capture(self, folder: Path) -> None:
        """Queue every frame of a finished capture; what an earlier process did in our folder is not repeated.

        Returns when all is queued. Raises InputError where there is no capture.
        """
        self._replay(folder, invert=True)
        for session in self.sessions:
            self.queue.end(session.info.session)

    def connected(self, number: int) -> Hear:
        """What takes the records of mirror ``number``."""
        with self._hearing:
            ear = self._ears[number] = Ear(self.sessions, name=str(number))

        def hear(record: Record) -> None:
            with self._hearing:
                if record.kind is Kind.SNAPSHOT:
                    self._keep(record)
                    return
                for event in ear.feed(record):
                    self._on_event(event)

        return hear

    def _keep(self, record: Record) -> None:
        """A model that the card does not grant is not kept."""
        if self.card.vantage != "cloud":
            return
        try:
            self.snapshots.put(record.data)
        except (DecodeError, OSError) as error:
            self._invalid += 1
            self._last_invalid = str(error)

    def disconnected(self, number: int) -> None:
        """Mirror ``number`` is gone; should it come again, it tells the start of its connections again."""
        with self._hearing:
            ear = self._ears.pop(number)
            self._skipped += ear.connections.skipped_bytes
            self._unreadable += ear.unreadable

    @property
    def working(self) -> bool:
        """Workers still run: until the queue is closed and empty."""
        return self._workers.working

    def stop(self, grace_s: float) -> bool:
        """No more comes. Lossless: the queue is worked off, within ``grace_s`` seconds; live: it is dropped. Then the
        files are finished. False where work was left undone."""
        self._stopping = True
        deadline = time.monotonic() + grace_s
        self.queue.close(drain=self.mode == "lossless")
        done = self._workers.join(max(deadline - time.monotonic(), 0.1))
        self.queue.close(drain=False)
        if self.capture is not None:
            self.capture.close()
        self.store.close()
        return done

    def state(self) -> dict[str, Any]:
        """What ``GET /state`` answers."""
        totals = self.sessions.totals()
        counts = self.queue.counts()
        ears = list(self._ears.values())
        workers = self._workers.state()
        recorded = [
            p for p in (self.capture and self.capture.problem, self.store.problem, workers.pop("why", None)) if p
        ]
        return {
            "captured": totals["captured"],
            "missed": totals["missed"],
            "incomplete": totals["incomplete"],
            "invalid": self._invalid,
            "duplicates": totals["duplicates"],
            "restored": self._restored,
            **{key: sum(getattr(c, key) for c in counts.values()) for key in _ENDS},
            "attacks": {name: vars(count) | self._attack(name) for name, count in counts.items()},
            "queue": {
                "mode": self.queue.mode,
                "capacity": self.queue.capacity,
                "depth": max((c.waiting for c in counts.values()), default=0),
                "peak": max((c.peak for c in counts.values()), default=0),
                "paused": self.queue.paused,
            },
            "lag_ms": self._lag_ms(),
            "reconstructions": self.store.count,
            "snapshots": self.snapshots.count,
            "lost_bytes": self._lost_bytes,
            "skipped_bytes": self._skipped + sum(ear.connections.skipped_bytes for ear in ears),
            "unreadable_messages": self._unreadable + sum(ear.unreadable for ear in ears),
            "encrypted_bytes": self._tls_bytes,
            "why": self._why(recorded),
            **workers,
            "record": {
                "level": self.config.record,
                "bytes": self.capture.total_bytes if self.capture else 0,
                "deleted_segments": self.capture.deleted_segments if self.capture else 0,
            },
            "sessions": [
                {
                    "session": s.info.session,
                    "tap": s.tap,
                    "victim": s.info.victim,
                    "split": s.info.split,
                    "layouts": list(s.info.layouts),
                    "incarnation": s.incarnation,
                    "epochs": s.epochs,
                    "closed": s.closed,
                    "captured": len(s.frames.captured),
                    "missed": s.frames.missed,
                    "highest": s.frames.highest,
                }
                for s in self.sessions
            ],
            "knowledge": self.card.to_dict(),
        }

    def _hire(self) -> Workers:
        config = self.config
        if config.redis is not None:
            attacks = {
                wanted.row: (self._needs[wanted.row].order == "in_order", digest(wanted, self.card, config.seed))
                for wanted in config.attacks
            }
            return RedisWorkers(
                address_of(config.redis),
                config.redis_prefix,
                self.queue,
                self.store,
                attacks,
                frames=config.redis_frames,
                claim_s=config.claim_s,
                deliveries=config.deliveries,
            )
        grants = {
            wanted.row: grants_of(
                wanted,
                self.card,
                device=config.device,
                seed=config.seed,
                work=config.folder / WORK / wanted.row,
                progress=self._advance[wanted.row],
                snapshot=self.snapshots.get,
            )
            for wanted in config.attacks
        }
        return ThreadWorkers(config.workers, self.queue, Inverters(self.attacks, grants), self.store)

    def _attack(self, name: str) -> dict[str, Any]:
        why = self._refused.get(name)
        return {"selected": name in self.queue.selected, "why": why, "advance": vars(self._advance[name])}

    def _why(self, recorded: list[str]) -> str | None:
        reasons = [TLS_REASON] if self._tls_bytes else []
        if self._last_invalid:
            reasons.append(f"last invalid payload: {self._last_invalid}")
        return "; ".join(reasons + recorded) or None

    def _lag_ms(self) -> float | None:
        """From the last byte of the newest inverted frame on the link to its reconstruction; None before the first."""
        latest = self.store.latest()
        if latest is None:
            return None
        return sum(float(str(latest.meta.get(f"{name}_ms", 0.0))) for name in ("decode", "wait", "invert"))

    def _on_event(self, event: Event) -> None:
        if self.capture is not None:
            self.capture.write(event)
        self._follow(event)
        if isinstance(event, RawFrame):
            self._queue_frame(event, frozenset(self.attacks))

    def _follow(self, event: Event) -> None:
        if isinstance(event, SessionOpened):
            self._workers.know(event.session.info)
        elif isinstance(event, SessionClosed):
            self._workers.know(event.session.info)
            self.queue.end(event.session.info.session)
        elif isinstance(event, Gap):
            self._lost_bytes += event.lost
        elif isinstance(event, Sizes):
            self._tls_bytes += event.size

    def _queue_frame(self, raw: RawFrame, wanted: frozenset[str]) -> None:
        begin = time.perf_counter()
        try:
            frame = decode_frame(raw)
        except DecodeError as error:
            self._invalid += 1
            self._last_invalid = f"frame {raw.frame}: {error}"
            return
        spent = (time.perf_counter() - begin) * 1e3
        self.newest.put(frame)
        self.queue.put(Entry(frame, time.monotonic_ns(), spent), self._entitled(raw, wanted))

    def _entitled(self, raw: RawFrame, wanted: frozenset[str]) -> frozenset[str]:
        """The attacks that may see this frame and are trained for its split point."""
        session = self.sessions.find(raw.session, raw.tap)
        split = session.info.split if session else ""
        chosen = set()
        for name in wanted:
            refusals = self.card.entitles(self._needs[name], split or None)
            if raw.tap == "cloud" and self.card.vantage != "cloud":
                refusals.append("vantage: the frame was heard in the cloud, the card grants wire")
            if refusals:
                self._refused[name] = "; ".join(refusals)
                self.queue.refuse(name)
            else:
                self._refused.pop(name, None)  # of an earlier session
                chosen.add(name)
        return frozenset(chosen)

    def _replay(self, folder: Path, *, invert: bool) -> set[Known]:
        """Hear a capture again; all that was done before or is queued now."""
        if not folder.is_dir() and self.capture is not None:
            return set()
        done = finished(self.config.folder / "reconstructions")
        known = {(name, session, frame) for name, session, _, frame in done}
        for event in replay(folder, self.sessions, self.summary):
            if self._stopping:
                return known
            self._follow(event)
            self._newest = event if isinstance(event, RawFrame) else self._newest
            if isinstance(event, RawFrame) and invert:
                place = (event.session, event.incarnation, event.frame)
                wanted = frozenset(name for name in self.attacks if (name, *place) not in done)
                known |= {(name, event.session, event.frame) for name in wanted}
                if wanted:
                    self._queue_frame(event, wanted)
        return known
