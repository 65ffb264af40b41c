"""``VoxelBackBone8x``, the sparse 3D backbone of SECOND, and the points where it can be cut.

Layers and parameter names are OpenPCDet's (``pcdet/models/backbones_3d/spconv_backbone.py``), so its
checkpoints load unchanged.  All convolutions are without bias and followed by BatchNorm (eps 1e-3, momentum
0.01) and ReLU.  Between the strided layers sites are kept in canonical order, which makes head and tail
together equal to the whole network bit for bit on one thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from victims.lidar import sparse
from victims.lidar.presets import Preset
from victims.lidar.voxels import Sites
from wire.errors import InputError

Zyx = tuple[int, int, int]


@dataclass(frozen=True)
class SplitPoint:
    """A place where the backbone can be cut.

    name: ``convN.0`` right after a strided layer with its BatchNorm and ReLU (the taps of ConcreTizer,
    ICLR 2025), ``convN`` after the stage's two submanifold layers (what a deployed split would ship).
    depth: downsampling layers in the head, 1 to 4.  channels: of the payload.  stride: input voxels per site
    along z, y, x.
    """

    name: str
    depth: int
    channels: int
    stride: Zyx

    def grid(self, preset: Preset) -> Zyx:
        """Spatial shape z, y, x of the payload under ``preset``."""
        shape = preset.shape
        for kernel, stride, padding in _DOWN[: self.depth]:
            z, y, x = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape, kernel, stride, padding, strict=True))
            shape = (z, y, x)
        return shape


# (kernel, stride, padding) along z, y, x of the four downsampling layers.
_DOWN: tuple[tuple[Zyx, Zyx, Zyx], ...] = (
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ((3, 3, 3), (2, 2, 2), (0, 1, 1)),
    ((3, 1, 1), (2, 1, 1), (0, 0, 0)),
)

SPLITS: dict[str, SplitPoint] = {
    point.name: point
    for point in (
        SplitPoint("conv2.0", 1, 32, (2, 2, 2)),
        SplitPoint("conv2", 1, 32, (2, 2, 2)),
        SplitPoint("conv3.0", 2, 64, (4, 4, 4)),
        SplitPoint("conv3", 2, 64, (4, 4, 4)),
        SplitPoint("conv4.0", 3, 64, (8, 8, 8)),
        SplitPoint("conv4", 3, 64, (8, 8, 8)),
        SplitPoint("conv_out", 4, 128, (16, 8, 8)),
    )
}


def split_point(name: str) -> SplitPoint:
    """The split point called ``name``; InputError names the ones that exist."""
    try:
        return SPLITS[name]
    except KeyError:
        raise InputError(f"no split point {name!r} in VoxelBackBone8x; there are {', '.join(SPLITS)}") from None


def _norm_relu(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01), nn.ReLU()


def _submanifold(c_in: int, c_out: int, key: str) -> nn.Module:
    return sparse.sequential(sparse.submanifold(c_in, c_out, key), *_norm_relu(c_out))


def _down(c_in: int, c_out: int, depth: int, key: str) -> nn.Module:
    kernel, stride, padding = _DOWN[depth - 1]
    return sparse.sequential(sparse.strided(c_in, c_out, kernel, stride, padding, key), *_norm_relu(c_out))


def _stage(c_in: int, c_out: int, depth: int) -> nn.Module:
    return sparse.sequential(
        _down(c_in, c_out, depth, f"spconv{depth + 1}"),
        _submanifold(c_out, c_out, f"subm{depth + 1}"),
        _submanifold(c_out, c_out, f"subm{depth + 1}"),
    )


class VoxelBackBone8x(nn.Module):
    """Voxel features (V, 4) on a grid of 41 x Y x X to features (N, 128) on 2 x Y/8 x X/8; 711,872 parameters."""

    def __init__(self, in_channels: int = 4) -> None:
        super().__init__()
        self.conv_input = _submanifold(in_channels, 16, "subm1")
        self.conv1 = sparse.sequential(_submanifold(16, 16, "subm1"))
        self.conv2 = _stage(16, 32, 1)
        self.conv3 = _stage(32, 64, 2)
        self.conv4 = _stage(64, 64, 3)
        self.conv_out = _down(64, 128, 4, "spconv_down2")

    def _sections(self) -> list[tuple[str, nn.Module]]:
        """The layers in order, cut at every split point; each section carries the name of its end."""
        stem = sparse.sequential(self.conv_input, self.conv1)
        sections: list[tuple[str, nn.Module]] = [("conv1", stem)]
        for name in ("conv2", "conv3", "conv4"):
            stage = getattr(self, name)
            sections += [(f"{name}.0", stage[0]), (name, sparse.sequential(stage[1], stage[2]))]
        return [*sections, ("conv_out", self.conv_out)]

    def head(self, voxels: Sites, split: str) -> Sites:
        """From voxels to the payload of split point ``split``, sites in canonical order."""
        split_point(split)
        sites = voxels.canonical()
        for name, layers in self._sections():
            sites = sparse.run(layers, sites)
            if name == split:
                break
        return sites

    def tail(self, payload: Sites, split: str) -> Sites:
        """From the payload of ``split`` to the output of ``conv_out``; any order of sites is accepted.

        ValueError when the payload's channels are not the split point's.
        """
        point = split_point(split)
        if payload.features.shape[1] != point.channels:
            raise ValueError(f"{split} carries {point.channels} channels, the payload has {payload.features.shape[1]}")
        sites = payload.canonical()
        passed = False
        for name, layers in self._sections():
            if passed:
                sites = sparse.run(layers, sites)
            passed = passed or name == split
        return sites

    def forward(self, voxels: Sites) -> Sites:
        """From voxels to the output of ``conv_out``."""
        return self.head(voxels, "conv_out")

    def taps(self, voxels: Sites) -> dict[str, Sites]:
        """The payloads of all split points in one pass, by name."""
        sites = voxels.canonical()
        taken: dict[str, Sites] = {}
        for name, layers in self._sections():
            sites = sparse.run(layers, sites)
            if name in SPLITS:
                taken[name] = sites
        return taken


def random_backbone(seed: int, scans: Iterable[Sites]) -> VoxelBackBone8x:
    """An untrained backbone that still passes signals: the floor of what a victim's features can hide.

    Weights are normal with variance 2 / (fan_in / 3), since about a third of a window's taps are present in a
    LiDAR scan; BatchNorm statistics are the plain average over ``scans`` (voxels; at least one with sites).
    Returned in eval mode without gradients.
    """
    backbone = VoxelBackBone8x()
    initialise_sparse(backbone, seed)
    calibrate(backbone, scans)
    return backbone.eval().requires_grad_(False)


def initialise_sparse(network: nn.Module, seed: int) -> None:
    """Draw every sparse kernel of ``network`` from a normal distribution of variance 2 / (fan_in / 3)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 5:  # (out, z, y, x, in)
                parameter.normal_(0.0, (6.0 / parameter[0].numel()) ** 0.5, generator=generator)


def calibrate(network: nn.Module, scans: Iterable[Sites]) -> None:
    """Set BatchNorm statistics to the plain average over ``scans``; ValueError when none has a site."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    network.train()
    seen = 0
    with torch.no_grad(), sparse.one_thread():
        for scan in scans:
            if len(scan) > 1:
                network(scan)
                seen += 1
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    if not seen:
        raise ValueError("BatchNorm cannot be calibrated: no scan has points in the victim's range")
