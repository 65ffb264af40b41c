"""The norms of gradient rows, one a sample point: what the gradient defenses measure their strength in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from wire.errors import InputError
from wire.payload import Payload

ROLE: Final = "gradients"
NAME: Final = "gradients"


def gradients(payload: Payload) -> Tensor:
    """The tensor of a gradient part, float32 (..., E); a row is a sample point. InputError for another layout."""
    tensor = payload.tensors.get(NAME)
    if tensor is None or not tensor.is_floating_point() or tensor.dim() == 0:
        raise InputError(f"payload layout {payload.layout!r} has no rows of gradients; accepted: gradients")
    return tensor.detach().float()


def row_norms(rows: Tensor) -> Tensor:
    """L2 norms float32 (N,) of all rows."""
    norms: Tensor = torch.linalg.vector_norm(rows.reshape(-1, rows.shape[-1]), dim=1)
    return norms


def median(norms: Sequence[Tensor]) -> float:
    """Of all these norms together, the lower of the two middle ones; 0 where there are none."""
    every = torch.cat(list(norms)) if norms else torch.empty(0)
    return float(every.median()) if len(every) else 0.0


def largest(norms: Sequence[Tensor]) -> float:
    """The largest of all these norms; 0 where there are none."""
    return max((float(found.max()) for found in norms if len(found)), default=0.0)


def leaving(payload: Payload, rows: Tensor) -> Payload:
    """The part with other rows, in the type that the wire carries."""
    tensors = dict(payload.tensors)
    tensors[NAME] = rows.to(tensors[NAME].dtype)
    return replace(payload, tensors=tensors)
