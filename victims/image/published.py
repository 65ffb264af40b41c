"""Victims for photographs whose weights come by path: two detectors, a segmenter, CLIP's image encoder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from victims.image import preprocessing
from victims.image.clip import clip_vit_b_32, image_encoder_keys
from victims.image.detections import fastestdet_boxes, yolo_boxes
from victims.image.espnet import ESPNet, ESPNetC
from victims.image.fastestdet import fastestdet
from victims.image.victim import RESNET50, ImageVictim
from victims.image.yolo import yolo_v2_resnet50


def class_map(answer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores (1, classes, H, W) under ``logits`` to ``class_map``, uint8 (H, W): the best class of each place."""
    return {"class_map": answer["logits"][0].argmax(0).astype(np.uint8)}


def unit_embedding(answer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An embedding (1, K) under ``logits`` to ``embedding``, float32 (1, K)."""
    return {"embedding": answer["logits"]}


FASTESTDET = ImageVictim(
    "fastestdet",
    fastestdet,
    (352, 352),
    (
        "backbone.first_conv",
        "backbone.maxpool",
        *(f"backbone.stage2.{i}" for i in range(4)),
        "SPP.Conv1x1",
        "SPP",
        "detect_head.conv1x1",
    ),
    preprocessing.PLAIN_BGR,
    whole=True,
    task=fastestdet_boxes,
)

YOLO_V2 = ImageVictim(
    "yolo-v2-resnet50",
    yolo_v2_resnet50,
    (416, 416),
    tuple(point for point in RESNET50.points if point != "avgpool"),
    preprocessing.PLAIN,
    layers=RESNET50.layers,
    whole=True,
    task=yolo_boxes,
)


def _espnet(name: str, size: tuple[int, int]) -> ImageVictim:
    return ImageVictim(
        name,
        ESPNetC,
        size,
        ("b2", "level3_0", "b3"),
        preprocessing.CITYSCAPES_BGR,
        whole=True,
        task=class_map,
    )


ESPNET = _espnet("espnet", (512, 1024))
ESPNET_512 = _espnet("espnet-512", (256, 512))
ESPNET_FULL = ImageVictim(
    "espnet-full",
    ESPNet,
    (512, 1024),
    ("conv",),  # the decoder takes three levels of the encoder: before it, more than one tensor crosses
    preprocessing.CITYSCAPES_BGR,
    whole=True,
    task=class_map,
)

CLIP_VIT_B_32 = ImageVictim(
    "clip-vit-b-32",
    clip_vit_b_32,
    (224, 224),
    tuple(f"vision_model.encoder.layers.{i}" for i in range(12)),
    preprocessing.CLIP,
    layers={
        **{f"L{i + 1}": f"vision_model.encoder.layers.{i}" for i in range(12)},
        "embedding": "visual_projection",
    },
    task=unit_embedding,
    keys=image_encoder_keys,
)
