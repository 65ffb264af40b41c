"""Where a listener gets the embeddings of a pose that nothing crossed about: a field of the scene."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Field(Protocol):
    """Positions in the cube [-1, 1] to embeddings at the cut."""

    def embed(self, positions: Tensor) -> Tensor:
        """float32 (N, 3), in the unit of the pose, to float32 (N, E); no gradients."""
        ...
