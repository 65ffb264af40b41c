"""Gaussian noise on features that were clipped in L2: (epsilon, delta) for every frame.

Calibration is exact: the smallest deviation whose privacy curve passes (epsilon, delta), not the classical bound that
is loose and void above epsilon 1 (Balle & Wang 2018, "Improving the Gaussian Mechanism"; dp-accounting computes it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from defenses.base import Calibration
from defenses.clipped_noise import ClippedNoise
from defenses.settings import Settings
from wire.errors import MissingExtraError
from wire.payload import Meta

DEFAULT_DELTA = 1e-5


class _Normal:
    name = "gaussian"
    order = 2
    deviation = 1.0
    delta = DEFAULT_DELTA

    def read(self, settings: Settings) -> None:
        self.delta = settings.number("delta", DEFAULT_DELTA, 1e-15, 0.5)

    def multiplier(self, epsilon: float) -> float:
        try:
            from dp_accounting import get_sigma_gaussian
        except ImportError as error:
            raise MissingExtraError(
                f"epsilon needs dp-accounting ({error}); install it with: pip install -e .[image]"
            ) from error
        return float(get_sigma_gaussian(epsilon, self.delta))

    def draw(self, rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
        return rng.standard_normal(tuple(shape))


class Gaussian(ClippedNoise):
    """n ~ N(0, sigma^2) on every value, independent; L2 clip C, sensitivity 2C.

    Settings beside those of :class:`~defenses.clipped_noise.ClippedNoise`: ``delta`` (default 1e-5), the chance a frame
    that ``epsilon`` does not hold.
    """

    name = "gaussian"

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        super().__init__(self.name, _Normal(), settings, calibration)
