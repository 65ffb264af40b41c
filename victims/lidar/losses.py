"""SECOND's training loss: focal classification, sine-difference regression, direction (Yan et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from victims.lidar.anchors import Targets
from victims.lidar.boxes import direction_bin, encode

CLASS_WEIGHT, BOX_WEIGHT, DIRECTION_WEIGHT = 1.0, 2.0, 0.2
SMOOTH_L1_BETA = 1.0 / 9.0


@dataclass(frozen=True)
class DetectionLoss:
    """Weighted terms (scalars, differentiable) and their sum."""

    classes: Tensor
    boxes: Tensor
    directions: Tensor

    @property
    def total(self) -> Tensor:
        return self.classes + self.boxes + self.directions


def sigmoid_focal(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss -alpha_t (1 - p_t)^gamma log p_t of independent logits, element by element (Lin et al. 2017)."""
    probability = torch.sigmoid(logits)
    p_t = probability * targets + (1 - probability) * (1 - targets)
    alpha_t = alpha * targets + (1 - alpha) * (1 - targets)
    cross = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return alpha_t * (1 - p_t) ** gamma * cross


def detection_loss(
    class_logits: Tensor, codes: Tensor, direction_logits: Tensor, grid: Tensor, targets: Targets
) -> DetectionLoss:
    """Loss of one scan over its A anchors.

    class_logits (A, 3), codes (A, 7), direction_logits (A, 2); grid (A, 7) the anchors.  Every term is divided
    by the number of positive anchors (at least 1).
    """
    positive = targets.label > 0
    count = positive.sum().clamp_min(1)
    asked = targets.label >= 0
    one_hot = functional.one_hot(targets.label.clamp_min(0), class_logits.shape[1] + 1)[:, 1:].to(class_logits.dtype)
    classes = sigmoid_focal(class_logits[asked], one_hot[asked]).sum() / count

    goal = encode(targets.box[positive], grid[positive])
    code = codes[positive]
    # sin(a - b) = sin a cos b - cos a sin b: half turns cost nothing here, the direction term tells them apart.
    turn = torch.sin(code[:, 6] - goal[:, 6])
    difference = torch.cat([code[:, :6] - goal[:, :6], turn[:, None]], dim=1)
    boxes = functional.smooth_l1_loss(difference, torch.zeros_like(difference), reduction="sum", beta=SMOOTH_L1_BETA)
    directions = functional.cross_entropy(
        direction_logits[positive], direction_bin(targets.box[positive, 6]), reduction="sum"
    )
    return DetectionLoss(CLASS_WEIGHT * classes, BOX_WEIGHT * boxes / count, DIRECTION_WEIGHT * directions / count)
