"""Decaying noise on the gradients of split training, in units of the step's largest gradient row.

Source: S2NeRF (Zhang et al. 2024), with c = 1.2 and r = 1e-4 in its figure 5; its published code (activation.py) for
the modes, the clip and the schedule, whose t counts the steps of the training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from defenses.base import Calibration, Protected, Turn
from defenses.later import Later
from defenses.row_norms import ROLE, gradients, largest, leaving, median, row_norms
from defenses.settings import Settings
from wire.errors import InputError
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample

DEFAULT_C = 1.2
DEFAULT_R = 1e-4
LEAST_PARTIAL = 100
"""``partial`` draws its factor from here to ``partial_scale``, anew for every step."""


class GradientNormNoise:
    """``g + sigma z`` with ``sigma = c max_i |g_i| r^min(t/T, 1)`` and z ~ N(0, 1), g_i the row of a sample point.

    r is what is left of the noise at the end of the training, not a factor a step. Where T is not known there is no
    decay. The edge's own layers learn from clean gradients; only what leaves is noised.

    Settings: ``c``, or ``strength``, 0..1e6 (1.2; 0 lets the very payloads pass) and ``r`` 1e-12..1 (1e-4).
    ``scope``: ``step`` (default; the maximum is over all parts of the step, which are held until all are known) or
    ``chunk`` (ours: over each part by itself, which noises parts that see little of a surface less).
    ``clip`` (default false): every entry is first clamped to +- the step's median row norm, and the norms are then
    taken of what is left. ``mode``, of the published code:

    * ``random`` (default): the formula.
    * ``partial``: only entries whose embedding is exactly 0, with c max_i |g_i| times a whole number drawn from 100 to
      ``partial_scale`` (1e4), without decay. A ReLU in the cloud drops them, and so can a listener: it has seen the
      embeddings.
    * ``mix``: those entries with c max_i |g_i| times ``partial_scale``; of the others, each with ``probability`` (.5)
      by the formula.

    ``partial`` and ``mix`` look at the embeddings that this exchange brought down (``turn.heard``). Nothing is
    guaranteed: the largest row is the step's own, and what it says of the picture is not accounted for.
    """

    name = "gradient-norm-noise"
    roles = frozenset({ROLE})

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        """Raises InputError for a setting that is unknown or out of range."""
        read = Settings(self.name, settings)
        self.c = read.knob("c", DEFAULT_C, 0.0, 1e6)
        self.r = read.number("r", DEFAULT_R, 1e-12, 1.0)
        self._whole_step = read.word("scope", "step", ("step", "chunk")) == "step"
        self._mode = read.word("mode", "random", ("random", "partial", "mix"))
        self._scale = read.whole("partial_scale", 10_000, LEAST_PARTIAL, 10_000_000)
        self._probability = read.number("probability", 0.5, 0.0, 1.0)
        self._clip = read.flag("clip", False)
        read.done()
        self.hears = self._mode != "random"

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """Nothing: the noise counts in norms of the step itself."""
        return Calibration(rms=0.0)

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample as it is."""
        return sample

    def mechanism(self) -> None:
        """None: no clip bound is public, so nothing is promised."""
        return

    def factor(self, step: int, steps: int | None) -> float:
        """sigma in units of the largest row norm, at a step: ``c r^min(t/T, 1)``."""
        return float(self.c * self.r ** (min(step / steps, 1.0) if steps else 0.0))

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """Noise every part of role ``gradients``, drawing from ``turn.rng`` part by part, when each is to leave.

        Record: ``sigma`` (of the formula, at the largest of the parts), ``max_norm`` and ``median_norm`` of the step's
        rows before the clip. InputError for ``partial`` and ``mix`` where the embeddings were not heard.
        """
        mine = [payload for payload in parts if payload.role in self.roles]
        if not mine:
            return Protected(parts)
        norms = [row_norms(gradients(payload)) for payload in mine]
        highest, middle = largest(norms), median(norms)
        if self.c == 0.0:
            return Protected(parts, {"sigma": 0.0, "max_norm": highest, "median_norm": middle})
        bound = middle if self._clip else None
        unclipped = self._maxima(norms)
        maxima = self._maxima([row_norms(_clamped(payload, bound)) for payload in mine]) if self._clip else unclipped
        decayed, rest = self.factor(turn.step, turn.steps), self._rest(turn.rng)
        heard = self._heard(mine, turn) if rest else [None] * len(mine)
        places = iter(range(len(mine)))
        place = [next(places) if payload.role in self.roles else None for payload in parts]

        def left(number: int, payload: Payload) -> Payload:
            at = place[number]
            if at is None:
                return payload
            seen = heard[at]
            dead = None if seen is None else seen == 0
            rows, loud = _clamped(payload, bound), self.c * unclipped[at] * rest
            return leaving(payload, self._noised(rows, decayed * maxima[at], loud, dead, turn.rng))

        sigma = 0.0 if self._mode == "partial" else decayed * max(maxima)
        record = {"sigma": sigma, "max_norm": highest, "median_norm": middle}
        return Protected(Later(parts, left, turn.rng), record)

    def _rest(self, rng: np.random.Generator) -> int:
        """How much louder than the formula without decay the noise on dead entries is; 0: they are not told apart."""
        if self._mode == "partial":
            return int(rng.integers(LEAST_PARTIAL, self._scale, endpoint=True))
        return self._scale if self._mode == "mix" else 0

    def _noised(self, part: Tensor, sigma: float, loud: float, dead: Tensor | None, rng: np.random.Generator) -> Tensor:
        """One part with noise of deviation ``sigma``; where it is ``dead``, of ``loud``."""
        if dead is None:
            return part + sigma * _normal(rng, part)
        share = self._probability if self._mode == "mix" else 0.0
        chosen = torch.from_numpy(rng.random(tuple(part.shape), dtype=np.float32) < share)
        return part + torch.where(dead, loud, sigma * chosen) * _normal(rng, part)

    def _maxima(self, norms: Sequence[Tensor]) -> list[float]:
        """The largest row norm that each part's noise counts in."""
        return [largest(norms)] * len(norms) if self._whole_step else [largest([part]) for part in norms]

    def _heard(self, mine: Sequence[Payload], turn: Turn) -> list[Tensor | None]:
        """The embeddings of each part."""
        heard = [payload.tensors["embeddings"] for payload in turn.heard if "embeddings" in payload.tensors]
        if [part.shape for part in heard] != [gradients(payload).shape for payload in mine]:
            raise InputError(
                f"defense {self.name}: mode {self._mode} looks at the embeddings of {len(mine)} parts; heard were "
                f"{len(heard)}, or of another shape; accepted without them: mode random"
            )
        return list(heard)


def _clamped(payload: Payload, bound: float | None) -> Tensor:
    rows = gradients(payload)
    return rows if bound is None else rows.clamp(-bound, bound)


def _normal(rng: np.random.Generator, like: Tensor) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(like.shape), dtype=np.float32)).to(like.device)
