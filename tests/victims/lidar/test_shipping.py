from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from victims.lidar import models, shipping
from victims.lidar.models import BACKBONE_FILE, SECOND_FILE, load_victim
from victims.lidar.presets import PRESETS, Preset
from victims.lidar.second import SECOND
from victims.lidar.shipping import CARD_FILE, EVALUATION_SEEDS, evaluate, train_and_publish
from victims.lidar.street import ATTACK_SEEDS, STREAM_SEEDS
from victims.lidar.train import Phase, VictimTraining
from victims.lidar.training_data import LabelledScan, fill, street, visible
from victims.lidar.voxels import voxelize
from victims.lidar.weights import digest, load


class Knowing(SECOND):
    """Answers with given boxes: what is measured is the measuring."""

    def __init__(self, answers: list[tuple[np.ndarray, np.ndarray]]) -> None:
        super().__init__()
        self.answers = iter(answers)

    def detect(self, encoded: object, preset: Preset, **_: object) -> list[dict[str, Tensor]]:
        boxes, labels = next(self.answers)
        return [
            {
                "boxes": torch.from_numpy(boxes),
                "scores": torch.linspace(0.9, 0.5, len(boxes)),
                "labels": torch.from_numpy(labels),
            }
        ]


def truth_of(scan: LabelledScan) -> tuple[np.ndarray, np.ndarray]:
    return visible(scan, voxelize(scan.points, PRESETS["street"]), PRESETS["street"])


def test_right_answers_score_one_and_wrong_classes_nothing() -> None:
    scans = [street(seed) for seed in (1, 2, 3, 4)]
    answers = [truth_of(scan) for scan in scans]
    counts = np.bincount(np.concatenate([labels for _, labels in answers]), minlength=3)
    assert counts[0] > 0
    scores = evaluate(Knowing(answers).eval(), scans, PRESETS["street"])
    for score in scores:
        objects = counts[("Car", "Pedestrian", "Cyclist").index(score.label)]
        assert score.objects == objects
        if objects:
            assert score.ap_3d == score.ap_bev == 1.0
    wrong = [(boxes, (labels + 1) % 3) for boxes, labels in answers]
    for score in evaluate(Knowing(wrong).eval(), scans, PRESETS["street"]):
        assert not score.ap_3d > 0


def test_streets_of_the_measurement_are_nobody_elses() -> None:
    default = VictimTraining()
    trained = range(default.first_scan_seed, default.first_scan_seed + default.scans)
    for other in (trained, ATTACK_SEEDS, STREAM_SEEDS):
        assert not set(EVALUATION_SEEDS) & set(other)


def test_training_ends_with_weights_and_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = VictimTraining(
        scans=2,
        backbone=Phase(steps=8, window=6.4, batch=1, peak=1e-3, on_object=1.0),
        head=Phase(steps=8, window=6.4, batch=1, peak=1e-3, on_object=1.0),
    )
    work, into = tmp_path / "work", tmp_path / "weights"
    (work / "scans").mkdir(parents=True)
    fill(work / "scans", settings.first_scan_seed, settings.scans, street)
    monkeypatch.setattr(shipping, "EVALUATION_SEEDS", range(400_000, 400_001))
    card = train_and_publish(work, into, settings)
    assert sorted(p.name for p in into.iterdir()) == [SECOND_FILE.replace("second", "backbone"), SECOND_FILE, CARD_FILE]
    text = card.read_text()
    for file in (BACKBONE_FILE, SECOND_FILE):
        assert digest(load(into / file)) in text
        assert (into / file).stat().st_size < 11_000_000
    assert "eavesplit train victim --seed 0" in text
    assert "2 procedural scans, street seeds 0 to 1" in text
    assert len(re.findall(r"^\| (?:street|kitti) \| \w+ \| \d+ \| 0\.\d+ \| ", text, re.M)) == 2 * 6
    assert str(tmp_path) not in text
    monkeypatch.setattr(models, "WEIGHTS", into)
    assert not load_victim("shipped").training
