"""Gaussian noise on every active feature; the site list stays.

Source: "feature-centric" in ConcreTizer (arXiv 2503.06986), figure 8. The paper prints no standard deviations, nor
whether the noise comes before the ReLU. Here: after it, on the tensor that leaves, with sigma in units of the clean
features' root mean square, so that one strength means the same at every split.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from defenses.base import Calibration, Mechanism, Protected, Turn
from defenses.calibrate import active, calibrate_rms
from defenses.settings import Settings
from wire.errors import InputError
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample

MAX_STRENGTH = 10.0


def gaussian(rng: np.random.Generator, shape: Sequence[int], sigma: float) -> torch.Tensor:
    """float32 of ``shape``: independent N(0, sigma^2). ``sigma`` is a standard deviation, in the features' own unit."""
    noise = rng.standard_normal(tuple(shape), dtype=np.float32)
    noise *= np.float32(sigma)
    return torch.from_numpy(noise)


class FeatureCentric:
    """``f[a] + n`` for every active site ``a`` and channel, n ~ N(0, sigma^2) independent; sigma = strength x RMS.

    Setting: ``strength`` 0..10 (default 1). At 0 the very payloads that came leave, bit for bit.
    Layouts: ``sparse_voxels`` (``features``; ``coords`` leave unchanged, so a listener still knows every site) and
    ``dense`` (every floating tensor; each value is a site).
    Energy added: sigma^2 x sites x channels. Bytes added: none.
    No guarantee: features have no norm bound and the sites leave in the clear, so :meth:`mechanism` is None.
    """

    name = "feature_centric"
    roles = frozenset({"features"})

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        """Raises InputError for an unknown setting or one out of range."""
        read = Settings(self.name, settings)
        self.strength = read.number("strength", 1.0, 0.0, MAX_STRENGTH)
        self._read(read)
        read.done()
        self.calibration = calibration

    def _read(self, settings: Settings) -> None:
        """For a defense that adds settings of its own."""

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """Measure the RMS of clean payloads and use it from now on. Raises InputError where nothing can be measured."""
        self.calibration = calibrate_rms(clean, self.roles)
        return self.calibration

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample as it is."""
        return sample

    def mechanism(self) -> Mechanism | None:
        """None: no clip bound, hence no sensitivity, hence nothing to compose."""
        return None

    @property
    def sigma(self) -> float:
        """The noise's standard deviation, in the features' own unit. Raises InputError without a positive clean RMS."""
        if self.strength == 0.0:
            return 0.0
        if self.calibration is None:
            raise InputError(
                f"defense {self.name}: strength {self.strength:g} is in units of the clean RMS; calibrate first, or "
                "give a calibration"
            )
        if not 0.0 < self.calibration.rms < math.inf:
            raise InputError(
                f"defense {self.name}: calibration rms is {self.calibration.rms!r}; accepted: above 0, finite"
            )
        return self.strength * self.calibration.rms

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """Noise every part of role ``features``, drawing from ``turn.rng`` in order of parts and tensors.

        Record: ``sigma``, ``sites`` (noised), ``values`` (sites x channels), ``energy`` (sigma^2 x values, expected)
        and ``bytes`` (of all parts as they leave). Raises InputError for a layout it does not know.
        """
        if self.strength == 0.0:
            return Protected(parts, self._record(parts, sigma=0.0, sites=0, values=0))
        sigma, sites, values = self.sigma, 0, 0
        leaving = []
        for payload in parts:
            if payload.role not in self.roles:
                leaving.append(payload)
                continue
            noised, touched, count = self._noised(payload, sigma, turn.rng)
            leaving.append(noised)
            sites, values = sites + touched, values + count
        return Protected(leaving, self._record(leaving, sigma=sigma, sites=sites, values=values))

    def _noised(self, payload: Payload, sigma: float, rng: np.random.Generator) -> tuple[Payload, int, int]:
        """The noised payload, how many sites and how many values were noised."""
        tensors, sites, values = dict(payload.tensors), 0, 0
        for name in active(payload):
            clean = tensors[name]
            noise = gaussian(rng, clean.shape, sigma).to(clean.device)
            tensors[name] = (clean.detach().to(torch.float32) + noise).to(clean.dtype)
            sites += clean.shape[0] if payload.layout == "sparse_voxels" else clean.numel()
            values += clean.numel()
        return Payload(payload.role, payload.layout, tensors, payload.meta), sites, values

    def _record(self, leaving: Sequence[Payload], *, sigma: float, sites: int, values: int) -> dict[str, Meta]:
        return {
            "sigma": sigma,
            "sites": sites,
            "values": values,
            "energy": sigma * sigma * values,
            "bytes": sum(payload.nbytes for payload in leaving),
        }
