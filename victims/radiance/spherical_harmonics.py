"""Real spherical harmonics of a direction, degrees 0 to 3: smooth functions of it that a small network can mix."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

COMPONENTS: Final = 16
"""1 + 3 + 5 + 7: what the published code calls degree 4."""

_1: Final = math.sqrt(3 / (4 * math.pi))
_2: Final = math.sqrt(15 / (4 * math.pi))
_3: Final = math.sqrt(35 / (32 * math.pi))
_3_1: Final = math.sqrt(21 / (32 * math.pi))
_3_2: Final = math.sqrt(105 / (4 * math.pi))


def spherical_harmonics(directions: Tensor) -> Tensor:
    """(..., 16) from unit (..., 3), orthonormal over the sphere; by degree l, then order from -l to l."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    return torch.stack(
        [
            torch.full_like(x, 1 / math.sqrt(4 * math.pi)),
            -_1 * y,
            _1 * z,
            -_1 * x,
            _2 * x * y,
            -_2 * y * z,
            math.sqrt(5 / (16 * math.pi)) * (3 * zz - 1),
            -_2 * x * z,
            _2 / 2 * (xx - yy),
            -_3 * y * (3 * xx - yy),
            _3_2 * x * y * z,
            -_3_1 * y * (5 * zz - 1),
            math.sqrt(7 / (16 * math.pi)) * z * (5 * zz - 3),
            -_3_1 * x * (5 * zz - 1),
            _3_2 / 2 * z * (xx - yy),
            -_3 * x * (xx - 3 * yy),
        ],
        dim=-1,
    )
