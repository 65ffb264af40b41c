"""Few levels for every value: what a link budget often does, and sometimes believed to hide something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from defenses.base import Calibration, Protected, Turn
from defenses.calibrate import active, calibrate_rms
from defenses.settings import Settings
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample


class Quantise:
    """Every floating tensor on 2^bits levels, evenly spaced from its own smallest to its own largest value.

    Settings: ``bits`` 1..16 (default 4) and ``rounding``: ``nearest`` (default), or ``stochastic``, up or down by
    chance so that the mean of what leaves is what came. What is not finite stays as it is.
    The values leave as the type they came in, so no byte is saved on the wire; ``packed_bytes`` in the record is what
    a packed form would take (computed, not sent): bits a value, and two float32 a tensor. No guarantee.
    """

    name = "quantise"
    roles = frozenset({"features"})

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        """Raises InputError for a setting that is unknown or out of range."""
        read = Settings(self.name, settings)
        self.bits = read.whole("bits", 4, 1, 16)
        self._stochastic = read.word("rounding", "nearest", ("nearest", "stochastic")) == "stochastic"
        read.done()

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """The units that a defense which follows may count in; it needs none itself."""
        return calibrate_rms(clean, self.roles)

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample as it is."""
        return sample

    def mechanism(self) -> None:
        """None: nothing is promised."""
        return

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """Quantise every part of role ``features``.

        Record: ``values``, ``error`` (root mean square of what was moved), ``bytes``, ``packed_bytes``. Raises
        InputError for a layout it does not know.
        """
        leaving, values, squares, packed = [], 0, 0.0, 0
        for payload in parts:
            if payload.role in self.roles:
                tensors = dict(payload.tensors)
                for name in active(payload):
                    came = tensors[name].detach()
                    tensors[name] = self._quantised(came, turn.rng)
                    moved = torch.nan_to_num((tensors[name].double() - came.double()), nan=0.0, posinf=0.0, neginf=0.0)
                    squares += float((moved * moved).sum())
                    values += came.numel()
                    packed += -(-came.numel() * self.bits // 8) + 8
                payload = Payload(payload.role, payload.layout, tensors, payload.meta)
            leaving.append(payload)
        record: dict[str, Meta] = {
            "values": values,
            "error": (squares / values) ** 0.5 if values else 0.0,
            "bytes": sum(payload.nbytes for payload in leaving),
            "packed_bytes": packed,
        }
        return Protected(leaving, record)

    def _quantised(self, tensor: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        values = tensor.cpu().to(torch.float64).numpy()
        finite = np.isfinite(values)
        if not finite.any():
            return tensor
        low, high = values[finite].min(), values[finite].max()
        step = (high - low) / (2**self.bits - 1)
        if step == 0.0:
            return tensor
        place = np.where(finite, (values - low) / step, 0.0)
        level = np.floor(place + rng.random(place.shape)) if self._stochastic else np.rint(place)
        snapped = np.where(finite, low + step * np.minimum(level, 2**self.bits - 1), values)
        return torch.from_numpy(snapped).to(device=tensor.device, dtype=tensor.dtype)
