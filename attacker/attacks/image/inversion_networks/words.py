"""Words that an attacker knows of its own pictures, said as the prior's captions say them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from attacker.attacks.image.inversion_networks.answers import PROMPT
from attacker.attacks.image.prior_training.captions import background, caption
from victims.base import Sample
from victims.image.cifar import CLASSES
from wire.errors import InputError

KINDS: Final = ("none", "class", "background")

_CLASS_ALONE, _BACKGROUND_ALONE = 1, 2
"""Templates of a caption."""


def words_of(sample: Sample, kind: str) -> str:
    """What is said of a picture: its label's class, or the colour of its background, which the picture itself shows.

    InputError for a picture without a label that has a name, where the class is asked for.
    """
    if kind == "none":
        return ""
    if kind == "background":
        return caption(0, int(background(sample.arrays["image"][None])[0]), _BACKGROUND_ALONE)
    label = sample.truth.get("label")
    if label is None or not 0 <= int(label) < len(CLASSES):
        raise InputError(
            f"{sample.name}: label is {'absent' if label is None else int(label)}; "
            f"accepted with words=class: 0 to {len(CLASSES) - 1} ({', '.join(CLASSES)})"
        )
    return caption(int(label), 0, _CLASS_ALONE)


def described(samples: Iterable[Sample], kind: str) -> Iterator[Sample]:
    """The same pictures, each with its words; as they come where no words are asked for."""
    for sample in samples:
        yield sample if kind == "none" else replace(sample, meta={**sample.meta, PROMPT: words_of(sample, kind)})
