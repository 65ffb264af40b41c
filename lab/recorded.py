"""What a run recorded, as the lab joins it: truth, outcomes and stage times from the edge, reconstructions from the
listener."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from attacker.decoding import payload_of
from attacker.transfers import Transfer
from victims.base import Sample
from wire import arrays, record
from wire.envelope import decode
from wire.errors import RunError
from wire.payload import Meta, Payload

_TRUTH = "truth."
_KEPT = 32
"""Truths kept in memory: reconstructions come almost in order (latest first swaps neighbours); a scan is a megabyte."""


@dataclass(frozen=True)
class Rebuilt:
    """One reconstruction as it was recorded. frame: the last of ``frames``, which it is scored against."""

    session: str
    frames: tuple[int, ...]
    attack: str
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Meta]

    @property
    def frame(self) -> int:
        """The frame whose truth it is compared with."""
        return self.frames[-1]


def truths(folder: Path) -> Iterator[tuple[int, Sample]]:
    """Frame and sample of every ``sample`` record, in the order they were captured; a frame sent twice comes once."""
    seen: set[int] = set()
    for item in _topic(folder, "sample"):
        found, meta = arrays.unpack(item.data)
        frame = _whole(meta, "frame", folder)
        if frame in seen:
            continue
        seen.add(frame)
        inputs = {k: v for k, v in found.items() if not k.startswith(_TRUTH)}
        truth = {k.removeprefix(_TRUTH): v for k, v in found.items() if k.startswith(_TRUTH)}
        rest = {k: v for k, v in meta.items() if k not in ("frame", "name")}
        yield frame, Sample(str(meta.get("name", frame)), inputs, truth, rest)


def sample_digests(folder: Path) -> dict[int, str]:
    """Frame -> digest of its sample, as the edge recorded it: two runs saw the same scan where these are equal."""
    found: dict[int, str] = {}
    for item in _topic(folder, "sample") if folder.is_dir() else ():
        meta = arrays.unpack(item.data)[1]
        found.setdefault(_whole(meta, "frame", folder), str(meta.get("digest", "")))
    return found


def outcomes(folder: Path) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
    """Frame and arrays of every answer the edge got."""
    for item in _topic(folder, "outcome"):
        found, meta = arrays.unpack(item.data)
        yield _whole(meta, "frame", folder), found


def stages(folder: Path) -> dict[int, dict[str, Any]]:
    """Frame -> its row of stage times (milliseconds), bytes and ``error``; the last row of a frame counts."""
    rows: dict[int, dict[str, Any]] = {}
    for item in _topic(folder, "stages"):
        row = item.json()
        rows[_whole(row, "frame", folder)] = row
    return rows


@dataclass(frozen=True)
class Segment:
    """A stretch of a stream under one defense. settings: as the edge was given them; a live swap begins another."""

    number: int = 0
    defense: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """``feature_centric strength=0.5``."""
        return " ".join([self.defense, *(f"{key}={value}" for key, value in self.settings.items())])


def segments(folder: Path) -> dict[int, Segment]:
    """Frame -> the segment that it left the edge in, from the edge's record and the table beside it.

    A record from before there was such a table names no defenses.
    """
    path = folder / "segments.json"
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    named = {int(number): Segment(int(number), d["name"], d["settings"]) for number, d in told.items()}
    numbers = {frame: _whole(row, "segment", folder) for frame, row in stages(folder).items() if "segment" in row}
    return {frame: named.get(number, Segment(number)) for frame, number in numbers.items()}


def payload_digests(folder: Path) -> dict[int, str]:
    """Frame -> SHA-256 over the tensors' bytes of everything that left the edge for it, as the listener captured it.

    Two captures of the same payloads have the same digests, wherever and over whatever link they were heard.
    """
    hashes: dict[int, dict[tuple[int, int], bytes]] = {}
    for item in _topic(folder, "transfer/up") if folder.is_dir() else ():
        head, data = decode(item.data)
        place = (head.header.turn, head.header.part)
        hashes.setdefault(head.header.exchange, {})[place] = hashlib.sha256(data).digest()
    return {
        frame: hashlib.sha256(b"".join(parts[place] for place in sorted(parts))).hexdigest()
        for frame, parts in hashes.items()
    }


def reconstructions(folder: Path, attack: str | None = None) -> Iterator[Rebuilt]:
    """Every reconstruction (of one attack), in the order they were made. Absent folder: none.

    Of one that was made again after a training had rolled back, only the newest incarnation's is given.
    """
    if not folder.is_dir():
        return
    newest = _made_again(folder)
    for item in record.read(folder):
        if item.topic != "reconstruction":
            continue
        found, meta = arrays.unpack(item.data)
        name = str(meta.get("attack", ""))
        if attack is not None and name != attack:
            continue
        frames = _frames(meta, name, folder)
        if int(str(meta.get("incarnation", 0))) >= newest.get((name, frames[-1]), 0):
            yield Rebuilt(str(meta.get("session", "")), frames, name, found, meta)


def _frames(meta: Mapping[str, Meta], attack: str, folder: Path) -> tuple[int, ...]:
    frames = meta.get("frames")
    if isinstance(frames, int):
        frames = (frames,)
    if not isinstance(frames, tuple) or not frames:
        raise RunError(f"{folder}: a reconstruction by {attack!r} names no frames")
    return tuple(int(frame) for frame in frames)


def _made_again(folder: Path) -> dict[tuple[str, int], int]:
    """Attack and frame -> newest incarnation; empty where no training has rolled back, which costs a look alone."""
    if all(item.metadata.get("incarnation", "0") == "0" for item in _topic(folder, "reconstruction")):
        return {}
    newest: dict[tuple[str, int], int] = {}
    for item in _topic(folder, "reconstruction"):
        meta = arrays.unpack(item.data)[1]
        key = str(meta.get("attack", "")), _frames(meta, str(meta.get("attack", "")), folder)[-1]
        newest[key] = max(newest.get(key, 0), int(str(meta.get("incarnation", 0))))
    return newest


def noted(folder: Path, topic: str) -> dict[str, set[int]]:
    """Attack -> frames that the listener noted under ``topic``: ``failure`` or ``learnt``. Absent folder: none."""
    found: dict[str, set[int]] = {}
    for item in _topic(folder, topic) if folder.is_dir() else ():
        told = item.json()
        found.setdefault(str(told.get("attack", "")), set()).update(_noted_frames(told, topic, folder))
    return found


def _noted_frames(told: Mapping[str, Any], topic: str, folder: Path) -> list[int]:
    frames = told.get("frames")
    if not isinstance(frames, list):
        raise RunError(f"{folder}: a {topic} record names no frames")
    return [int(frame) for frame in frames]


def failures(folder: Path) -> dict[str, dict[int, str]]:
    """Attack -> frame -> why the listener could not rebuild it, the first time. Absent folder: none."""
    found: dict[str, dict[int, str]] = {}
    for item in _topic(folder, "failure") if folder.is_dir() else ():
        told = item.json()
        reasons = found.setdefault(str(told.get("attack", "")), {})
        for frame in _noted_frames(told, "failure", folder):
            reasons.setdefault(frame, str(told.get("reason", "")))
    return found


def unreadable(folder: Path) -> list[str]:
    """What was wrong with each sample that the edge could not read, in the order of the source."""
    return [str(item.json().get("error", "")) for item in _topic(folder, "unreadable")] if folder.is_dir() else []


def calibration(folder: Path) -> dict[str, Any]:
    """What the edge measured on clean features before it streamed; strengths are in its units. Empty if it is gone."""
    path = folder / "calibration.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    return {key: value for key, value in found.items() if value is not None}


def defended(folder: Path) -> dict[str, float]:
    """Means over frames of what the defense recorded about itself: deviation, sites, energy, bytes."""
    return _means(item.json() for item in _topic(folder, "defended"))


def defended_by_segment(folder: Path) -> dict[int, dict[str, float]]:
    """The same for each segment by itself."""
    rows: dict[int, list[Mapping[str, Any]]] = {}
    for item in _topic(folder, "defended"):
        row = item.json()
        rows.setdefault(_whole(row, "segment", folder), []).append(row)
    return {number: _means(found) for number, found in rows.items()}


def _means(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        for key, value in row.items():
            if key not in ("frame", "segment") and isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(key, []).append(float(value))
    return {key: float(np.mean(values)) for key, values in found.items()}


def captured_frames(folder: Path) -> list[int]:
    """The frames that the listener has whole, in the order they were completed; one that crossed twice comes twice."""
    return [_whole(item.json(), "frame", folder) for item in _topic(folder, "frame")] if folder.is_dir() else []


def payload(folder: Path, frame: int) -> Payload | None:
    """What left the edge for a frame, as the listener captured it (its first payload); None when it was not kept."""
    if not folder.is_dir():
        return None
    for item in _topic(folder, "transfer/up"):
        head, data = decode(item.data)
        if head.header.exchange == frame and len(data) == head.header.total_bytes:
            return payload_of(Transfer(head, data, item.publish_ns, item.log_ns))
    return None


class Truths:
    """Truth by frame, read forward and kept for a while; reading starts again only for a frame that is long past."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[int, Sample] = OrderedDict()
        self._stream = truths(folder)
        self._passed: set[int] = set()
        self._ended = False

    def get(self, frame: int) -> Sample | None:
        """The sample of a frame; None when it was not recorded (``--record none``, or pruned)."""
        if frame in self._kept:
            return self._kept[frame]
        if frame in self._passed:
            self._stream = truths(self._folder)
        elif self._ended:
            return None
        for number, sample in self._stream:
            self._passed.add(number)
            self._kept[number] = sample
            self._kept.move_to_end(number)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            if number == frame:
                return sample
        self._ended = True
        return None


def _topic(folder: Path, topic: str) -> Iterator[record.Recorded]:
    return (item for item in record.read(folder) if item.topic == topic)


def _whole(values: Mapping[str, Any], key: str, folder: Path) -> int:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RunError(f"{folder}: a record has {key}={value!r}; a whole number is needed")
    return value
