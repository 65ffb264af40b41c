"""Clip what leaves to a known norm, then add noise: the two defenses whose guarantee can be computed.

The guarantee is differential privacy of one frame against replacement (Dwork & Roth 2014, sections 3.3 and A): whoever
reads the payload can hardly tell which of any two pictures it is of. Both features have norm at most C after clipping,
so they are at most 2C apart. It holds for what is noised: where sites or whole numbers leave in the clear, the record
says ``covered`` False and nothing is guaranteed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from defenses.base import Calibration, Mechanism, Protected, Turn
from defenses.calibrate import active, calibrate_rms
from defenses.feature_centric import MAX_STRENGTH
from defenses.settings import Settings
from wire.errors import InputError
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample

DEFAULT_EPSILON = 8.0
MAX_EPSILON = 1e6
_MARGIN = 1e-9
"""Rounding must not lift a clipped norm above its bound."""


class Kind(Protocol):
    """One kind of noise."""

    name: str  # of the mechanism
    order: int  # of the norm that is clipped: 1 or 2
    deviation: float  # of noise of scale 1

    def read(self, settings: Settings) -> None: ...
    def multiplier(self, epsilon: float) -> float: ...  # scale over sensitivity that gives this epsilon
    def draw(self, rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray: ...  # float64 of scale 1


class ClippedNoise:
    """``f min(1, C / |f|) + n`` for the whole vector f of a turn: every floating value of every part together.

    Settings:
    ``clip`` (default 1) with ``unit``: ``typical`` (default), in units of the clean payloads' norm, or ``absolute``,
    in the features' own. And one of
    ``epsilon`` (default 8): the cost of one frame; ``noise``: the scale in units of the sensitivity 2C; ``strength``
    0..10: the deviation in units of the clean RMS, as in ``feature_centric``. With ``noise`` or ``strength`` 0 the very
    payloads that came leave, bit for bit, unclipped.

    Values that are not finite count as 0, so that the guarantee holds for whatever a head emits. Arithmetic is in
    float64 and what leaves is rounded to the tensor's own type; the guarantee is that of real numbers (Mironov 2012
    shows what remains), and of a noise whose seed the listener does not know.
    """

    roles = frozenset({"features"})

    def __init__(
        self, name: str, kind: Kind, settings: Mapping[str, Meta], calibration: Calibration | None = None
    ) -> None:
        """Raises InputError for settings that are unknown, out of range or exclude each other, and for a calibration
        without the unit that they count in."""
        self.name, self._kind = name, kind
        read = Settings(name, settings)
        self._clip = read.number("clip", 1.0, 1e-6, 1e6)
        self._typical = read.word("unit", "typical", ("typical", "absolute")) == "typical"
        self._by = (read.given("epsilon", "noise", "strength") or ["epsilon"])[0]
        epsilon = read.number("epsilon", DEFAULT_EPSILON, 1e-3, MAX_EPSILON)
        noise = read.number("noise", 0.0, 0.0, 1e4)
        self._strength = read.number("strength", 0.0, 0.0, MAX_STRENGTH)
        kind.read(read)
        read.done()
        self._multiplier = kind.multiplier(epsilon) if self._by == "epsilon" else noise
        self.calibration = calibration
        if calibration is not None and not self.off:
            self._units(calibration)

    @property
    def off(self) -> bool:
        """Whether everything passes as it came."""
        return self._by != "epsilon" and self._multiplier == 0.0 and self._strength == 0.0

    @property
    def clip(self) -> float:
        """C: the highest norm that leaves, before the noise. Raises InputError where its unit was not measured."""
        return self._clip * (self._units(self.calibration)[1] if self._typical else 1.0)

    @property
    def scale(self) -> float:
        """Of the noise, in the features' own unit: a standard deviation (gaussian) or Laplace's b."""
        if self._by == "strength":
            return self._strength * self._units(self.calibration)[0] / self._kind.deviation
        return self._multiplier * 2 * self.clip

    def _units(self, calibration: Calibration | None) -> tuple[float, float]:
        """The clean RMS and the typical norm, where these settings count in them (else 1)."""
        rms, norm = 1.0, 1.0
        if self._by == "strength" or self._typical:
            if calibration is None:
                raise InputError(f"defense {self.name}: its settings are in units of clean payloads; calibrate first")
            rms = calibration.rms
            if not 0.0 < rms < math.inf:
                raise InputError(f"defense {self.name}: calibration rms is {rms!r}; accepted: above 0, finite")
        if self._typical:
            found = calibration.clip if calibration is not None else None
            if found is None or not 0.0 < found < math.inf:
                raise InputError(
                    f"defense {self.name}: calibration clip is {found!r}; accepted: above 0, finite, or unit=absolute"
                )
            # n values at the RMS have L2 norm sqrt(n) rms and L1 norm n rms: none of that L2 norm has a larger one.
            norm = found if self._kind.order == 2 else found * found / rms
        return rms, norm

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """Measure RMS and norm of clean payloads and use them from now on. Raises InputError where nothing can be
        measured.

        What is measured is public from then on: for a guarantee about the stream itself measure on other pictures, or
        give ``clip`` with ``unit`` absolute and ``noise`` or ``epsilon``.
        """
        self.calibration = calibrate_rms(clean, self.roles)
        return self.calibration

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample as it is."""
        return sample

    def mechanism(self) -> Mechanism | None:
        """One frame's release; None while it is off."""
        return None if self.off else Mechanism(self._kind.name, self.scale, 2 * self.clip)

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """Clip all parts of role ``features`` as one vector and noise every value, drawing from ``turn.rng`` in order.

        Record: ``sigma`` (deviation of the noise), ``norm`` (before clipping), ``clip``, ``clipped`` (1 or 0; its mean
        is a share), ``values``, ``energy`` (sigma^2 x values, expected), ``bytes`` and ``covered``. Raises InputError
        for a layout it does not know.
        """
        mine = [payload for payload in parts if payload.role in self.roles]
        if self.off or not mine:
            record = {"sigma": 0.0, "clipped": 0, "values": 0, "energy": 0.0, "bytes": _bytes(parts), "covered": False}
            return Protected(parts, record)
        values = [_finite(payload.tensors[name]) for payload in mine for name in active(payload)]
        bound, scale = self.clip, self.scale
        norm = joint_norm(values, self._kind.order)
        factor = 1.0 if norm <= bound * (1 - _MARGIN) else bound / norm * (1 - _MARGIN)
        noised = iter([v * factor + scale * self._kind.draw(turn.rng, v.shape) for v in values])
        leaving = []
        for payload in parts:
            if payload.role in self.roles:
                tensors = dict(payload.tensors)
                for name in active(payload):
                    kept = tensors[name]
                    tensors[name] = torch.from_numpy(next(noised)).to(device=kept.device, dtype=kept.dtype)
                payload = Payload(payload.role, payload.layout, tensors, payload.meta)
            leaving.append(payload)
        sigma, count = scale * self._kind.deviation, sum(v.size for v in values)
        record = {
            "sigma": sigma,
            "norm": norm,
            "clip": bound,
            "clipped": int(factor < 1.0),
            "values": count,
            "energy": sigma * sigma * count,
            "bytes": _bytes(leaving),
            "covered": len(mine) == len(parts) and all(set(p.tensors) == set(active(p)) for p in mine),
        }
        return Protected(leaving, record)


def joint_norm(values: Sequence[np.ndarray], order: int) -> float:
    """L1 or L2 norm of all values as one vector."""
    if order == 1:
        return float(sum(np.abs(v).sum() for v in values))
    return math.sqrt(sum(float(np.square(v).sum()) for v in values))


def _finite(tensor: torch.Tensor) -> np.ndarray:
    """float64 of its own, what is not finite as 0."""
    values: np.ndarray = np.nan_to_num(
        tensor.detach().cpu().to(torch.float64).numpy(), copy=True, nan=0.0, posinf=0.0, neginf=0.0
    )
    return values


def _bytes(parts: Sequence[Payload]) -> int:
    return sum(payload.nbytes for payload in parts)
