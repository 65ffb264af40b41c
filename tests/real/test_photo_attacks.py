"""The white-box attacks at photo size, on the published networks and TAESD: a few iterations go the right way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.registry import attack
from victims.base import Sample
from victims.image.pictures import read_picture, squeezed
from victims.image.published import ESPNET_512, FASTESTDET
from victims.image.victim import ImageVictim

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("chosen", "split", "weights", "picture", "name", "settings"),
    [
        (
            FASTESTDET, "backbone.maxpool", "fastestdet/fastestdet_coco_280epoch.pth", "images/photos/kodim05_384.png",
            "direct", {"iterations": 30},
        ),
        (
            ESPNET_512, "b2", "espnet/encoder_p2_q8.pth", "video/drive_half_second/008.png",
            "decoder", {"iterations": 3, "lr": 0.3, "precision": "bfloat16"},
        ),
    ],
)  # fmt: skip
def test_a_photograph_comes_nearer(
    real_data: Path, chosen: ImageVictim, split: str, weights: str, picture: str, name: str, settings: dict
) -> None:
    checkpoint = real_data / "weights" / weights
    truth = squeezed(read_picture(real_data / picture), chosen.size)
    cut = chosen.cut(split, {"weights": str(checkpoint)})
    (payload,) = next(cut.head().exchange(Sample("x", {"image": truth})))
    frame = CapturedFrame("5e55", 0, 0, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])
    session = SessionInfo("5e55", chosen.name, split, cut.weights_sha256.hex(), ("dense",))
    grants = Grants({"weights": checkpoint, "prior": real_data / "weights" / "taesd"}, settings=settings)
    (found,) = attack(name).open(session, grants).observe([frame])
    assert found.meta["same_weights"] is True
    image, curve = found.arrays["image"], found.arrays["curve"]
    assert image.shape == truth.shape
    assert curve[-1, 1] < 0.95 * curve[0, 1]  # the feature loss, from a grey picture on
    grey = np.full(truth.shape, 128)
    assert np.square(image - truth.astype(float)).mean() < 0.95 * np.square(grey - truth.astype(float)).mean()
