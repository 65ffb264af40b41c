"""The black box of Table 5: who learns with words and who without, and what is asked of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from attacker.attacks.image.inversion_networks.training import LEAST
from attacker.attacks.image.inversion_networks.words import words_of
from lab.studies.base import Cell, Settings
from lab.studies.black_box import KINDS, black_box_cell, learners
from lab.studies.image import Plan
from lab.studies.visual_secrets_blackbox import DIFFUSION_QUERIES
from wire.errors import InputError

KIND: Final = KINDS[2]
TOLD: Final = f"{KIND}-words"
"""The network that was told words of what it asked about."""


def row_of(word: str) -> str:
    """The row of :data:`TOLD` that is given this word's prompt."""
    return f"with words, {word}"


def queries_of(settings: Settings) -> int:
    """How many pictures each network asks about; 0: there is no black box."""
    if "diffusion_queries" not in settings.options:
        return DIFFUSION_QUERIES[settings.profile]
    found = settings.options["diffusion_queries"]
    if type(found) is not int or not (found == 0 or found >= LEAST):
        raise InputError(f"--set diffusion_queries={found}; accepted: 0 (no black box), or a whole number from {LEAST}")
    return found


def why_not(asked: Plan, kind: str) -> str:
    """Why nobody can learn with words here; empty where somebody can."""
    if asked.auxiliary is None:
        return "there are no pictures to ask the oracle about; give --set auxiliary=PATH"
    try:
        first = next(iter(asked.victim.samples(str(asked.auxiliary), {"frames": 1})), None)
        if first is None:
            return f"{asked.auxiliary} holds no pictures to ask the oracle about"
        words_of(first, kind)
    except InputError as error:
        return str(error)
    return ""


def black_cell(asked: Plan, streamed: Cell, queries: int, kind: str, prompts: Mapping[str, str]) -> Cell:
    """``streamed``, inverted by a network that never heard a word and by one that did, under each of ``prompts`` (word
    -> what is said). They differ in nothing else: settings, seed and queries are the same."""
    bare = next(one for one in learners(asked, queries, queries, {}) if one.row == KIND)
    told = replace(
        bare,
        row=TOLD,
        of=f"{bare.of} with their {kind} words",
        settings={**bare.settings, "words": kind},
        rows={row_of(word): {"prompt": said} for word, said in prompts.items()},
    )
    return black_box_cell(asked, streamed, [bare, told])
