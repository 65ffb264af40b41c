"""Noise on the colours that the edge learns from: what the gradient noise is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from defenses.base import Calibration, Protected, Turn
from defenses.settings import Settings
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample


class LabelNoise:
    """N(0, std^2) on every colour of a training step, drawn anew each time a pixel is chosen.

    Settings: ``std``, or ``strength``, 0..1000 (8, as the published command of S2NeRF, where colours lie in 0..1; 0
    changes nothing). Noisy colours are not clamped. Payloads pass as they are: the noise is in the gradients, and in
    the field itself. No guarantee.
    """

    name = "label-noise"
    roles: frozenset[str] = frozenset()

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        """Raises InputError for a setting that is unknown or out of range."""
        read = Settings(self.name, settings)
        self.std = read.knob("std", 8.0, 0.0, 1000.0)
        read.done()

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """Nothing: ``std`` is in units of the colours."""
        return Calibration(rms=0.0)

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample with other ``colours``; one without colours, a picture to be rendered, as it is."""
        colours = sample.arrays.get("colours")
        if colours is None or self.std == 0.0:
            return sample
        noise = turn.rng.standard_normal(colours.shape, dtype=np.float32)
        return replace(sample, arrays={**sample.arrays, "colours": colours + np.float32(self.std) * noise})

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """The parts as they are."""
        return Protected(parts)

    def mechanism(self) -> None:
        """None: nothing is promised."""
        return
