"""The newest finished frames, kept in memory for those who may see the truth: lab and console."""

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
        """The row with the frame's age in milliseconds: a clock that the asker need not share."""
        return {**self.row, "age_ms": (time.monotonic_ns() - self.capture_ns) / 1e6}

    def packed(self) -> bytes:
        """Sample, its labels (``truth.NAME``) and the answer (``outcome.NAME``) as :func:`wire.arrays.pack` bytes."""
        everything = {
            **self.sample.arrays,
            **{f"truth.{name}": array for name, array in self.sample.truth.items()},
            **{f"outcome.{name}": array for name, array in self.outcome.items()},
        }
        return arrays.pack(everything, {"frame": self.frame, "name": self.sample.name})


class Ring:
    """Thread-safe; one writer, any number of readers that wait."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept: deque[Finished] = deque(maxlen=kept)
        self._changed = threading.Condition()

    def add(self, finished: Finished) -> None:
        """Keep a frame and wake whoever waits for it."""
        with self._changed:
            self._kept.append(finished)
            self._changed.notify_all()

    def after(self, frame: int, wait_s: float = 0.0) -> list[Finished]:
        """All newer than ``frame``, oldest first; waits up to ``wait_s`` seconds for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._kept) and self._kept[-1].frame > frame, timeout=wait_s)
            return [finished for finished in self._kept if finished.frame > frame]

    def get(self, frame: int) -> Finished | None:
        """The frame of this number, while it is kept."""
        with self._changed:
            return next((finished for finished in self._kept if finished.frame == frame), None)

    def newest(self) -> Finished | None:
        """The frame that was finished last."""
        with self._changed:
            return self._kept[-1] if self._kept else None
