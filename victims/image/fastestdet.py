"""FastestDet (dog-qiuqiu/FastestDet): a detector of COCO's 80 classes with a quarter of a million parameters.

The parameter names are those of the published checkpoint, which loads strictly. Input: BGR in 0..1, 352x352. The
backbone is a ShuffleNetV2 (Ma et al. 2018) whose three stages are joined at the middle one's size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 80
CELLS = 22
"""Of the result, along each side."""

_WIDTHS = (24, 48, 96, 192)
_REPEATS = (4, 8, 4)
_NECK = 96


def _conv(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(after),
    ]


class ShuffleBlock(nn.Module):
    """stride 1: even channels pass, odd ones go through ``branch_main``. stride 2: both branches see all of them."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        width = after // 2
        self.branch_main = nn.Sequential(
            *_conv(before, width, 1),
            nn.ReLU(),
            *_conv(width, width, 3, stride, width),
            *_conv(width, width, 1),
            nn.ReLU(),
        )
        if stride == 2:
            self.branch_proj = nn.Sequential(
                *_conv(before, before, 3, stride, before), *_conv(before, before, 1), nn.ReLU()
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, after, H / stride, W / stride)."""
        if self.stride == 2:
            return torch.cat((self.branch_proj(x), self.branch_main(x)), 1)
        return torch.cat((x[:, 0::2], self.branch_main(x[:, 1::2])), 1)


class ShuffleNetV2(nn.Module):
    """Three stages at 1/8, 1/16 and 1/32 of the input's size."""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*_conv(3, _WIDTHS[0], 3, 2), nn.ReLU())
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for number, repeats in enumerate(_REPEATS):
            before, after = _WIDTHS[number], _WIDTHS[number + 1]
            blocks = [ShuffleBlock(before, after, 2)]
            blocks += [ShuffleBlock(after // 2, after, 1) for _ in range(repeats - 1)]
            self.add_module(f"stage{number + 2}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) to the three stages' results."""
        first = self.get_submodule("stage2")(self.maxpool(self.first_conv(x)))
        second = self.get_submodule("stage3")(first)
        return first, second, self.get_submodule("stage4")(second)


class _Pointwise(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1x1 = nn.Sequential(*_conv(before, after, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv1x1(x)
        return result


class SPP(nn.Module):
    """Three fields of view (one, two and three 5x5 convolutions), joined and added to what came in."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.Conv1x1 = _Pointwise(before, width)
        for number in (1, 2, 3):
            steps = [layer for _ in range(number) for layer in (*_conv(width, width, 5, groups=width), nn.ReLU())]
            self.add_module(f"S{number}", nn.Sequential(*steps))
        self.output = nn.Sequential(*_conv(3 * width, width, 1))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, width, H, W)."""
        x = self.Conv1x1(x)
        seen = torch.cat([self.get_submodule(name)(x) for name in ("S1", "S2", "S3")], 1)
        result: Tensor = self.relu(x + self.output(seen))
        return result


class _Branch(nn.Module):
    def __init__(self, width: int, after: int) -> None:
        super().__init__()
        self.conv5x5 = nn.Sequential(*_conv(width, width, 5, groups=width), nn.ReLU(), *_conv(width, after, 1))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv5x5(x)
        return result


class DetectHead(nn.Module):
    """Objectness (sigmoid), four box values as they are, class scores (softmax), joined."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.conv1x1 = _Pointwise(width, width)
        self.obj_layers, self.reg_layers, self.cls_layers = (
            _Branch(width, 1),
            _Branch(width, 4),
            _Branch(width, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to (B, 5 + classes, H, W)."""
        x = self.conv1x1(x)
        return torch.cat((self.obj_layers(x).sigmoid(), self.reg_layers(x), self.cls_layers(x).softmax(1)), 1)


class FastestDet(nn.Module):
    """Pictures BGR (B, 3, 352, 352) in 0..1 to (B, 85, 22, 22); :mod:`victims.image.detections` reads it."""

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.backbone = ShuffleNetV2()
        self.avg_pool = nn.AvgPool2d(3, 2, 1)
        self.SPP = SPP(sum(_WIDTHS[1:]), _NECK)
        self.detect_head = DetectHead(_NECK, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 5 + classes, H / 16, W / 16)."""
        first, second, third = self.backbone(x)
        joined = torch.cat((self.avg_pool(first), second, F.interpolate(third, scale_factor=2.0)), 1)
        result: Tensor = self.detect_head(self.SPP(joined))
        return result


def fastestdet() -> FastestDet:
    """FastestDet for COCO."""
    return FastestDet()
