"""What a defense is: a function on outgoing payloads that may know the turn and its own calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from defenses.later import Later
from wire.payload import Meta, Payload

if TYPE_CHECKING:  # for the signature alone: the two rooms never import each other
    from victims.base import Sample


@dataclass(frozen=True)
class Turn:
    """What a defense may know of the turn it protects.

    frame: number in the session; step/steps: training step and total (0 and None in inference);
    segment: grows by one when a running edge swaps its defense; rng: this frame's own stream.
    heard: what came back for the turn before in the same exchange, which the edge knows as well as a listener does;
    empty unless the defense is :class:`Hearing`.
    """

    frame: int
    step: int
    steps: int | None
    segment: int
    rng: np.random.Generator
    heard: Sequence[Payload] = ()


@dataclass(frozen=True)
class Calibration:
    """Figures measured once on clean payloads and stored in ``run.toml``, so that a strength means the same later.

    rms: root mean square of the active features, all channels. clip: root mean square of the payloads' L2 norms, the
    unit of a defense's clip bound; None where it was not measured.
    """

    rms: float
    clip: float | None = None
    frames: int = 0


@dataclass(frozen=True)
class Protected:
    """What leaves the edge, and a record for the report (standard deviation, clipped share, sites): never sent."""

    parts: Sequence[Payload]
    record: Mapping[str, Meta] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Of all tensors that leave. What is made later is not made for it."""
        return self.parts.nbytes if isinstance(self.parts, Later) else sum(part.nbytes for part in self.parts)

    @property
    def later_ns(self) -> int:
        """Time that went into parts which were made when they left."""
        return self.parts.spent_ns if isinstance(self.parts, Later) else 0


@dataclass(frozen=True)
class Mechanism:
    """What a privacy accountant composes: the noise added to one release and its sensitivity.

    sigma: standard deviation of Gaussian noise, scale of Laplace noise, on every value. sensitivity: how far apart two
    releases can be before the noise, when one input takes the place of another: in L2 (gaussian) or L1 (laplace).
    """

    kind: str  # "gaussian" | "laplace"
    sigma: float
    sensitivity: float


class Defense(Protocol):
    """An entry of :data:`defenses.registry.DEFENSES`, built from its settings."""

    name: str
    roles: frozenset[str]  # what it touches; payloads of other roles pass untouched

    def calibrate(self, clean: Iterable[Payload]) -> Calibration: ...
    def prepare(self, sample: Sample, turn: Turn) -> Sample: ...
    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected: ...
    def mechanism(self) -> Mechanism | None: ...


@runtime_checkable
class Hearing(Protocol):
    """A defense that may look at ``Turn.heard``: where ``hears`` is true, the edge keeps a turn's answers for it."""

    hears: bool


def hears(defense: Defense) -> bool:
    """Whether answers must be kept for it; a step's embeddings are as large as its gradients."""
    return isinstance(defense, Hearing) and defense.hears
