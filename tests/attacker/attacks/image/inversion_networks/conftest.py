"""A small head, smooth pictures, and frames as a listener would capture them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacker.attacks.base import CapturedFrame, CapturedPart
from victims.base import Sample
from victims.image.preprocessing import pictures_of
from wire.payload import Payload


def pictures(number: int, side: int, seed: int) -> np.ndarray:
    """Smooth colour fields, uint8 (number, side, side, 3)."""
    coarse = torch.rand(number, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = nn.functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def samples(images: np.ndarray) -> list[Sample]:
    return [Sample(f"p{i}", {"image": image}) for i, image in enumerate(images)]


@dataclass
class Oracle:
    """Answers with the features of a head that halves the picture; keeps the digests that it was asked for."""

    head: nn.Module
    asked: list[str] = field(default_factory=list)
    breaks_after: int | None = None

    def __call__(self, sample: Sample) -> Sequence[Payload]:
        if self.breaks_after is not None and len(self.asked) >= self.breaks_after:
            raise KeyboardInterrupt
        self.asked.append(sample.digest())
        return [self.payload(sample.arrays["image"])]

    @torch.no_grad()
    def payload(self, image: np.ndarray) -> Payload:
        features: Tensor = self.head(pictures_of(image[None]))
        return Payload("features", "dense", {"features": features}, {"input": image.shape[:2]})

    def frames(self, images: np.ndarray, first: int = 0) -> list[CapturedFrame]:
        parts = [CapturedPart("up", 0, 0, 1, self.payload(image), 0, 1) for image in images]
        return [CapturedFrame("5e55", 0, first + i, [part]) for i, part in enumerate(parts)]


@pytest.fixture
def oracle() -> Oracle:
    torch.manual_seed(3)
    return Oracle(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()).eval())
