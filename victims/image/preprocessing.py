"""From 8-bit pictures to what a network takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """mean, deviation: per channel of RGB in 0..1. A public part of a victim: a white-box attacker runs it as well.

    order: of the channels that the network takes.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    order: Literal["RGB", "BGR"] = "RGB"

    def normalised(self, pictures: Tensor) -> Tensor:
        """Pictures float RGB (B, 3, H, W) in 0..1 to a network's input, same shape; differentiable."""
        mean = pictures.new_tensor(self.mean).view(3, 1, 1)
        inputs = (pictures - mean) / pictures.new_tensor(self.deviation).view(3, 1, 1)
        return inputs if self.order == "RGB" else inputs.flip(1)


IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of torchvision's classifiers, and of the published CIFAR ResNets."""

PLAIN_BGR = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "BGR")
"""Of FastestDet: 0..1 as they are, blue first."""

PLAIN = Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""Of YOLO-v2: 0..1 as they are."""

CLIP = Preprocessing((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Of CLIP's image encoders."""

CITYSCAPES_BGR = Preprocessing((73.1584 / 255, 82.9089 / 255, 72.3923 / 255), (44.9148, 46.1529, 45.3192), "BGR")
"""Of ESPNet. Its authors take the mean of 0..255 off, divide by the deviation of 0..255, and by 255 once more."""


def pictures_of(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def images_of(pictures: Tensor) -> np.ndarray:
    """Float (N, 3, H, W), clamped to 0..1, to the nearest uint8 (N, H, W, 3)."""
    levels: np.ndarray = (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return levels
