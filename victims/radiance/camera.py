"""Pinhole cameras: where one stands, and the rays of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SLACK: Final = 1e-2
"""A rotation's rows may miss unit length and right angles by this: files round, and trackers drift."""

FARTHEST: Final = 1e12
"""No entry of a pose, and no corner of a box, is larger: its square, and what a shallow ray makes of it, stay finite in
float32."""


@dataclass(frozen=True)
class Camera:
    """Axes as OpenGL has them: x right, y up, looking along -z.

    pose: float64 (3, 4), camera to world. focal (x, y) and centre (x, y): pixels; the first pixel's centre lies at
    (0.5, 0.5). size: height and width.
    """

    pose: NDArray[np.float64]
    focal: tuple[float, float]
    centre: tuple[float, float]
    size: tuple[int, int]

    @property
    def pixels(self) -> int:
        """How many it has."""
        return self.size[0] * self.size[1]

    def resized(self, size: tuple[int, int]) -> Camera:
        """The camera of the same picture at another size."""
        y, x = size[0] / self.size[0], size[1] / self.size[1]
        return replace(
            self,
            focal=(self.focal[0] * x, self.focal[1] * y),
            centre=(self.centre[0] * x, self.centre[1] * y),
            size=size,
        )

    def moved(self, centre: NDArray[np.float64], half: float) -> Camera:
        """The camera where ``centre`` is the origin and ``half`` the unit of length."""
        pose = self.pose.copy()
        pose[:, 3] = (pose[:, 3] - centre) / half
        return replace(self, pose=pose)


def fault(matrix: NDArray[np.float64]) -> str | None:
    """Why a pose (3, 4) or (4, 4) is no rigid transform; None where it is one."""
    if matrix.shape not in ((3, 4), (4, 4)):
        return f"it has shape {matrix.shape}; accepted: (3, 4) or (4, 4)"
    if not np.isfinite(matrix).all():
        return "it holds values that are not finite"
    largest = float(np.abs(matrix).max())
    if largest > FARTHEST:
        return f"it holds {largest:g}; accepted: at most {FARTHEST:g}"
    if matrix.shape == (4, 4) and not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        return f"its last row is {matrix[3].round(6).tolist()}; accepted: 0 0 0 1"
    rotation = matrix[:3, :3]
    miss = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if miss > SLACK:
        return f"its axes miss unit length or right angles by {miss:.3g}; accepted: at most {SLACK:g}"
    if np.linalg.det(rotation) < 0:
        return "its axes are left-handed"
    return None


def rigid(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pose (3, 4) with the nearest rotation in place of one that was rounded. The pose must have no fault."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    return np.hstack([left @ right, matrix[:3, 3:4]])


def rays(
    pose: Tensor, focal: tuple[float, float], centre: tuple[float, float], width: int, pixels: Tensor
) -> tuple[Tensor, Tensor]:
    """Origin float32 (3,) and unit directions float32 (R, 3) of ``pixels`` int (R,), which count along the rows.

    Both ends compute them: the cloud from what it was sent, the edge for the view direction.
    """
    column, row = pixels % width, torch.div(pixels, width, rounding_mode="floor")
    x = (column + 0.5 - centre[0]) / focal[0]
    y = (centre[1] - row - 0.5) / focal[1]
    local = torch.stack([x, y, -torch.ones_like(x)], dim=1)
    directions = local @ pose[:, :3].T
    return pose[:, 3], directions / directions.norm(dim=1, keepdim=True)


def looking(
    position: NDArray[np.float64], target: NDArray[np.float64], up: tuple[float, float, float] = (0, 0, 1)
) -> NDArray[np.float64]:
    """The pose (3, 4) of a camera at ``position`` that looks at ``target``, with ``up`` upwards in its picture."""
    back = position - target
    back = back / np.linalg.norm(back)
    right = np.cross(np.asarray(up, np.float64), back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back, position], axis=1)
