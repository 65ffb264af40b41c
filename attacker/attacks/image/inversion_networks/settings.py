"""What can be set of the black-box attacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from attacker.attacks.image.choices import choice, number
from attacker.attacks.image.inversion_networks.words import KINDS
from attacker.attacks.image.losses import NEGENTROPIES
from wire.payload import Meta


@dataclass(frozen=True)
class InversionSettings:
    """How an inversion network is trained.

    queries: most pictures that are asked for. frames: so many consecutive ones are inverted together (equation 13).
    width: channels at the picture's full size; doubled with every halving. epochs, batch, lr: of Adam; ``schedule`` of
    its rate is a cosine to 2 %, or constant. tv: weight of total variation beside the *summed* squared error, as
    printed. precision: of convolutions in training; bfloat16 halves the time on a CPU that has it.
    """

    queries: int = number(4096, 16, 10_000_000)
    frames: int = number(1, 1, 64)
    width: int = number(16, 4, 512)
    epochs: int = number(40, 1, 100_000)
    batch: int = number(128, 4, 65_536)
    lr: float = number(0.003, 1e-6, 10)
    schedule: str = choice("cosine", ("cosine", "constant"))
    tv: float = number(1.0, 0, 1e6)
    precision: str = choice("bfloat16", ("bfloat16", "float32"))

    PAPER: ClassVar[Mapping[str, Meta]] = {"epochs": 96, "lr": 0.1, "schedule": "constant", "precision": "float32"}


@dataclass(frozen=True)
class SamplerSettings(InversionSettings):
    """How one is trained through a whole sampler, which costs a hundred times as much: fewer pictures and epochs.

    steps: of the sampler. words: what is known of each picture that is asked about: its ``class``, the colour of its
    ``background``, or ``none``. prompt: words for every picture that brings none of its own ("": no text), in training
    and after it. text: weight of the negentropy of the noise (equation 12), where there are words. negentropy:
    ``proper`` or as ``printed``, with ``alpha``.
    """

    queries: int = number(1024, 16, 10_000_000)
    epochs: int = number(12, 1, 100_000)
    batch: int = number(32, 4, 65_536)
    lr: float = number(0.002, 1e-6, 10)
    steps: int = number(4, 1, 1000)
    words: str = choice("none", KINDS)
    prompt: str = ""
    text: float = number(3.0, 0, 1e6)
    negentropy: str = choice("proper", tuple(NEGENTROPIES))
    alpha: float = number(1.0, 1, 2)

    PAPER: ClassVar[Mapping[str, Meta]] = {
        **InversionSettings.PAPER,
        "queries": 4096,
        "batch": 128,
        "steps": 20,
        "negentropy": "printed",
    }
