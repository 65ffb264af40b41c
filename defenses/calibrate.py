"""How strong a clean payload is: the unit in which a defense's strength is given."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from defenses.base import Calibration
from wire.errors import InputError
from wire.payload import Payload

CALIBRATION_FRAMES = 4
"""Samples whose clean payloads an edge measures before its first frame."""


def active(payload: Payload) -> tuple[str, ...]:
    """The tensors that carry values: ``features`` of ``sparse_voxels`` (its sites are no values), every floating tensor
    of ``dense``. Raises InputError for other layouts."""
    if payload.layout == "sparse_voxels":
        return ("features",)
    if payload.layout == "dense":
        return tuple(name for name, tensor in payload.tensors.items() if tensor.is_floating_point())
    raise InputError(f"payload layout {payload.layout!r} cannot be noised; accepted: sparse_voxels, dense")


def calibrate_rms(clean: Iterable[Payload], roles: frozenset[str]) -> Calibration:
    """Root mean square over every active value (all sites, all channels) of the clean payloads with these roles, and
    over their L2 norms (``clip``).

    Summed in float64 over the whole stream, so it does not depend on how values are spread over payloads.
    ``frames`` counts the payloads used. Raises InputError where there is none, or nothing but zeros, or a value that is
    not finite.
    """
    squares, count, frames = 0.0, 0, 0
    for payload in clean:
        if payload.role not in roles:
            continue
        frames += 1
        for name in active(payload):
            values = payload.tensors[name].detach().to(torch.float64)
            squares += float((values * values).sum())
            count += values.numel()
    if not count:
        raise InputError(f"calibration: no values in {frames} clean payloads of role {', '.join(sorted(roles))}")
    if not math.isfinite(squares) or squares == 0.0:
        raise InputError(f"calibration: the {count} clean values have a sum of squares of {squares}; accepted: above 0")
    return Calibration(rms=math.sqrt(squares / count), clip=math.sqrt(squares / frames), frames=frames)
