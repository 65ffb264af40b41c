"""From 8-bit pictures to what a network takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """mean, deviation: per channel of RGB in 0..1. A public part of a victim: a white-box attacker runs it as well."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def normalised(self, pictures: Tensor) -> Tensor:
        """Pictures float (B, 3, H, W) in 0..1 to a network's input, same shape; differentiable."""
        mean = pictures.new_tensor(self.mean).view(3, 1, 1)
        return (pictures - mean) / pictures.new_tensor(self.deviation).view(3, 1, 1)


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of torchvision's classifiers, and of the published CIFAR ResNets."""


def pictures_of(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def images_of(pictures: Tensor) -> np.ndarray:
    """Float (N, 3, H, W), clamped to 0..1, to the nearest uint8 (N, H, W, 3)."""
    levels: np.ndarray = (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return levels
