"""The newest samples and finished frames, kept in memory for those who may see the truth: lab and console."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from victims.base import Sample
from wire import arrays

KEPT = 32
"""Frames that can be asked for; older ones are in the record."""


@dataclass(frozen=True)
class Taken:
    """A sample that a head has begun on. capture_ns: when it was taken, on this process's monotonic clock."""

    frame: int
    sample: Sample
    capture_ns: int

    @property
    def age_ms(self) -> float:
        """Milliseconds since its capture: a clock that the asker need not share."""
        return (time.monotonic_ns() - self.capture_ns) / 1e6

    def packed(self) -> bytes:
        """Sample and its labels (``truth.NAME``) as :func:`wire.arrays.pack` bytes."""
        return arrays.pack(_told(self.sample), {**self.sample.meta, "frame": self.frame, "name": self.sample.name})


@dataclass(frozen=True)
class Finished:
    """One frame that was answered or failed.

    row: its stage times (:func:`edge.timing.stages`). outcome: the arrays of the answer, empty without one.
    capture_ns: when the sample was taken, on this process's monotonic clock.
    """

    frame: int
    row: Mapping[str, Any]
    sample: Sample
    outcome: Mapping[str, np.ndarray]
    capture_ns: int

    def told(self) -> dict[str, Any]:
        """The row with the frame's age in milliseconds, a clock that the asker need not share, and its capture time."""
        age_ms = (time.monotonic_ns() - self.capture_ns) / 1e6
        return {**self.row, "age_ms": age_ms, "capture_ns": self.capture_ns}

    def packed(self) -> bytes:
        """Sample, its labels (``truth.NAME``) and the answer (``outcome.NAME``) as :func:`wire.arrays.pack` bytes."""
        everything = {**_told(self.sample), **{f"outcome.{name}": array for name, array in self.outcome.items()}}
        return arrays.pack(everything, {"frame": self.frame, "name": self.sample.name})

    def packed_outcome(self) -> bytes:
        """The answer's arrays alone."""
        return arrays.pack(dict(self.outcome), {"frame": self.frame})


def _told(sample: Sample) -> dict[str, np.ndarray]:
    return {**sample.arrays, **{f"truth.{name}": array for name, array in sample.truth.items()}}


class Ring:
    """Thread-safe; one writer, any number of readers that wait."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Finished] = deque(maxlen=kept)
        self._taken: Taken | None = None
        self._closed = False
        self._changed = threading.Condition()

    def take(self, taken: Taken) -> None:
        """The head begins on this sample: who wants to look at it need not wait for the answer."""
        with self._changed:
            self._taken = taken
            self._changed.notify_all()

    def taken(self, after: int, wait_s: float = 0.0) -> Taken | None:
        """The newest sample if its frame is newer than ``after``; waits up to ``wait_s`` seconds for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._newer(self._taken, after), timeout=wait_s)
            return self._taken if self._taken is not None and self._taken.frame > after else None

    def add(self, finished: Finished) -> None:
        """Keep a frame and wake whoever waits for it."""
        with self._changed:
            self._kept.append(finished)
            self._changed.notify_all()

    def after(self, frame: int, wait_s: float = 0.0) -> list[Finished]:
        """All newer than ``frame``, oldest first; waits up to ``wait_s`` seconds for the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._newer(self._kept[-1] if self._kept else None, frame), timeout=wait_s)
            return [finished for finished in self._kept if finished.frame > frame]

    def get(self, frame: int) -> Finished | None:
        """The frame of this number, while it is kept."""
        with self._changed:
            return next((finished for finished in self._kept if finished.frame == frame), None)

    def close(self) -> None:
        """Nothing more comes: whoever waits is answered now."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _newer(self, newest: Taken | Finished | None, frame: int) -> bool:
        return self._closed or (newest is not None and newest.frame > frame)

    def newest(self) -> Finished | None:
        """The frame that was finished last."""
        with self._changed:
            return self._kept[-1] if self._kept else None
