"""YOLO-v2 (Redmon and Farhadi 2017) on ResNet-50: torchvision's trunk under a convolutional head with five anchors.

The trunk's parameter names are torchvision's, so that a classifier's checkpoint can be grown into a detector. There is
no pass-through from an earlier stage: every block of the trunk is a cut where one tensor crosses.
"""

from __future__ import annotations

from torch import Tensor, nn

from victims.image.resnet import Bottleneck, ResNet

CLASSES = 80
STRIDE = 32

ANCHORS = (
    (0.57273, 0.677385),
    (1.87446, 2.06253),
    (3.33843, 5.47434),
    (7.88282, 3.52778),
    (9.77052, 9.16828),
)
"""Widths and heights in cells, of the authors' configuration for COCO."""

_WIDTH = 1024


class YoloV2(ResNet):
    """Normalised pictures (B, 3, H, W) to (B, anchors * (5 + classes), H / 32, W / 32).

    Per anchor: x, y, w, h, objectness, class scores, not activated; :mod:`victims.image.detections` reads them.
    """

    def __init__(self, blocks: tuple[int, ...] = (3, 4, 6, 3), classes: int = CLASSES, width: int = _WIDTH) -> None:
        super().__init__(Bottleneck, blocks)
        trunk = self.fc.in_features
        del self.fc, self.avgpool
        self.head = nn.Sequential(*_conv(trunk, width), *_conv(width, width))
        self.detect = nn.Conv2d(width, len(ANCHORS) * (5 + classes), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, anchors * (5 + classes), H / 32, W / 32)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        result: Tensor = self.detect(self.head(x))
        return result


def _conv(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.LeakyReLU(0.1)]


def yolo_v2_resnet50() -> YoloV2:
    """For 416x416 pictures and COCO's classes."""
    return YoloV2()
