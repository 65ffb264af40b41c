"""What the attacks made of the capture: on disk (MCAP), and the newest in memory for whoever asks.

Topics: ``reconstruction`` (:func:`wire.arrays.pack`: the arrays, and as meta the session, frames, attack, times and the
attack's own figures under ``attack.KEY``), ``failure`` (JSON: attack, session, frames, reason) and ``learnt`` (JSON:
attack, session, frames of which nothing was made because they were learnt from). log is the time of the last byte of
the newest frame, on the link's clock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attacker.attacks.base import Reconstruction
from wire.arrays import pack, unpack
from wire.errors import DecodeError
from wire.payload import Meta
from wire.record import RecordWriter, read

KEPT = 64

Done = tuple[str, str, int, int]
"""Attack, session, incarnation, frame."""


@dataclass(frozen=True)
class Kept:
    """One reconstruction as it is served: ``number`` grows by one with each, from 1 in every process."""

    number: int
    meta: dict[str, Meta]
    data: bytes


class Reconstructions:
    """Thread-safe store. max_bytes bounds the folder."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.problem: str | None = None
        self.count = 0
        self._writer = RecordWriter(folder, max_bytes=max_bytes)
        self._kept: deque[Kept] = deque(maxlen=KEPT)
        self._changed = threading.Condition()
        self._closed = False

    def add(self, made: Reconstruction, *, incarnation: int, t_captured_ns: int, times_ms: dict[str, float]) -> None:
        """Keep one. times_ms: ``decode``, ``wait``, ``invert``, in milliseconds. Raises InputError for arrays or meta
        that cannot be stored."""
        meta: dict[str, Meta] = {
            "session": made.session,
            "frames": tuple(made.frames),
            "attack": made.attack,
            "incarnation": incarnation,
            "t_captured_ns": t_captured_ns,
            **{f"{name}_ms": value for name, value in times_ms.items()},
            **{f"attack.{key}": value for key, value in made.meta.items()},
        }
        data = pack(made.arrays, meta)
        with self._changed:
            if self._closed:  # a worker that outlived the grace
                return
            self.count += 1
            self._kept.append(Kept(self.count, meta, data))
            try:
                if self.problem is None:
                    self._writer.write(
                        "reconstruction",
                        data,
                        log_ns=t_captured_ns,
                        sequence=max(made.frames, default=0),
                        metadata={"incarnation": str(incarnation)},
                    )
            except OSError as error:
                self.problem = f"recording stopped: {error.strerror or error}"
            self._changed.notify_all()

    def fail(self, attack: str, session: str, incarnation: int, frames: Sequence[int], reason: str) -> None:
        """Note that an attack failed on frames."""
        self._note("failure", attack, session, incarnation, frames, reason=reason)

    def learnt(self, attack: str, session: str, incarnation: int, frames: Sequence[int]) -> None:
        """Note that an attack has learnt from frames."""
        self._note("learnt", attack, session, incarnation, frames)

    def _note(
        self, topic: str, attack: str, session: str, incarnation: int, frames: Sequence[int], **more: str
    ) -> None:
        told = {"attack": attack, "session": session, "incarnation": incarnation, "frames": list(frames), **more}
        with self._changed:
            if self._closed:
                return
            try:
                if self.problem is None:
                    self._writer.event(topic, told)
            except OSError as error:
                self.problem = f"recording stopped: {error.strerror or error}"

    def latest(self, attack: str | None = None) -> Kept | None:
        """The newest one (of an attack)."""
        with self._changed:
            return next((k for k in reversed(self._kept) if attack in (None, k.meta["attack"])), None)

    def get(self, number: int) -> Kept | None:
        """The one with this number, if it is still in memory."""
        with self._changed:
            return next((k for k in self._kept if k.number == number), None)

    def after(self, number: int, wait_s: float) -> list[Kept]:
        """All newer than ``number`` that are still in memory; waits up to ``wait_s`` seconds for the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.count > number, timeout=wait_s)
            return [k for k in self._kept if k.number > number]

    def close(self) -> None:
        """Finish the segment and wake whoever waits."""
        with self._changed:
            self._closed = True
            try:
                self._writer.close()
            except OSError as error:
                self.problem = f"recording stopped: {error.strerror or error}"
            self._changed.notify_all()


def finished(folder: Path) -> set[Done]:
    """What earlier processes have done in this folder: every frame that an attack inverted, failed on or has learnt
    from."""
    done: set[Done] = set()
    if not folder.is_dir():
        return done
    for recorded in read(folder):
        try:
            if recorded.topic == "reconstruction":
                said: dict[str, object] = dict(unpack(recorded.data)[1])
            elif recorded.topic in ("failure", "learnt"):
                said = recorded.json()
            else:
                continue
            frames = said["frames"]
            if isinstance(frames, list | tuple):
                for frame in frames:
                    done.add((str(said["attack"]), str(said["session"]), int(str(said["incarnation"])), int(frame)))
        except (DecodeError, ValueError, KeyError, TypeError):  # a record of somebody else's making
            continue
    return done
