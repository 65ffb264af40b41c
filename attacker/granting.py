"""What the attacks of a role file are, and what each is given: the same for threads and for worker processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attacker.attacks.base import Attack, DefenseCard, Grants, Snapshot
from attacker.config import AttackConfig
from attacker.knowledge import KnowledgeCard
from attacker.registry import attack as registered
from victims.base import Progress, silent
from wire.errors import InputError


def entitled(attacks: Sequence[AttackConfig], card: KnowledgeCard) -> dict[str, Attack]:
    """Row -> attack. Raises InputError where one does not exist, or its needs exceed the card."""
    found: dict[str, Attack] = {}
    for wanted in attacks:
        found[wanted.row] = registered(wanted.name)
        refusals = card.entitles(found[wanted.row].needs)
        if refusals:
            raise InputError(f"attack {wanted.name}: {'; '.join(refusals)}")
    return found


def grants_of(
    wanted: AttackConfig,
    card: KnowledgeCard,
    *,
    device: str,
    seed: int,
    work: Path | None = None,
    progress: Progress = silent,
    snapshot: Snapshot | None = None,
) -> Grants:
    """What this attack gets beside the capture. work: a folder for its intermediate states. snapshot: the cloud's
    models, which a card of another vantage does not grant."""
    public: Mapping[str, Any] = {
        "device": device,
        "seed": seed,
        **{key: tuple(value) if isinstance(value, list) else value for key, value in wanted.settings.items()},
    }
    defense = DefenseCard(card.defense_name, card.defense_settings) if card.defense == "aware" else None
    return Grants(
        files=dict(wanted.files),
        splits=dict(wanted.splits),
        settings=public,
        snapshot=snapshot if card.vantage == "cloud" else None,
        defense=defense,
        work=work,
        progress=progress,
    )


def digest(wanted: AttackConfig, card: KnowledgeCard, seed: int) -> str:
    """Of all that makes the attack what it is, but for the machine: its device, and where its files lie."""
    files = {name: path.name for name, path in wanted.files.items()}
    splits = {split: {name: path.name for name, path in given.items()} for split, given in wanted.splits.items()}
    knows = replace(card, guard=None).to_dict()
    told = [wanted.name, wanted.row, wanted.settings, files, splits, knows, seed]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
