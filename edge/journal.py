"""What the edge keeps for itself: truth, outcomes and stage times. The listener never reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.driver import Done
from victims.base import Sample
from wire import arrays, record
from wire.errors import InputError
from wire.payload import Meta


@dataclass(frozen=True)
class Progress:
    """How far an earlier process of the same run came."""

    next_frame: int = 0
    next_sample: int = 0  # position in the source, unreadable samples included
    split: str | None = None  # where its last session was cut


class Journal:
    """The record under ``edge/`` of a run folder.

    keep: as in the role file. first: at the level ``first``, so many frames are kept whole, and of the steps of a
    training after them (an answer with a ``loss``) only single numbers.

    topics: ``sample`` and ``outcome`` (packed arrays), ``stages`` (JSON, one a frame, written last: a frame without it
    is not finished), ``defended`` (JSON), ``unreadable`` (JSON), ``session`` (JSON).
    """

    def __init__(self, folder: Path, *, keep: str, max_bytes: int, first: int = 0) -> None:
        self._folder, self._keep, self._first = folder, keep, first
        self._writer = record.RecordWriter(folder, max_bytes=max_bytes)

    def session(self, values: Mapping[str, Any]) -> None:
        """The session that the following frames belong to."""
        self._writer.event("session", values, sticky="session")

    def unreadable(self, position: int, error: InputError) -> None:
        """A sample that could not be read."""
        self._writer.event("unreadable", {"position": position, "error": str(error)})

    def frame(self, done: Done, row: dict[str, Any]) -> None:
        """One finished (answered or failed) frame."""
        answer = done.outcome.arrays if done.outcome is not None else {}
        light = self._keep == "first" and done.frame >= self._first and "loss" in answer
        if self._keep != "none" and not light:
            self._arrays("sample", done, _sample_arrays(done.sample))
        if done.outcome is not None and self._keep != "none":
            self._arrays("outcome", done, {k: v for k, v in answer.items() if not light or v.ndim == 0})
        for told in done.records:
            self._writer.event("defended", {"frame": done.frame, "segment": done.segment, **told})
        self._writer.event("stages", row, log_ns=done.done_ns)

    def close(self) -> None:
        """Flush and finish the segment."""
        self._writer.close()

    def _arrays(self, topic: str, done: Done, values: dict[str, Any]) -> None:
        own: dict[str, Meta] = {"frame": done.frame, "name": done.sample.name, "digest": done.sample.digest()}
        meta = {**done.sample.meta, **own}
        self._writer.write(topic, arrays.pack(values, meta), log_ns=done.capture_ns, sequence=done.frame)


def progress(folder: Path) -> Progress:
    """Read how far the record in ``folder`` got; zero where there is none."""
    if not folder.is_dir():
        return Progress()
    frame = sample = 0
    split = None
    for item in record.read(folder):
        if item.topic == "stages":
            row = json.loads(item.data)
            frame, sample = max(frame, row["frame"] + 1), max(sample, row["position"] + 1)
        elif item.topic == "unreadable":
            sample = max(sample, json.loads(item.data)["position"] + 1)
        elif item.topic == "session":
            split = json.loads(item.data).get("split")
    return Progress(frame, sample, split)


def _sample_arrays(sample: Sample) -> dict[str, Any]:
    return {**sample.arrays, **{f"truth.{name}": array for name, array in sample.truth.items()}}
