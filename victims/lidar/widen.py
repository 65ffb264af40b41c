"""A narrow detector head grown into a wide one that computes the same (Net2Net, Chen et al., ICLR 2016).

The narrow network occupies the first channels of every layer of the wide one; layers that the narrow one does not have
begin as the identity there (what they are given has passed a ReLU). The other channels begin at random and are read by
nothing, so that training can take them into use.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from victims.lidar.second import AnchorHeadSingle, BaseBEVBackbone

SPARE_GAIN = 0.5
"""Random channels begin with this share of the usual deviation."""


@torch.no_grad()
def widen(
    narrow: BaseBEVBackbone, narrow_head: AnchorHeadSingle, wide: BaseBEVBackbone, wide_head: AnchorHeadSingle
) -> None:
    """Write the narrow network into the wide one. ValueError when it does not fit (more layers, or wider ones).

    Both give the same predictions afterwards in eval mode, up to rounding.
    """
    for thin, thick in zip(narrow.blocks, wide.blocks, strict=True):
        _block(list(_pairs(thin)), list(_pairs(thick)))
    for thin, thick in zip(narrow.deblocks, wide.deblocks, strict=True):
        _up(next(_pairs(thin)), next(_pairs(thick)))
    levels = len(narrow.deblocks)
    for name in ("conv_cls", "conv_box", "conv_dir_cls"):
        _head(getattr(narrow_head, name), getattr(wide_head, name), levels)


def _pairs(layers: nn.Module) -> Iterator[tuple[nn.Module, nn.BatchNorm2d]]:
    found = list(layers.children())
    for layer, norm in pairwise(found):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
            yield layer, norm


def _block(thin: list[tuple[nn.Module, nn.BatchNorm2d]], thick: list[tuple[nn.Module, nn.BatchNorm2d]]) -> None:
    if len(thin) > len(thick):
        raise ValueError(f"{len(thin)} layers do not fit into {len(thick)}")
    width = thin[-1][1].num_features
    for number, (layer, norm) in enumerate(thick):
        weight = _weight(layer)
        _spare(weight)
        if number < len(thin):
            given, given_norm = thin[number]
            small = _weight(given)
            out, into = small.shape[:2]
            if out > weight.shape[0] or into > weight.shape[1]:
                raise ValueError(f"a layer {tuple(small.shape)} does not fit into {tuple(weight.shape)}")
            weight[:out] = 0
            weight[:out, :into] = small
            _norm(given_norm, norm, out)
        else:
            weight[:width] = 0
            weight[range(width), range(width), 1, 1] = 1
            norm.running_mean[:width], norm.running_var[:width] = 0, 1  # type: ignore[index]
            norm.weight[:width], norm.bias[:width] = (1 + norm.eps) ** 0.5, 0


def _up(thin: tuple[nn.Module, nn.BatchNorm2d], thick: tuple[nn.Module, nn.BatchNorm2d]) -> None:
    small, weight = _weight(thin[0]), _weight(thick[0])  # transposed: (in, out, y, x)
    _spare(weight)
    weight[:, : small.shape[1]] = 0
    weight[: small.shape[0], : small.shape[1]] = small
    _norm(thin[1], thick[1], small.shape[1])


def _head(thin: nn.Conv2d, thick: nn.Conv2d, levels: int) -> None:
    small, large = thin.in_channels // levels, thick.in_channels // levels
    thick.weight.zero_()
    for level in range(levels):
        source = thin.weight[:, level * small : (level + 1) * small]
        thick.weight[:, level * large : level * large + small] = source
    if thick.bias is not None and thin.bias is not None:
        thick.bias.copy_(thin.bias)


def _norm(thin: nn.BatchNorm2d, thick: nn.BatchNorm2d, channels: int) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(thick, name)[:channels] = getattr(thin, name)


def _spare(weight: Tensor) -> None:
    nn.init.kaiming_normal_(weight, nonlinearity="relu")
    weight.mul_(SPARE_GAIN)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(layer).__name__} has no weight")
    return weight
