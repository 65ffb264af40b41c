"""What a training is given of the listener's own pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from attacker.config import AttackConfig, FitConfig
from attacker.fit import _samples


def test_a_broken_picture_does_not_end_the_questions(tmp_path: Path) -> None:
    data = tmp_path / "own"
    data.mkdir()
    for name in ("a", "c", "d"):
        Image.fromarray(np.full((32, 32, 3), ord(name), np.uint8)).save(data / f"{name}.png")
    (data / "b.png").write_bytes(b"no picture")
    config = FitConfig(
        attack=AttackConfig(name="inversion-direct"),
        victim="cifar-resnet20",
        split="layer1.2",
        data=str(data),
        frames=2,
        folder=tmp_path / "work",
    )
    assert [sample.name for sample in _samples(config)] == ["a", "c"]
