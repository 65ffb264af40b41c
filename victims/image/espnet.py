"""ESPNet (Mehta et al. 2018, p = 2, q = 8): segmentation of streets into Cityscapes' classes.

``ESPNetC`` is the encoder alone, with a result at 1/8 of the picture's size; ``ESPNet`` adds the decoder and gives a
result at full size. The parameter names are those of the published checkpoints (sacmehta/ESPNet), which load strictly.
Both are fully convolutional: any size whose sides are multiples of 16.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
    *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "void"),
)

_EPS = 1e-3
_DILATIONS = (1, 2, 4, 8, 16)


class _Conv(nn.Module):
    """A convolution that keeps the size or halves it."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = kernel // 2 * dilation
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, dilation, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(x)
        return result


class _NormAct(nn.Module):
    """Batch norm and PReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn, self.act = nn.BatchNorm2d(width, eps=_EPS), nn.PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.bn(x))
        return result


class _ConvNormAct(_NormAct):
    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__(after)
        self.conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x))


class _Pyramid(nn.Module):
    """The efficient spatial pyramid: reduce, five dilated convolutions in parallel, sums of them joined (section 3)."""

    def __init__(self, before: int, after: int, *, halve: bool) -> None:
        super().__init__()
        narrow = after // len(_DILATIONS)
        self.c1 = _Conv(before, narrow, 3, 2) if halve else _Conv(before, narrow, 1)
        first = after - (len(_DILATIONS) - 1) * narrow
        for dilation in _DILATIONS:
            self.add_module(f"d{dilation}", _Conv(narrow, first if dilation == 1 else narrow, 3, dilation=dilation))

    def joined(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, H, W), or half the size."""
        x = self.c1(x)
        first, *others = (self.get_submodule(f"d{dilation}")(x) for dilation in _DILATIONS)
        sums = [others[0]]
        for other in others[1:]:
            sums.append(sums[-1] + other)
        return torch.cat([first, *sums], 1)


class DownBlock(_Pyramid):
    """A pyramid at half the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, halve=True)
        self.bn, self.act = nn.BatchNorm2d(after, eps=_EPS), nn.PReLU(after)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, H / 2, W / 2)."""
        result: Tensor = self.act(self.bn(self.joined(x)))
        return result


class EspBlock(_Pyramid):
    """A pyramid at the same size; ``add``: what came in is added."""

    def __init__(self, before: int, after: int, *, add: bool = True) -> None:
        super().__init__(before, after, halve=False)
        self.add = add
        self.bn = _NormAct(after)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, after, H, W)."""
        out = self.joined(x)
        result: Tensor = self.bn(x + out if self.add else out)
        return result


class ESPNetC(nn.Module):
    """Pictures BGR (B, 3, H, W), normalised, to scores (B, classes, H / 8, W / 8)."""

    def __init__(self, classes: int = len(CLASSES), p: int = 2, q: int = 8) -> None:
        super().__init__()
        self.level1 = _ConvNormAct(3, 16, 3, 2)
        self.pool = nn.AvgPool2d(3, 2, 1)
        self.b1 = _NormAct(19)
        self.level2_0 = DownBlock(19, 64)
        self.level2 = nn.ModuleList(EspBlock(64, 64) for _ in range(p))
        self.b2 = _NormAct(131)
        self.level3_0 = DownBlock(131, 128)
        self.level3 = nn.ModuleList(EspBlock(128, 128) for _ in range(q))
        self.b3 = _NormAct(256)
        self.classifier = _Conv(256, classes, 1)

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What follows ``level1`` (16 channels, 1/2), ``b2`` (131, 1/4) and ``b3`` (256, 1/8)."""
        first, half = self.level1(x), self.pool(x)
        start = self.level2_0(self.b1(torch.cat([first, half], 1)))
        deep = start
        for block in self.level2:
            deep = block(deep)
        second = self.b2(torch.cat([deep, start, self.pool(half)], 1))
        start = self.level3_0(second)
        deep = start
        for block in self.level3:
            deep = block(deep)
        return first, second, self.b3(torch.cat([start, deep], 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, classes, H / 8, W / 8)."""
        scores: Tensor = self.classifier(self.levels(x)[2])
        return scores


class ESPNet(nn.Module):
    """The encoder and a light decoder that goes back to full size over its three levels."""

    def __init__(self, classes: int = len(CLASSES), p: int = 2, q: int = 8) -> None:
        super().__init__()
        self.encoder = ESPNetC(classes, p, q)
        self.level3_C = _Conv(131, classes, 1)
        self.br = nn.BatchNorm2d(classes, eps=_EPS)
        self.conv = _ConvNormAct(16 + classes, classes, 3)
        self.up_l3 = nn.Sequential(_doubled(classes))
        self.combine_l2_l3 = nn.Sequential(_NormAct(2 * classes), EspBlock(2 * classes, classes, add=False))
        self.up_l2 = nn.Sequential(_doubled(classes), _NormAct(classes))
        self.classifier = _doubled(classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, classes, H, W)."""
        first, second, third = self.encoder.levels(x)
        up = self.up_l3(self.br(self.encoder.classifier(third)))
        up = self.up_l2(self.combine_l2_l3(torch.cat([self.level3_C(second), up], 1)))
        scores: Tensor = self.classifier(self.conv(torch.cat([up, first], 1)))
        return scores


def _doubled(width: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(width, width, 2, 2, bias=False)
