"""SECOND: a sparse 3D backbone, a bird's-eye-view backbone and an anchor head (Yan et al., Sensors 2018).

Modules and parameter names are OpenPCDet's, so that published checkpoints load unchanged.  The network is
fully convolutional: one set of weights serves every preset.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from victims.lidar import sparse
from victims.lidar.anchors import ANCHORS_PER_CELL, anchors
from victims.lidar.backbone import VoxelBackBone8x
from victims.lidar.boxes import apply_direction, decode
from victims.lidar.nms import rotated_nms
from victims.lidar.presets import CLASSES, Preset
from victims.lidar.voxels import Sites

Predictions = tuple[Tensor, Tensor, Tensor]

#: First bias of a classifier of rare things: a probability of 1 %, or the empty street drowns the rest (focal
#: loss, Lin et al. 2017, section 4.1).
PRIOR = -4.59512


class BaseBEVBackbone(nn.Module):
    """Two levels of 2D convolutions on the bird's-eye-view map, both brought to the map's own resolution."""

    def __init__(
        self, in_channels: int = 256, layers: Sequence[int] = (5, 5), filters: Sequence[int] = (128, 256), up: int = 256
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.deblocks = nn.ModuleList()
        for level, (count, width) in enumerate(zip(layers, filters, strict=True)):
            stride = 1 if level == 0 else 2
            block: list[nn.Module] = [nn.ZeroPad2d(1), nn.Conv2d(in_channels, width, 3, stride=stride, bias=False)]
            block += _norm_relu(width)
            for _ in range(count):
                block += [nn.Conv2d(width, width, 3, padding=1, bias=False), *_norm_relu(width)]
            self.blocks.append(nn.Sequential(*block))
            scale = 2**level
            upsample = nn.ConvTranspose2d(width, up, scale, stride=scale, bias=False)
            self.deblocks.append(nn.Sequential(upsample, *_norm_relu(up)))
            in_channels = width
        self.out_channels = up * len(filters)

    def forward(self, bev: Tensor) -> Tensor:
        """(B, C, Y, X) to (B, out_channels, Y, X); Y and X even."""
        levels = []
        for block, deblock in zip(self.blocks, self.deblocks, strict=True):
            bev = block(bev)
            levels.append(deblock(bev))
        return torch.cat(levels, dim=1)


class AnchorHeadSingle(nn.Module):
    """1x1 convolutions that give class logits, box codes and direction logits for every anchor."""

    def __init__(self, in_channels: int = 512) -> None:
        super().__init__()
        self.conv_cls = nn.Conv2d(in_channels, ANCHORS_PER_CELL * len(CLASSES), 1)
        self.conv_box = nn.Conv2d(in_channels, ANCHORS_PER_CELL * 7, 1)
        self.conv_dir_cls = nn.Conv2d(in_channels, ANCHORS_PER_CELL * 2, 1)
        nn.init.constant_(_bias(self.conv_cls), PRIOR)
        nn.init.normal_(self.conv_box.weight, std=0.001)

    def forward(self, bev: Tensor) -> Predictions:
        """(B, C, Y, X) to class logits (B, A, 3), codes (B, A, 7), direction logits (B, A, 2); A = Y * X * 6."""
        batch = len(bev)

        def rows(x: Tensor, width: int) -> Tensor:
            return x.permute(0, 2, 3, 1).reshape(batch, -1, width)

        return rows(self.conv_cls(bev), len(CLASSES)), rows(self.conv_box(bev), 7), rows(self.conv_dir_cls(bev), 2)


class SECOND(nn.Module):
    """The whole detector; 5,325,576 parameters.

    align_center: where anchors lie in their cells (see ``anchors``); False for published checkpoints.
    """

    def __init__(self, *, align_center: bool = True) -> None:
        super().__init__()
        self.align_center = align_center
        self.backbone_3d = VoxelBackBone8x()
        self.backbone_2d = BaseBEVBackbone()
        self.dense_head = AnchorHeadSingle(self.backbone_2d.out_channels)

    @property
    def backbone(self) -> VoxelBackBone8x:
        """The sparse 3D backbone, where the network can be cut."""
        return self.backbone_3d

    def predict(self, encoded: Sites) -> Predictions:
        """From the backbone's output (2 layers in z, 128 channels) to raw predictions per anchor."""
        predictions: Predictions = self.dense_head(self.backbone_2d(height_compression(encoded)))
        return predictions

    def forward(self, voxels: Sites) -> Predictions:
        """From voxels to raw predictions per anchor."""
        return self.predict(self.backbone_3d(voxels))

    @torch.no_grad()
    def detect(
        self,
        encoded: Sites,
        preset: Preset,
        *,
        score: float = 0.1,
        overlap: float = 0.01,
        pre: int = 1024,
        post: int = 100,
    ) -> list[dict[str, Tensor]]:
        """Detections of every scan in ``encoded`` (output of the backbone under ``preset``).

        One dictionary a scan: boxes (K, 7) float32, scores (K,) float32, labels (K,) int64 indices into CLASSES,
        best score first.  Boxes below ``score`` are dropped, and those that overlap a better one of any class by
        more than ``overlap`` (OpenPCDet's SECOND_KITTI settings, except for its limits of 4096 and 500 boxes).
        """
        _, y, x = encoded.shape
        if (y, x) != preset.bev:
            raise ValueError(f"features on {y} x {x} cells do not belong to preset {preset.name} with {preset.bev}")
        logits, codes, directions = self.predict(encoded)
        grid = _grid(preset, self.align_center).to(codes.device)
        results = []
        for b in range(encoded.batch):
            best, labels = logits[b].sigmoid().max(dim=1)
            likely = torch.nonzero(best >= score).squeeze(1)
            boxes = decode(codes[b, likely], grid[likely])
            boxes[:, 6] = apply_direction(boxes[:, 6], directions[b, likely].argmax(dim=1))
            keep = rotated_nms(boxes, best[likely], overlap, pre=pre, post=post)
            results.append({"boxes": boxes[keep], "scores": best[likely][keep], "labels": labels[likely][keep]})
        return results


def height_compression(encoded: Sites) -> Tensor:
    """Sites with C channels on Z x Y x X to a map (B, C * Z, Y, X), channel-major as in OpenPCDet."""
    volume = sparse.dense(encoded)
    b, c, z, y, x = volume.shape
    return volume.view(b, c * z, y, x)


@lru_cache(maxsize=8)
def _grid(preset: Preset, align_center: bool) -> Tensor:
    return anchors(preset, align_center=align_center).reshape(-1, 7)


def _bias(layer: nn.Conv2d) -> Tensor:
    if layer.bias is None:
        raise TypeError("the head's convolutions have a bias")
    return layer.bias


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU()]
