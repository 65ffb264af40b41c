"""What crosses the wire: named tensors with a role and a layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

Meta = bool | int | float | str | tuple[int, ...] | tuple[float, ...]
"""A value that travels in the clear beside the tensors: a listener reads it."""

ROLES = ("features", "rays", "embeddings", "gradients", "result")


@dataclass(frozen=True)
class Payload:
    """One turn's part, in one direction.

    role: one of :data:`ROLES`.
    layout: a name whose tensors, dtypes and meta keys the victim's validator checks (``"dense"``, ``"sparse_voxels"``).
    tensors: name -> tensor; insertion order is the order on the wire. Must not be changed after sending.
    meta: small facts such as stride, spatial shape or step.
    """

    role: str
    layout: str
    tensors: Mapping[str, torch.Tensor]
    meta: Mapping[str, Meta] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"payload role {self.role!r}; accepted: {', '.join(ROLES)}")

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors, without alignment or headers."""
        return sum(t.numel() * t.element_size() for t in self.tensors.values())
