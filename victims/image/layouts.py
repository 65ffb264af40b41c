"""The layouts of the image modality and what makes a payload of them valid."""

from __future__ import annotations

import torch

from victims.base import register_layout
from wire.errors import DecodeError
from wire.payload import Payload

DENSE = "dense"
MAX_TENSORS = 16
_DIMENSIONS = (2, 3, 4)


def dense(payload: Payload) -> None:
    """Feature maps (1, C, H, W), tokens (1, T, D) or vectors (1, K), float32 and finite, under any names.

    meta: ``input`` (height and width in pixels of the picture they come from). Raises DecodeError.
    """
    if not 1 <= len(payload.tensors) <= MAX_TENSORS:
        raise DecodeError(f"{DENSE}: {len(payload.tensors)} tensors; accepted: 1 to {MAX_TENSORS}")
    for name, tensor in payload.tensors.items():
        shape = tuple(tensor.shape)
        if tensor.dtype != torch.float32 or len(shape) not in _DIMENSIONS or shape[0] != 1 or not tensor.numel():
            raise DecodeError(
                f"{DENSE}: {name} is {tensor.dtype} {shape}; accepted: torch.float32 (1, C, H, W), (1, T, D) or (1, K)"
            )
        broken = int((~torch.isfinite(tensor)).sum())
        if broken:
            raise DecodeError(f"{DENSE}: {broken} of {tensor.numel()} values of {name} are not finite")
    value = payload.meta.get("input")
    if not (isinstance(value, tuple) and len(value) == 2 and all(type(v) is int and 0 < v < 1 << 16 for v in value)):
        raise DecodeError(f"{DENSE}: meta input is {value!r}; accepted: height and width, from 1 to 65535")


register_layout(DENSE, dense)
