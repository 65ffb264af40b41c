"""Gradients with their peaks cut off: what the gradient noise is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from defenses.base import Calibration, Protected, Turn
from defenses.later import Later
from defenses.row_norms import NAME, ROLE, gradients, largest, leaving, median, row_norms
from defenses.settings import Settings
from wire.errors import InputError
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample

MEDIAN = "median"
HIGHEST = 1e9


class GradientClip:
    """Every entry is clamped to +- a bound, as the published code of S2NeRF does before its noise.

    Settings: ``norm``, the bound: ``median`` (default), the median row norm of the step, or a number from 0 to 1e9. No
    guarantee: the signs, and what is small, leave as they are.
    """

    name = "gradient-clip"
    roles = frozenset({ROLE})

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        """Raises InputError for a setting that is unknown or out of range."""
        norm = settings.get("norm", MEDIAN)
        if isinstance(norm, str) and norm != MEDIAN:
            raise InputError(
                f"defense {self.name}: norm is {norm!r}; accepted: {MEDIAN}, a number from 0 to {HIGHEST:g}"
            )
        read = Settings(self.name, {**settings, "norm": 0.0} if norm == MEDIAN else settings)
        bound = read.number("norm", 0.0, 0.0, HIGHEST)
        read.done()
        self._bound = None if norm == MEDIAN else bound

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """Nothing: the bound is the step's own, or absolute."""
        return Calibration(rms=0.0)

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample as it is."""
        return sample

    def mechanism(self) -> None:
        """None: nothing is promised."""
        return

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """Clamp every part of role ``gradients``.

        Record: ``bound``, ``clipped`` (the share of entries beyond it), ``max_norm`` and ``median_norm`` of the rows as
        they came.
        """
        mine = [payload for payload in parts if payload.role in self.roles]
        if not mine:
            return Protected(parts)
        norms = [row_norms(gradients(payload)) for payload in mine]
        middle = median(norms)
        bound = middle if self._bound is None else self._bound
        beyond = sum(int((gradients(payload).abs() > bound).sum()) for payload in mine)

        def left(number: int, payload: Payload) -> Payload:
            return leaving(payload, gradients(payload).clamp(-bound, bound)) if payload.role in self.roles else payload

        values = max(1, sum(payload.tensors[NAME].numel() for payload in mine))
        record = {"bound": bound, "clipped": beyond / values, "max_norm": largest(norms), "median_norm": middle}
        return Protected(Later(parts, left, turn.rng), record)
