"""How pictures, feature maps and reconstructions are pictured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from victims.base import Sample
from victims.view import Image, Picture, Text
from wire.payload import Payload

MOST_MAPS: Final = 64
"""A feature tensor is shown by its strongest channels, at most so many."""


class ImageView:
    """Pictures as they are, feature maps as a sheet of gray tiles."""

    sees = "the camera"

    def sample(self, sample: Sample) -> Picture:
        """The picture that the head takes."""
        return Image(np.ascontiguousarray(sample.arrays["image"], np.uint8))

    def payload(self, payload: Payload) -> Picture:
        """Maps (1, C, H, W) as tiles, tokens (1, 1 + n * n, D) as the map of their norms; else a line of text."""
        features = payload.tensors.get("features")
        if features is not None and features.ndim == 4:
            return Image(_sheet(features[0].float().numpy()))
        if features is not None and features.ndim == 3:
            side = math.isqrt(features.shape[1])
            patches = features[0, features.shape[1] - side * side :].float().norm(dim=1).numpy()
            return Image(_sheet(patches.reshape(1, side, side)))
        return Text(f"{payload.role} of {payload.nbytes:,} bytes in layout {payload.layout}")

    def reconstruction(self, arrays: Mapping[str, np.ndarray]) -> Picture:
        """The rebuilt picture: ``image`` uint8 (H, W, 3), or float in 0..1."""
        image = arrays["image"]
        if image.dtype != np.uint8:
            image = (np.nan_to_num(image).clip(0, 1) * 255).round().astype(np.uint8)
        return Image(np.ascontiguousarray(image))


def _sheet(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Tiles (C, H, W), strongest first, one pixel apart; all on one scale from the least to the largest value."""
    maps = np.nan_to_num(maps)
    chosen = np.argsort(-np.square(maps).sum((1, 2)), kind="stable")[:MOST_MAPS]
    low, high = float(maps.min()), float(maps.max())
    levels = ((maps[chosen] - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)
    columns = math.ceil(math.sqrt(len(chosen)))
    height, width = maps.shape[1] + 1, maps.shape[2] + 1
    sheet = np.zeros((math.ceil(len(chosen) / columns) * height - 1, columns * width - 1), np.uint8)
    for i, tile in enumerate(levels):
        top, left = i // columns * height, i % columns * width
        sheet[top : top + height - 1, left : left + width - 1] = tile
    return np.repeat(sheet[:, :, None], 3, axis=2)


VIEW = ImageView()
