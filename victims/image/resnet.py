"""ResNets (He et al. 2016) with torchvision's parameter names, for photographs and for 32x32 pictures.

Written here because torchvision cannot be installed beside a CPU build of torch; a published state dict of
``resnet18`` or ``resnet50`` loads strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from wire.errors import InputError

Shortcut = Literal["projection", "padding"]


class Padding(nn.Module):
    """A shortcut without weights ("option A"): every ``stride``-th pixel, missing channels zero, half on each side."""

    def __init__(self, stride: int, missing: int) -> None:
        super().__init__()
        self.stride, self.before, self.after = stride, missing // 2, missing - missing // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C + missing, H / stride, W / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def _shortcut(kind: Shortcut, before: int, after: int, stride: int) -> nn.Module | None:
    if before == after and stride == 1:
        return None
    if kind == "padding":
        return Padding(stride, after - before)
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, before: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(shortcut, before, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, width, H / stride, W / stride)."""
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        past = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + past)
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 (which carries the stride, as in torchvision), 1x1 to four times the width, and a shortcut."""

    expansion = 4

    def __init__(self, before: int, width: int, stride: int, shortcut: Shortcut) -> None:
        super().__init__()
        after = width * self.expansion
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=False)
        self.downsample = _shortcut(shortcut, before, after, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) to (B, 4 * width, H / stride, W / stride)."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(out)))))
        past = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + past)
        return result


class ResNet(nn.Module):
    """Stem, stages ``layer1`` to ``layerN``, average pool, ``fc``.

    blocks: per stage. widths: of the stages before expansion. small: a stem for 32x32 pictures (3x3, stride 1, no
    pooling) instead of 7x7, stride 2 and a maximum pool.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        classes: int = 1000,
        *,
        small: bool = False,
        shortcut: Shortcut = "projection",
    ) -> None:
        super().__init__()
        channels = widths[0]
        if small:
            self.conv1 = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=False)
        self.maxpool: nn.Module = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        self.stages = tuple(f"layer{number}" for number in range(1, len(widths) + 1))
        for number, (name, width, count) in enumerate(zip(self.stages, widths, blocks, strict=True)):
            row: list[nn.Module] = []
            for index in range(count):
                row.append(block(channels, width, 2 if number and not index else 1, shortcut))
                channels = width * block.expansion
            self.add_module(name, nn.Sequential(*row))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Normalised pictures (B, 3, H, W) to logits (B, classes)."""
        logits: Tensor = self.fc(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Normalised pictures (B, 3, H, W) to what the last layer classifies, (B, channels)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        pooled: Tensor = self.avgpool(x)
        return pooled.flatten(1)


def resnet18(classes: int = 1000) -> ResNet:
    """ResNet-18 for photographs."""
    return ResNet(BasicBlock, (2, 2, 2, 2), classes=classes)


def resnet50(classes: int = 1000) -> ResNet:
    """ResNet-50 for photographs."""
    return ResNet(Bottleneck, (3, 4, 6, 3), classes=classes)


def cifar_resnet(depth: int, classes: int = 10, widths: Sequence[int] = (16, 32, 64)) -> ResNet:
    """The CIFAR ResNet of ``depth`` 6 n + 2 layers (He et al. 2016, section 4.2), shortcuts without weights."""
    if depth < 8 or (depth - 2) % 6:
        raise InputError(f"a CIFAR ResNet of {depth} layers; accepted: 6 n + 2, such as 20, 32, 56")
    blocks = (depth - 2) // 6
    return ResNet(BasicBlock, (blocks,) * 3, widths, classes, small=True, shortcut="padding")
