"""The oracle's noise is measured on what the edge measures its own on, whatever lies in the folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.calibration import calibrated
from edge.config import DefenseChoice, EdgeConfig
from lab.calibrating import calibration_of
from victims.image.victim import CIFAR_RESNET20

RANDOM = {"weights": "random", "seed": 3}


def test_a_broken_picture_is_passed_over_and_the_next_one_measured(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    rng = np.random.default_rng(0)
    for folder in (whole, broken):
        folder.mkdir()
    for name in "bdfh":
        picture = Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8))
        for folder in (whole, broken):
            picture.save(folder / f"{name}.png")
    for name in "ac":
        (broken / f"{name}.png").write_bytes(b"no picture")

    def measured(folder: Path, frames: int) -> dict[str, float] | None:
        return calibration_of(
            "cifar-resnet20", "layer1.2", RANDOM, "gaussian", {"strength": 0.5},
            source=str(folder), samples=RANDOM, frames=frames,
        )  # fmt: skip

    expected = measured(whole, 4)
    assert measured(broken, 4) == expected != measured(whole, 3)
    edge = EdgeConfig(
        address="127.0.0.1:1",
        victim="cifar-resnet20",
        split="layer1.2",
        victim_settings=RANDOM,
        source=str(broken),
        defense=DefenseChoice(name="gaussian", settings={"strength": 0.5}),
        folder=tmp_path / "edge",
        calibration_frames=4,
    )
    own = calibrated(edge, CIFAR_RESNET20, "layer1.2", CIFAR_RESNET20.cut("layer1.2", RANDOM).head())
    assert {"rms": own.rms, "clip": own.clip} == pytest.approx(expected)
