"""The published ResNet-20, cut and streamed over real processes, answers what it answers whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.knowledge import KnowledgeCard
from lab.recorded import outcomes, truths
from lab.stream import Stream, StreamSettings
from victims.image.cifar import read
from victims.image.mapping import published_cifar_resnet
from victims.image.preprocessing import IMAGENET, pictures_of

pytestmark = pytest.mark.real

FRAMES = 4


def test_the_published_resnet_streams_and_recognises(real_data: Path, tmp_path: Path) -> None:
    weights = real_data / "weights" / "cifar10_resnet" / "resnet20-12fca82f.th"
    settings = StreamSettings(
        victim="cifar-resnet20",
        split="layer2.2",
        victim_settings={"weights": str(weights), "set": "lossless-test"},
        attacks=[],
        knowledge=KnowledgeCard(),
        source=str(real_data / "images"),
        frames=FRAMES,
    )
    with Stream(settings, tmp_path / "run") as running:
        result = running.run()
    counts = {key: result.edge[key] for key in ("sent", "answered", "failed", "unreadable")}
    assert counts == {"sent": FRAMES, "answered": FRAMES, "failed": 0, "unreadable": 0}
    pictures = read(real_data / "images", "lossless-test", FRAMES)
    with torch.inference_mode():
        whole = published_cifar_resnet(weights)(IMAGENET.normalised(pictures_of(pictures.images))).numpy()
    edge = tmp_path / "run" / "edge"
    answers, seen = dict(outcomes(edge)), dict(truths(edge))
    assert sorted(answers) == sorted(seen) == list(range(FRAMES))
    for frame in range(FRAMES):
        assert np.array_equal(seen[frame].arrays["image"], pictures.images[frame])
        np.testing.assert_allclose(answers[frame]["logits"][0], whole[frame], atol=1e-4)
    given = np.array([answers[frame]["logits"][0].argmax() for frame in range(FRAMES)])
    assert (given == pictures.labels).sum() >= FRAMES - 1  # 94 of all 100
