"""Laplace noise on features that were clipped in L1: epsilon for every frame, delta 0.

Source: Dwork & Roth 2014, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from defenses.base import Calibration
from defenses.clipped_noise import ClippedNoise
from defenses.settings import Settings
from wire.payload import Meta


class _Laplace:
    name = "laplace"
    order = 1
    deviation = math.sqrt(2.0)

    def read(self, settings: Settings) -> None:
        """No settings of its own."""

    def multiplier(self, epsilon: float) -> float:
        return 1.0 / epsilon

    def draw(self, rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
        return rng.laplace(size=tuple(shape))


class Laplace(ClippedNoise):
    """n of density exp(-|n| / b) / 2b on every value, independent; L1 clip C, sensitivity 2C, epsilon = 2C / b.

    The typical norm, unit of ``clip``, is the L1 norm of a payload whose every value is at the clean RMS. L1 norms grow
    with the number of values and L2 norms with its root: at one epsilon this is far more noise than ``gaussian``.
    """

    name = "laplace"

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        super().__init__(self.name, _Laplace(), settings, calibration)
