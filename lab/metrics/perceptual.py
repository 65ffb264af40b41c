"""LPIPS (Zhang et al. 2018, version 0.1) over an ImageNet network that the user gives as a file.

The networks are written here with torchvision's parameter names (``features.N.weight``), since torchvision cannot be
installed beside a CPU build of torch; nothing of them is shipped.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from victims.image.mapping import read_checkpoint
from victims.image.preprocessing import pictures_of
from wire.errors import InputError

_VGG_BLOCKS: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


class Fire(nn.Module):
    """SqueezeNet's block, with torchvision's parameter names."""

    def __init__(self, before: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 2 * expanded, H, W)."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


def _alexnet() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    return layers, (1, 4, 7, 9, 11)


def _vgg16() -> tuple[nn.Sequential, tuple[int, ...]]:
    layers: list[nn.Module] = []
    ends, before = [], 3
    for width, count in _VGG_BLOCKS:
        layers += [nn.MaxPool2d(2, 2)] if layers else []
        for _ in range(count):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        ends.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(ends)


def _squeezenet() -> tuple[nn.Sequential, tuple[int, ...]]:
    """SqueezeNet 1.1."""
    pool = nn.MaxPool2d(3, 2, ceil_mode=True)
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool, Fire(64, 16, 64), Fire(128, 16, 64),
        pool, Fire(128, 32, 128), Fire(256, 32, 128),
        pool, Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    )  # fmt: skip
    return layers, (1, 4, 7, 9, 10, 11, 12)


_KINDS: Final = {
    (64, 192, 384, 256, 256): _alexnet,
    (64, 128, 256, 512, 512): _vgg16,
    (64, 128, 256, 384, 384, 512, 512): _squeezenet,
}
"""Channels of each level, as the linear weights have them -> the network they belong to, and where its levels end."""

_SHIFT: Final = (-0.030, -0.088, -0.188)
_SCALE: Final = (0.458, 0.448, 0.450)
"""LPIPS's own normalisation, of pictures in -1..1."""


class PerceptualDistance:
    """Pictures to a distance, 0 for equal ones.

    backbone: a state dict with torchvision's names (AlexNet, VGG-16 or SqueezeNet 1.1). linear: of the same network,
    ``lin{k}.model.1.weight``. InputError for files that do not fit, when the first picture is scored.
    """

    def __init__(self, backbone: Path, linear: Path) -> None:
        self._backbone, self._linear = backbone, linear

    def __call__(self, true: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> float:
        """Distance of two pictures (H, W, 3) of one size, at least 32 pixels a side."""
        layers, ends, weights = self._networks
        pictures = pictures_of(np.stack([true, rebuilt])) * 2 - 1
        shift, scale = (pictures.new_tensor(values).view(3, 1, 1) for values in (_SHIFT, _SCALE))
        x, total = (pictures - shift) / scale, 0.0
        with torch.inference_mode():
            for number, layer in enumerate(layers):
                x = layer(x)
                if number in ends:
                    unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
                    weighted = (unit[0] - unit[1]).square() * weights[ends.index(number)].view(-1, 1, 1)
                    total += float(weighted.sum(0).mean())
        return total

    @cached_property
    def _networks(self) -> tuple[nn.Sequential, tuple[int, ...], list[Tensor]]:
        found = read_checkpoint(self._linear)
        keys = sorted(found)
        weights = [found[key].flatten() for key in keys]
        channels = tuple(len(weight) for weight in weights)
        if channels not in _KINDS:
            raise InputError(
                f"lpips_linear {self._linear}: levels of {channels} channels; accepted: LPIPS 0.1 of "
                "AlexNet, VGG-16 or SqueezeNet"
            )
        layers, ends = _KINDS[channels]()
        state = {k.removeprefix("features."): v for k, v in read_checkpoint(self._backbone).items()}
        wanted = layers.state_dict()
        wrong = [k for k, v in wanted.items() if k not in state or state[k].shape != v.shape]
        if wrong:
            raise InputError(
                f"lpips {self._backbone}: {len(wrong)} of {len(wanted)} weights are missing or of another shape, first "
                f"features.{wrong[0]}; accepted: torchvision's names of the network that {self._linear.name} is for"
            )
        layers.load_state_dict({k: state[k] for k in wanted})
        return layers.eval().requires_grad_(False), ends, weights
