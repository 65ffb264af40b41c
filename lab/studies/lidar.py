"""What the LiDAR studies share: which attacks run on which capture, and what the listener is granted for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attacker.knowledge import KnowledgeCard
from lab.stream import AttackChoice
from victims.base import weights_folder
from wire.errors import InputError

DEPTHS = ("conv2.0", "conv3.0", "conv4.0", "conv_out")
"""ConcreTizer's depths 1 to 4: right after the strided layers 3, 6, 9 and 12."""

FLOORS = (AttackChoice("coordinates"), AttackChoice("preimage"))

TRAINED_ON = "procedural streets (attack seeds), no real scan"


def concretizer(split: str, label: str = "", **settings: Any) -> AttackChoice:
    """The inversion attack with the shipped weights of a split point."""
    path = weights_folder() / f"concretizer-{split}.safetensors"
    if not path.is_file():
        raise InputError(
            f"concretizer has no weights for {split}: {path.name} is not in weights/; train them with "
            f"`eavesplit train concretizer --split {split}`"
        )
    return AttackChoice("concretizer", label, settings, {"inverter": path})


def aware(split: str) -> AttackChoice:
    """The variant that was trained under the defenses; shipped for ``conv3.0``."""
    path = weights_folder() / f"concretizer-aware-{split}.safetensors"
    if not path.is_file():
        raise InputError(
            f"concretizer-aware has no weights for {split}: {path.name} is not in weights/; there are some for conv3.0"
        )
    return AttackChoice("concretizer-aware", "", {}, {"inverter": path})


def knowledge(defense: str, defense_settings: Mapping[str, Any], attacks: Sequence[AttackChoice]) -> KnowledgeCard:
    """A listener on the wire who knows the victim's architecture and weights, and the defense if an attack needs it."""
    knows = any(attack.name.endswith("-aware") for attack in attacks)
    return KnowledgeCard(
        vantage="wire",
        victim="white",
        defense="aware" if knows else "unaware",
        data=TRAINED_ON,
        defense_name=defense if knows else "",
        defense_settings=dict(defense_settings) if knows else {},
    )
