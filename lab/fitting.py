"""Training an attack as its study does it: the listener's own process, and beside it the oracle that it may query."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attacker.knowledge import KnowledgeCard
from lab.stream import AttackChoice
from lab.supervisor import Role
from victims.base import Progress
from wire.errors import RunError

RESULT = "fit.json"
POLL_S = 0.3
STALL_S = 300.0
"""A training that tells no progress for so long is given up."""


@dataclass(frozen=True)
class FitSettings:
    """What is trained, on what.

    attack: name, settings and granted files. knowledge: its card; with ``queries``, an oracle runs beside it that
    answers no more than that. data: the attacker's own samples (a path or ``procedural``), at most ``frames`` of them.
    calibration: ``rms`` and ``clip`` of the streaming edge, for a defense that is measured in them.
    """

    victim: str
    split: str
    victim_settings: Mapping[str, Any]
    attack: AttackChoice
    knowledge: KnowledgeCard
    data: str
    data_settings: Mapping[str, Any] = field(default_factory=dict)
    frames: int = 0
    defense: str = "none"
    defense_settings: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, float] | None = None
    rate_hz: float = 1000.0
    seed: int = 0
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Fitted:
    """What a training left. made: the trained file. queries: answers that the oracle counted. cpu_s: of the trainer."""

    made: Path
    queries: int
    cpu_s: float
    wall_s: float


def fit(settings: FitSettings, folder: Path, progress: Progress) -> Fitted:
    """Train in ``folder``, or go on there; a finished training is returned as it is.

    RunError with the process's last line when it fails, and when nothing moves for :data:`STALL_S`.
    """
    finished = folder / RESULT
    if finished.is_file():
        told = json.loads(finished.read_text())
        return Fitted(Path(told["made"]), told["queries"], told["cpu_s"], told["wall_s"])
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    roles: list[Role] = []
    try:
        oracle = _started(roles, "oracle", "edge.oracle", _oracle(settings, folder)) if _asks(settings) else None
        address = f"127.0.0.1:{oracle.ready['port']}" if oracle else None
        trainer = _started(roles, "fit", "attacker.fit", _trainer(settings, folder, address))
        _wait(trainer, progress)
        done = trainer.done or {}
        answered = int(oracle.state().get("answered", 0)) if oracle else 0
        trainer.stop()
        result = Fitted(Path(done["made"]), answered, trainer.usage.cpu_s, time.monotonic() - began)
    finally:
        for role in reversed(roles):
            role.stop()
    part = finished.with_suffix(".part")
    part.write_text(
        json.dumps(
            {"made": str(result.made), "queries": result.queries, "cpu_s": result.cpu_s, "wall_s": result.wall_s}
        )
    )
    part.replace(finished)
    return result


def _asks(settings: FitSettings) -> bool:
    return settings.knowledge.queries > 0


def _started(roles: list[Role], name: str, module: str, config: dict[str, Any]) -> Role:
    role = Role(name, module, config, Path(config["folder"]).parent / "roles")
    roles.append(role)
    role.start()
    role.wait_ready()
    return role


def _oracle(settings: FitSettings, folder: Path) -> dict[str, Any]:
    return {
        "listen": "127.0.0.1:0",
        "victim": settings.victim,
        "split": settings.split,
        "victim_settings": dict(settings.victim_settings),
        "defense": {"name": settings.defense, "settings": dict(settings.defense_settings)},
        "calibration": dict(settings.calibration) if settings.calibration else None,
        "queries": settings.knowledge.queries,
        "rate_hz": settings.rate_hz,
        "seed": settings.seed,
        "folder": folder / "oracle",
        "control": "127.0.0.1:0",
        "threads": settings.threads,
    }


def _trainer(settings: FitSettings, folder: Path, oracle: str | None) -> dict[str, Any]:
    return {
        "attack": settings.attack.role(),
        "knowledge": settings.knowledge.to_dict(),
        "victim": settings.victim,
        "split": settings.split,
        "oracle": oracle,
        "data": settings.data,
        "data_settings": dict(settings.data_settings),
        "frames": settings.frames,
        "folder": folder / "work",
        "control": "127.0.0.1:0",
        "seed": settings.seed,
        "device": settings.device,
        "threads": settings.threads,
    }


def _wait(trainer: Role, progress: Progress) -> None:
    moved, calls = time.monotonic(), -1
    while trainer.done is None:
        if trainer.returncode is not None:
            raise RunError(f"the training ended with exit code {trainer.returncode}: {trainer.last_words()}")
        told = trainer.state().get("advance")
        if told:
            progress(told["share"], 1.0, told["note"])
            if told["calls"] != calls:
                moved, calls = time.monotonic(), told["calls"]
        if time.monotonic() - moved > STALL_S:
            raise RunError(f"nothing moved in the training for {STALL_S:.0f} s: {told}")
        time.sleep(POLL_S)
