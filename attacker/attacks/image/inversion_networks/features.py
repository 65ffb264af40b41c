"""Features of one picture, whatever crossed the wire, as one tensor; and any of them as feature maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wire.errors import InputError
from wire.payload import Payload

LEAST_SIDE = 4
"""Maps below this side are read as vectors: there is nothing left to convolve."""


def features_of(payloads: Sequence[Payload], origin: str) -> Tensor:
    """Features float32 (C, H, W), (T, D) or (K,) of one picture. InputError, with ``origin``, where they are not."""
    heard = [payload for payload in payloads if payload.role == "features"]
    if len(heard) != 1:
        raise InputError(f"{origin}: {len(heard)} payloads of features; accepted: 1")
    features = heard[0].tensors.get("features")
    if features is None or features.ndim not in (2, 3, 4) or features.shape[0] != 1:
        found = "absent" if features is None else str(tuple(features.shape))
        raise InputError(f"{origin}: features are {found}; accepted: (1, C, H, W), (1, T, D) or (1, K)")
    if not bool(torch.isfinite(features).all()):
        raise InputError(f"{origin}: features are not finite")
    return features[0].detach().float()


@dataclass(frozen=True)
class Maps:
    """How features of ``shape`` (of one picture) become maps (channels, side, side); a vector has side 1.

    Tokens are laid out in the order of their patches; tokens beyond a square (a class token, in front) are averaged and
    given to every place as further channels.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) == 3 and self.shape[1] != self.shape[2]:
            raise InputError(f"features {self.shape}; accepted: square maps (C, H, H), tokens (T, D) or vectors (K,)")

    @property
    def _vector(self) -> bool:
        return len(self.shape) == 1 or (len(self.shape) == 3 and self.shape[1] < LEAST_SIDE)

    @property
    def side(self) -> int:
        """Of the maps."""
        if self._vector:
            return 1
        return self.shape[1] if len(self.shape) == 3 else math.isqrt(self.shape[0])

    @property
    def channels(self) -> int:
        """Of the maps."""
        if self._vector:
            return math.prod(self.shape)
        if len(self.shape) == 3:
            return self.shape[0]
        return self.shape[1] * (2 if self.shape[0] > self.side**2 else 1)

    def fold(self, features: Tensor) -> Tensor:
        """Features (B, *shape) to maps (B, channels, side, side)."""
        side = self.side
        if self._vector:
            return features.reshape(len(features), -1, 1, 1)
        if len(self.shape) == 3:
            return features
        extra = self.shape[0] - side**2
        places = features[:, extra:].transpose(1, 2).reshape(len(features), -1, side, side)
        if not extra:
            return places
        said = features[:, :extra].mean(1)[:, :, None, None].expand(-1, -1, side, side)
        return torch.cat([places, said], 1)
