"""How training steps, what crosses of them, and rendered pictures are pictured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from victims.base import Sample
from victims.radiance.layouts import EMBEDDINGS, GRADIENTS, RAYS
from victims.view import Image, Picture, Text
from wire.errors import InputError
from wire.payload import Meta, Payload

DIMMED: Final = 0.35
"""What is left of the brightness of pixels that a step does not use."""

_TALLEST: Final = 256


class RadianceView:
    """A step as its picture with the chosen pixels bright, a held-out view as its photograph; rays as the pixels that
    they name; embeddings and gradients as a sheet with a row per ray and a column per sample."""

    sees = "the camera"
    story = (
        "Split training: the photographs stay on the device, and the server holds half of the network that learns the "
        "room. Only gradients go up; and somebody who hears them draws a view of the room that was never sent. Turn up "
        "the noise: what does it hide?"
    )
    crossing = "gradient-norms"

    def rebuildable(self, sample: Sample) -> bool:
        """Whether it is a view that is asked for: steps of the training are learnt from."""
        return "colours" not in sample.arrays

    def sample(self, sample: Sample) -> Picture:
        """The private picture, dimmed but for the pixels of a step; where there is none, those pixels alone."""
        pixels = sample.arrays.get("pixels")
        if "size" not in sample.meta or pixels is None:
            return Text(f"{sample.name}: no step of a training")
        height, width = _size(sample.meta["size"])
        image = sample.truth.get("image")
        if image is None:
            image = np.zeros((height, width, 3), np.uint8)
        colours = sample.arrays.get("colours")
        if colours is None:  # a picture that is asked for
            return Image(image)
        shown = (image * DIMMED).astype(np.uint8).reshape(-1, 3)
        if len(colours) == len(pixels):
            shown[pixels] = _levels(colours)
        return Image(shown.reshape(height, width, 3))

    def payload(self, payload: Payload) -> Picture:
        """What a listener sees of one part."""
        if payload.layout == RAYS:
            height, width = _size(payload.meta["size"])
            shown = np.zeros((height, width), np.uint8)
            shown.reshape(-1)[payload.tensors["pixels"].numpy()] = 255
            return Image(_gray(shown))
        if payload.layout in (EMBEDDINGS, GRADIENTS):
            values = payload.tensors[payload.layout]
            norms = values.float().norm(dim=2)[:_TALLEST]
            return Image(_gray(_scaled(norms)))
        return Text(f"{payload.role} of {payload.nbytes:,} bytes in layout {payload.layout}")

    def reconstruction(self, arrays: Mapping[str, np.ndarray]) -> Picture:
        """``image`` uint8 (H, W, 3), or float in 0..1; of a depth map alone, ``depth`` (H, W), near is bright."""
        image = arrays.get("image")
        if image is None:
            return Image(_gray(_scaled(-torch.from_numpy(np.nan_to_num(arrays["depth"]).astype(np.float32)))))
        return Image(np.ascontiguousarray(image if image.dtype == np.uint8 else _levels(image)))


def _size(value: Meta) -> tuple[int, int]:
    """Height and width. InputError for another value."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise InputError(f"meta size is {value!r}; accepted: height and width")
    return int(value[0]), int(value[1])


def _levels(colours: NDArray) -> NDArray[np.uint8]:
    return np.asarray((np.nan_to_num(colours).clip(0, 1) * 255).round(), np.uint8)


def _scaled(values: torch.Tensor) -> NDArray[np.uint8]:
    """From the least to the largest value as black to white."""
    values = torch.nan_to_num(values)
    low, high = float(values.min()), float(values.max())
    return np.asarray(((values - low) * (255 / max(high - low, 1e-30))).round().to(torch.uint8).numpy(), np.uint8)


def _gray(levels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(levels[:, :, None], 3, axis=2)


VIEW = RadianceView()
