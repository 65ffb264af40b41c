"""What a study is: cells, how one is run, and how they are told together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from lab.stream import Record, StreamSettings
from lab.tables import Sheet
from victims.base import Progress, weights_folder
from wire.payload import Meta

Profile = Literal["quick", "cpu", "paper"]


@dataclass(frozen=True)
class Settings:
    """What a user asked for; every study reads the same words.

    data: folders of the user's own data (none: procedural). frames: at most so many a cell (0: the study's own number).
    splits: split points to run (none: the study's own). link: a profile of ``wire.profiles``, or the link's own
    settings (``rate_mbps``, ``delay_ms``, ``jitter_ms``; ``up``, ``down``). options: a study's own settings, by name.
    redis: URL, without a password, of a server through which worker processes invert ("": threads of the listener).
    workers: how many invert (0: the study's own number). device_named: the user chose ``device`` (not ``auto``).
    """

    profile: Profile = "quick"
    data: Sequence[Path] = ()
    frames: int = 0
    seed: int = 0
    device: str = "cpu"
    device_named: bool = True
    splits: Sequence[str] = ()
    record: Record = "auto"
    record_gb: float = 2.0
    tls: bool = False
    link: str | Mapping[str, Any] = ""
    redis: str = ""
    workers: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One run of a study. ``id`` is a digest of what its settings change from their defaults: a resumed study finds
    finished cells by it, also after a setting was added.

    columns: what distinguishes it in the study's table. reference: id of the study's cell that streams the same frames
    without a defense, for the agreement; it may be the cell's own, and it is run before. measure: what its scorer gets
    beside the victim's settings; figures only, the stream does not depend on it.
    """

    title: str
    stream: StreamSettings
    columns: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    measure: Mapping[str, Meta] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Twelve hex digits."""
        asked = {}
        for setting in fields(self.stream):
            value = getattr(self.stream, setting.name)
            # who inverts, how many they are, and whether all is kept, is not part of what is asked
            if setting.name in ("redis", "workers") or (setting.name == "record" and value == "full"):
                continue
            if value != _default(setting):
                asked[setting.name] = plain(value)
        # shipped weights are the same in every checkout
        text = json.dumps(asked, sort_keys=True, default=str).replace(str(weights_folder()), "weights")
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class CellResult:
    """A finished cell and its summary."""

    cell: Cell
    folder: Path
    summary: Mapping[str, Any]


class Study(Protocol):
    """An entry of :data:`lab.studies.registry.STUDIES`."""

    name: str
    summary: str  # one line, for `eavesplit list` and as the report's title
    source: str  # where the paper's values come from; empty where there are none

    def cells(self, settings: Settings) -> Sequence[Cell]: ...
    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult: ...
    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]: ...
    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]: ...


@runtime_checkable
class Captioned(Protocol):
    """A study that says in one sentence what its pictures show."""

    def caption(self, results: Sequence[CellResult]) -> str: ...


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def plain(value: Any) -> Any:
    """A value as TOML and JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {k: plain(v) for k, v in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def restored(values: Mapping[str, Any]) -> Settings:
    """The settings of a ``run.toml``."""
    found = dict(values)
    found["data"] = tuple(Path(path) for path in found.get("data", ()))
    found["splits"] = tuple(found.get("splits", ()))
    return Settings(**found)
