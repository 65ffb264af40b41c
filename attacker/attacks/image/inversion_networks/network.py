"""F_u: a U-shaped network from features to pixels or to a prior's latent (equations 5, 11 to 13).

Blocks of (transposed) convolution, batch normalisation and ReLU, as in the paper; the features enter at their own size
instead of being resized to the output's, and transposed convolutions grow what leaves. The networks of the three
attacks have equal numbers of parameters: the innermost layer's channels take up the difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from attacker.attacks.image.inversion_networks.features import LEAST_SIDE, Maps

WIDEST = 8
"""Most channels, over the width."""


@dataclass(frozen=True)
class Shape:
    """What a network turns into what.

    features: of one picture, without the batch. side: of the picture. made: (channels, side, side) of the output.
    frames: inverted together. width: channels at the picture's full size.
    """

    features: tuple[int, ...]
    side: int
    made: tuple[int, int, int]
    frames: int = 1
    width: int = 16


class InversionNetwork(nn.Module):
    """Features (B, frames, *features) to (B, frames, *made), features as the victim sends them.

    middle: channels of the innermost layer; None: as many as make networks of one ``side`` and ``width`` equal in size.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, shape: Shape, middle: int | None = None) -> None:
        super().__init__()
        self.shape, self.maps = shape, Maps(shape.features)
        self.middle = _equal_middle(shape) if middle is None else middle
        channels = self.maps.channels
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("deviation", torch.ones(channels, 1, 1))
        together = channels * shape.frames
        self.mix = nn.Conv2d(together, together, 1) if shape.frames > 1 else nn.Identity()
        if isinstance(self.mix, nn.Conv2d):  # begins with every frame by itself
            nn.init.dirac_(self.mix.weight)
            nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

        side = self.maps.side if self.maps.side > 1 else LEAST_SIDE
        self.ladder = _Ladder.of(side, shape.made[1])
        most = WIDEST * shape.width
        base = min(most, shape.width * _factor(shape.side, side))
        inner = min(most, 2 * base)
        entry = base if self.maps.side == 1 else min(channels, 2 * base)
        if self.maps.side == 1:  # a linear layer to a small map
            self.spread: nn.Module = nn.ConvTranspose2d(channels, entry, LEAST_SIDE)
        else:
            self.spread = nn.Conv2d(channels, entry, 1) if entry < channels else nn.Identity()
        self.enter = nn.Sequential(_conv(entry, base), _conv(base, base))
        self.down = nn.Sequential(_conv(base, inner, 2), _conv(inner, inner))
        self.inmost = nn.Sequential(_conv(inner, self.middle, 2), _conv(self.middle, self.middle))
        self.rise = _grow(self.middle, inner)
        self.join = _conv(2 * inner, inner)
        self.top = _grow(inner, base)
        self.close = _conv(2 * base, base)
        leave: list[nn.Module] = []
        now = base
        for _ in range(self.ladder.ups):
            after = max(now // 2, shape.width)
            leave += [_grow(now, after), _conv(after, after)]
            now = after
        for _ in range(self.ladder.downs):
            after = min(now * 2, inner)
            leave.append(_conv(now, after, 2))
            now = after
        self.leave = nn.Sequential(*leave, nn.Conv2d(now, shape.made[0], 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """Logits of pixels, or latents before any normalisation."""
        rows, frames = features.shape[:2]
        x = (self.maps.fold(features.flatten(0, 1)) - self.mean) / self.deviation
        x = self.mix(x.reshape(rows, -1, *x.shape[2:])).reshape(rows * frames, *x.shape[1:])
        x = _to_side(self.spread(x), self.ladder.base)
        outer = self.enter(x)
        inner = self.down(outer)
        x = self.join(torch.cat([_cropped(self.rise(self.inmost(inner)), inner), inner], 1))
        x = self.close(torch.cat([_cropped(self.top(x), outer), outer], 1))
        x = _to_side(self.leave(x), self.shape.made[1])
        return x.reshape(rows, frames, *x.shape[1:])

    def standardise(self, mean: Tensor, deviation: Tensor) -> None:
        """Use these statistics of the queries' maps, (channels,); channels that hardly vary are not blown up."""
        level = deviation.square().mean().sqrt()
        self.mean.copy_(mean[:, None, None])
        self.deviation.copy_(deviation.clamp_min(0.05 * float(level) + 1e-6)[:, None, None])


def parameters(network: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(p.numel() for p in network.parameters())


@dataclass(frozen=True)
class _Ladder:
    """Maps are brought to ``base``, then doubled ``ups`` or halved ``downs`` times."""

    base: int
    ups: int
    downs: int

    @classmethod
    def of(cls, side: int, made: int) -> _Ladder:
        ups = downs = 0
        while side * 2 ** (ups + 1) <= made and made % 2 ** (ups + 1) == 0:
            ups += 1
        while side >= made * 2 ** (downs + 1):
            downs += 1
        return cls(made >> ups if made >= side else side, ups, downs)


def _factor(side: int, base: int) -> int:
    """The power of two, at most :data:`WIDEST`, by which ``side`` is larger than ``base``."""
    factor = 1
    while factor < WIDEST and base * factor * 2 <= side:
        factor *= 2
    return factor


def _equal_middle(shape: Shape) -> int:
    """The innermost channels with which ``shape`` has as many parameters as the network to pixels (or nearest).

    The number of parameters is a quadratic function of them: three counts tell it.
    """
    side = Maps(shape.features).side
    usual = min(WIDEST, 4 * _factor(shape.side, side if side > 1 else LEAST_SIDE)) * shape.width
    pixels = replace(shape, made=(3, shape.side, shape.side))
    if shape.made == pixels.made:
        return usual
    with torch.device("meta"):
        wanted = parameters(InversionNetwork(pixels, usual))
        one, two, three = (parameters(InversionNetwork(shape, middle)) for middle in (1, 2, 3))
    square = (three - 2 * two + one) / 2
    slope = two - one - 3 * square
    rest = one - square - slope - wanted
    root = (math.sqrt(max(slope**2 - 4 * square * rest, 0.0)) - slope) / (2 * square)
    return max(1, round(root))


def _conv(channels: int, out: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def _grow(channels: int, out: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(channels, out, 2, 2, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


def _to_side(x: Tensor, side: int) -> Tensor:
    if x.shape[-1] == side:
        return x
    return functional.interpolate(x, (side, side), mode="bilinear", align_corners=False)


def _cropped(x: Tensor, like: Tensor) -> Tensor:
    """Odd sides were rounded up on the way down."""
    return x[..., : like.shape[-2], : like.shape[-1]]
