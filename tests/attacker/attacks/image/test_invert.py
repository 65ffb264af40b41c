"""What docs/images.md says about an attack on plain tensors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from victims.image.victim import CIFAR_RESNET20

PAGE = Path(__file__).resolve().parents[4] / "docs" / "images.md"


def test_the_page_inverts_what_the_edge_would_send() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    fewer, replaced = re.subn(r"iterations=600\b", "iterations=100", block)
    assert replaced == 1
    held: dict[str, object] = {}
    exec(compile(fewer, str(PAGE), "exec"), held)
    sample, features, found = held["sample"], held["features"], held["found"]
    cut = CIFAR_RESNET20.cut("layer1.2", {"weights": "shipped"})
    (payload,) = next(cut.head().exchange(sample))
    torch.testing.assert_close(features, payload.tensors["features"])
    truth, images = sample.arrays["image"].astype(float), found.images
    assert images.shape == (1, 32, 32, 3) and images.dtype == np.uint8
    grey = np.square(128 - truth).mean()
    assert np.square(images[0] - truth).mean() < 0.4 * grey  # 4 dB nearer than where it began
