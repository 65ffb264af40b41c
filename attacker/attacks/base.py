"""What an attack is: what it needs, how it is trained, and how it turns captured frames into reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from victims.base import Progress, Sample, silent
from wire.errors import InputError
from wire.payload import Meta, Payload

Direction = Literal["up", "down"]  # up: edge to cloud


@dataclass(frozen=True)
class CapturedPart:
    """One payload as the listener saw it."""

    direction: Direction
    turn: int
    part: int
    parts: int
    payload: Payload
    t_first_ns: int  # when the link saw its first and its last byte (the link's clock)
    t_last_ns: int


@dataclass(frozen=True)
class CapturedFrame:
    """All that was captured of one exchange.

    session: hex id; incarnation: grows when training rolls back; frame: the exchange's number.
    gap_before: frames known to be missing directly before this one. tap: where it was heard (``wire`` or ``cloud``).
    complete: every part of every turn that was announced is here.
    """

    session: str
    incarnation: int
    frame: int
    parts: Sequence[CapturedPart]
    gap_before: int = 0
    tap: str = "wire"
    complete: bool = True

    def payloads(self, direction: Direction, role: str | None = None) -> list[Payload]:
        """The payloads of one direction (and role), in order of turn and part."""
        chosen = [p for p in self.parts if p.direction == direction and (role is None or p.payload.role == role)]
        return [p.payload for p in sorted(chosen, key=lambda p: (p.turn, p.part))]

    @property
    def t_last_ns(self) -> int:
        """When the last byte that left the edge for this frame passed the link."""
        return max((p.t_last_ns for p in self.parts if p.direction == "up"), default=0)


@dataclass(frozen=True)
class SessionInfo:
    """What the opening messages told the listener."""

    session: str
    victim: str
    split: str
    weights_sha256: str
    layouts: tuple[str, ...]
    info: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """What an attack needs; a mismatch with the knowledge card is refused by name before anything starts.

    learns: its frames may bring no reconstruction, they are learnt from; such an attack needs them in order.
    """

    vantage: Literal["wire", "cloud"]  # "wire": any place will do; "cloud": needs the cloud's own model or snapshots
    victim: Literal["none", "black", "white"]
    order: Literal["any", "in_order"] = "any"
    window: int = 1
    batch: int = 1
    queries: int = 0
    splits: frozenset[str] | None = None  # split points it is trained for; None: any
    defense: Literal["unaware", "aware"] = "unaware"
    learns: bool = False

    def __post_init__(self) -> None:
        if self.learns and self.order != "in_order":
            raise ValueError(f"an attack that learns has order {self.order!r}; accepted: in_order")


class QueriesSpent(InputError):
    """The oracle has given all the answers that the card grants."""


Query = Callable[[Sample], Sequence[Payload]]
"""Asks the query oracle (a second edge without truth); counted and rate-limited on the other side. Raises QueriesSpent
when there are no more answers to be had."""


Snapshot = Callable[[str, int], Path | None]
"""Session and number of steps done -> the cloud's weights at that time (safetensors; names as in the cloud's part of
the victim), as far as they are still kept."""


@dataclass(frozen=True)
class DefenseCard:
    """What an attack that knows the defense is told."""

    name: str
    settings: Mapping[str, Meta]


@dataclass(frozen=True)
class Grants:
    """What the knowledge card entitles an attack to, beside the capture.

    files: name -> path (``weights``: the victim's; ``inverter``: the attack's own trained weights).
    splits: split point -> further files for a session that is cut there.
    settings: what is public about the victim, such as its preset.
    snapshot: where the vantage is the cloud, its model as it was when pictures were asked for.
    work: a folder that the attack may write into and finds again after a kill; None: nothing is kept.
    progress: told how far an ``observe`` that takes long has come.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    settings: Mapping[str, Meta] = field(default_factory=dict)
    query: Query | None = None
    snapshot: Snapshot | None = None
    defense: DefenseCard | None = None
    work: Path | None = None
    progress: Progress = silent

    def at(self, split: str) -> Grants:
        """The grants of a session that is cut at ``split``: its files stand beside the others, and go before them."""
        return replace(self, files={**self.files, **self.splits.get(split, {})}, splits={})


@dataclass(frozen=True)
class Reconstruction:
    """What an attack made of one or more frames.

    arrays: by name, as the modality's view and metrics know them (LiDAR: ``points`` float32 (N, 3), metres).
    meta: figures of the attack itself (generated sites, thresholds).
    """

    session: str
    frames: tuple[int, ...]
    attack: str
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Meta] = field(default_factory=dict)


class Inverter(Protocol):
    """One session's inversion. The queue builds windows and batches; ``in_order`` turns latest-first off.

    rewind: training has rolled back and goes on in this incarnation at frame ``step``: what was learnt from that frame
    and later ones is void. It may come when nothing has been seen yet.
    """

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]: ...
    def rewind(self, incarnation: int, step: int) -> None: ...
    def finish(self) -> Sequence[Reconstruction]: ...


class Attack(Protocol):
    """An entry of :data:`attacker.registry.ATTACKS`."""

    name: str
    modality: str
    needs: Needs

    def fit(self, data: Iterable[Sample], grants: Grants, work: Path, progress: Progress) -> Path: ...
    def open(self, session: SessionInfo, grants: Grants) -> Inverter: ...
