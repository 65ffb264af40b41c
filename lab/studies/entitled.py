"""Which attacks a listener may run: every attack of the modality, asked what it needs; nothing here names one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safetensors import SafetensorError, safe_open

from attacker.knowledge import KnowledgeCard
from attacker.registry import attack, names
from lab.stream import AttackChoice, StreamSettings
from victims.base import weights_folder
from victims.registry import victim
from wire.errors import MissingExtraError

NO_ORACLE = "queries: it asks the victim, and this study starts no query oracle"


@dataclass(frozen=True)
class Offer:
    """What a knowledge card comes to. choices: attacks that may run. refusals: attack -> why it may not."""

    choices: Sequence[AttackChoice]
    refusals: Mapping[str, str]


def offered(card: KnowledgeCard, base: StreamSettings) -> Offer:
    """The attacks of the victim's modality that ``card`` entitles to at the stream's split point.

    Settings and files are those of ``base.attacks`` where it lists the attack; any other is granted its shipped
    weights, ``weights/NAME-SPLIT.safetensors``, where there are some.
    """
    modality = victim(base.victim).modality
    choices: list[AttackChoice] = []
    refusals: dict[str, str] = {}
    for name in [*dict.fromkeys(choice.name for choice in base.attacks), *names()]:
        if name in refusals or any(choice.name == name for choice in choices):
            continue
        try:
            found = attack(name)
        except MissingExtraError:
            continue  # an attack of a modality that is not installed
        if found.modality != modality:
            continue
        why = card.entitles(found.needs, base.split)
        if found.needs.queries:
            why = [*why, NO_ORACLE]
        if why:
            refusals[name] = "; ".join(why)
        else:
            listed = [choice for choice in base.attacks if choice.name == name]
            choices += listed or [shipped(name, base.split)]
    return Offer(choices, refusals)


def shipped(name: str, split: str) -> AttackChoice:
    """An attack with the weights that are shipped for a split point; without files where there are none."""
    path = weights_folder() / f"{name}-{split}.safetensors"
    return AttackChoice(name, files={"inverter": path} if path.is_file() else {})


def trained_under(choice: AttackChoice, defense: str, settings: Mapping[str, Any]) -> str:
    """Why an attack was *not* trained under this defense at these settings; empty if it was.

    The card in its weights' metadata says under what it was trained: ``noise``, with the highest ``strength`` (of
    ``feature_centric``, and of ``distributed``) and the highest ``fill`` (of ``distributed``).
    """
    if attack(choice.name).needs.defense != "aware":
        return "it was trained on undefended payloads"
    card: Mapping[str, Any] = {}
    for path in choice.files.values():
        card = _card(path) or card
    noise = card.get("noise")
    if defense not in ("feature_centric", "distributed") or not isinstance(noise, Mapping):
        return f"its weights name no training under {defense}"
    for name, default in (("strength", 1.0), ("fill", 0.05)):
        value = float(settings.get(name, default))
        if (name == "strength" or defense == "distributed") and value > float(noise[name]):
            return f"it was trained up to {name} {noise[name]:g}, not {value:g}"
    return ""


def _card(path: Any) -> Mapping[str, Any]:
    try:
        with safe_open(path, framework="np") as file:
            texts = (file.metadata() or {}).values()
    except (OSError, SafetensorError):
        return {}
    for text in texts:
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, Mapping):
            return found
    return {}
