"""The listener's role file: where it listens, what it was given, what it does with what it hears."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from attacker.knowledge import KnowledgeCard
from wire.rolefile import Role

WORK = "work"
"""Subfolder of the listener's folder in which attacks keep intermediate states."""

SNAPSHOTS = "snapshots"
"""Subfolder that gets the models of a curious cloud."""

RecordLevel = Literal["full", "first", "features", "heads", "none"]


class AttackConfig(Role):
    """One attack to run. label: what its results are called (default: its name), so that one attack can run with
    several settings. files: name -> path, exactly what its knowledge card grants (``weights``, ``inverter``).

    splits: split point -> further files for sessions that are cut there; with any given, it runs in no other sessions.
    settings: what is public about the victim, such as its preset.
    """

    name: str
    label: str = ""
    files: dict[str, Path] = Field(default_factory=dict)
    splits: dict[str, dict[str, Path]] = Field(default_factory=dict)
    settings: dict[str, bool | int | float | str | list[int] | list[float]] = Field(default_factory=dict)

    @property
    def row(self) -> str:
        """What its results are called."""
        return self.label or self.name

    @property
    def every_file(self) -> tuple[Path, ...]:
        """All that it is granted, whatever the split point."""
        return tuple(path for files in (self.files, *self.splits.values()) for path in files.values())


class AttackerConfig(Role):
    """``python -m attacker --config attacker.toml``.

    Exactly one of mirror (``HOST:PORT`` to listen on for a link or a cloud; port 0 for any) and capture (a folder
    that was recorded before). folder: gets ``capture/``, ``reconstructions/`` and ``work/``. record: what of each
    transfer is kept - all (``full``), all of a session's first ``record_steps`` frames and heads of the others
    (``first``), only what left the edge, heads without tensors, nothing but frame numbers. record_gb: bound of either
    folder. grace_s: how long a stop may take to work off the queue in lossless mode.

    queue_frames, queue_mb: so many frames, and bytes of them, may wait for each attack.

    redis: URL of a server through which worker processes (``python -m attacker.work``) invert in the place of
    ``workers`` threads; :data:`attacker.redis_address.URL_VARIABLE` goes before it. redis_prefix: of its keys, one for
    each attacker. redis_frames: works of each attack that it may hold at once in lossless
    mode. claim_s: a worker that is not heard of for
    so long is given up, and its work goes to another, to at most ``deliveries`` in all.
    """

    mirror: str | None = None
    capture: Path | None = None
    control: str = "127.0.0.1:0"
    control_hosts: tuple[str, ...] = ()
    folder: Path
    attacks: tuple[AttackConfig, ...] = ()
    knowledge: dict[str, Any] = Field(default_factory=dict)
    mode: Literal["live", "lossless"] = "live"
    workers: int = Field(default=1, ge=1, le=64)
    queue_frames: int = Field(default=8, ge=1, le=100_000)
    queue_mb: int = Field(default=512, ge=1, le=1 << 20)
    record: RecordLevel = "full"
    record_gb: float = Field(default=2.0, gt=0)
    record_steps: int = Field(default=20, ge=0)
    seed: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1, le=256)
    grace_s: float = Field(default=30.0, ge=0)
    redis: str | None = None
    redis_prefix: str = Field(default="eavesplit", min_length=1, max_length=200)
    redis_frames: int = Field(default=64, ge=1, le=100_000)
    claim_s: float = Field(default=5.0, ge=0.1, le=3600)
    deliveries: int = Field(default=3, ge=1, le=100)

    @field_validator("attacks")
    @classmethod
    def _each_once(cls, attacks: tuple[AttackConfig, ...]) -> tuple[AttackConfig, ...]:
        return each_once(attacks)

    @model_validator(mode="after")
    def _one_source(self) -> AttackerConfig:
        if (self.mirror is None) == (self.capture is None):
            raise ValueError("give exactly one of mirror (an address to listen on) and capture (a folder)")
        return self

    @property
    def card(self) -> KnowledgeCard:
        """The knowledge card. Raises InputError for what no card may say."""
        return KnowledgeCard.from_dict(self.knowledge, "knowledge")

    @property
    def snapshots(self) -> Path:
        """Where a curious cloud's models are: those of a capture lie beside it."""
        return (self.folder if self.capture is None else self.capture.parent) / SNAPSHOTS

    @property
    def record_bytes(self) -> int:
        return max(int(self.record_gb * (1 << 30)), 1)


class WorkerConfig(Role):
    """``python -m attacker.work --config worker.toml``: what an :class:`AttackerConfig` says of its Redis and of its
    attacks, again. Attacks that are not given here are left to other workers.

    name: unique among the workers of a prefix ("": made up). grace_s: how long a stop may take to finish the work in
    hand.
    """

    redis: str
    redis_prefix: str = Field(default="eavesplit", min_length=1, max_length=200)
    name: str = Field(default="", max_length=200)
    control: str = "127.0.0.1:0"
    control_hosts: tuple[str, ...] = ()
    attacks: tuple[AttackConfig, ...] = ()
    knowledge: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1, le=256)
    grace_s: float = Field(default=30.0, ge=0)

    @field_validator("attacks")
    @classmethod
    def _each_once(cls, attacks: tuple[AttackConfig, ...]) -> tuple[AttackConfig, ...]:
        return each_once(attacks)

    @property
    def card(self) -> KnowledgeCard:
        """The knowledge card. Raises InputError for what no card may say."""
        return KnowledgeCard.from_dict(self.knowledge, "knowledge")


class FitConfig(Role):
    """``python -m attacker.fit --config fit.toml``: train one attack for one split point of one victim.

    oracle: ``HOST:PORT`` of the query oracle, where the card grants queries. data: pictures or scans of the attacker's
    own, as the victim reads them (a path or ``procedural``; ``data_settings``, at most ``frames``). folder: gets what
    is trained, and what a killed training goes on from.
    """

    attack: AttackConfig
    knowledge: dict[str, Any] = Field(default_factory=dict)
    victim: str
    split: str
    oracle: str | None = None
    data: str
    data_settings: dict[str, bool | int | float | str] = Field(default_factory=dict)
    frames: int = Field(default=0, ge=0)
    folder: Path
    control: str = "127.0.0.1:0"
    control_hosts: tuple[str, ...] = ()
    seed: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1, le=256)

    @property
    def card(self) -> KnowledgeCard:
        """The knowledge card. Raises InputError for what no card may say."""
        return KnowledgeCard.from_dict(self.knowledge, "knowledge")

    @property
    def files(self) -> tuple[Path, ...]:
        """All that may be read: what the attack is granted, and its own data."""
        own = Path(self.data)
        return (*self.attack.every_file, *([own] if own.exists() else []))


def each_once(attacks: tuple[AttackConfig, ...]) -> tuple[AttackConfig, ...]:
    """The same attacks; ValueError where two have one label."""
    seen = [attack.row for attack in attacks]
    twice = sorted({name for name in seen if seen.count(name) > 1})
    if twice:
        raise ValueError(f"attack {twice[0]!r} is given twice; give one of them another label")
    return attacks
