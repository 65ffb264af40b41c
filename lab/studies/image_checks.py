"""What a study of pictures asks its attacks before anything starts: their own code reads settings, priors and prompts.

The listener opens its inverters when the stream is over, and what it refuses then costs the whole run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attacker.attacks.base import Grants
from attacker.attacks.image.checking import Checking
from attacker.attacks.image.choices import read
from attacker.attacks.image.generators import autoencoder_shape_of
from attacker.attacks.image.prior_layout import layout_of
from attacker.registry import attack
from lab.stream import AttackChoice
from lab.studies.image_tuning import VARIANTS
from wire.errors import InputError

SAMPLING = ("diffusion", "prior-sample")
"""Attacks that need a whole prior, and not its autoencoder alone."""


def check_options(options: Mapping[str, Any]) -> None:
    """InputError for a setting of an attack, ``ATTACK.SETTING``, that the attack does not have or accept, whether it
    runs or not."""
    for key, value in options.items():
        row, dot, setting = key.partition(".")
        found = attack(VARIANTS.get(row, row)) if dot else None
        if found is None or not hasattr(found, "kind"):
            continue
        try:
            read(found.kind, {setting: value}, found.name)
        except InputError as error:
            raise InputError(f"--set {key}={value}: {error}") from error


def check_choice(choice: AttackChoice, size: tuple[int, int]) -> None:
    """InputError where an attack would refuse its settings or files for pictures of ``size``, height and width."""
    found = attack(choice.name)
    if isinstance(found, Checking):
        found.check(Grants(files=choice.files, settings=choice.settings), size)


def misfit(prior: Path, row: str, size: tuple[int, int]) -> str:
    """Why a prior that is whole makes no pictures of ``size`` for an attack; empty where it does.

    Empty as well where it is not whole: then :func:`check_choice` says what is wrong.
    """
    whole = VARIANTS.get(row, row) in SAMPLING
    try:
        found = layout_of(prior) if whole else autoencoder_shape_of(prior)
    except InputError:
        return ""
    return found.misfit(*size)
