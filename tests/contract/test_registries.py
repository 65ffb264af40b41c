"""Every victim and every attack of ours keeps its contract."""

from __future__ import annotations

import numpy as np
import pytest

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.knowledge import KnowledgeCard
from attacker.registry import ATTACKS, attack
from tests.contract.attack import check_attack
from tests.contract.victim import check_victim
from victims.base import Sample, weights_folder
from victims.lidar.street import STREAM_SEEDS, street_scan
from victims.lidar.victim import SECOND_VICTIM, scan_sample
from victims.registry import VICTIMS, victim

SAMPLE = scan_sample(street_scan(STREAM_SEEDS[3], azimuth_deg=(-12, 12)), "full")
SETTINGS = {"preset": "street", "weights": "shipped"}
PICTURE = Sample("noise", {"image": np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)})
CASES = {
    "second": ("conv3.0", SETTINGS, SAMPLE),
    "cifar-resnet20": ("layer2.2", {"weights": "random"}, PICTURE),
    "cifar-vit": ("encoder.layers.encoder_layer_2", {"weights": "random"}, PICTURE),
}
FILES = {
    "concretizer": {"inverter": weights_folder() / "concretizer-conv3.0.safetensors"},
    "concretizer-aware": {"inverter": weights_folder() / "concretizer-aware-conv3.0.safetensors"},
}


def captured() -> list[CapturedFrame]:
    """Two frames at conv3.0: a street, and nothing in range."""
    frames = []
    for number, sample in enumerate((SAMPLE, Sample("empty", {"points": np.zeros((0, 4), np.float32)}))):
        exchange = SECOND_VICTIM.cut("conv3.0", SETTINGS).head().exchange(sample)
        parts = [CapturedPart("up", 0, 0, 1, payload, 1, 2) for payload in next(exchange)]
        frames.append(CapturedFrame("ab" * 16, 0, number, parts))
    return frames


@pytest.mark.parametrize("name", CASES)
def test_victim(name: str) -> None:
    check_victim(victim(name), *CASES[name])


def test_every_victim_is_of_a_kind_that_was_checked() -> None:
    assert {type(victim(name)) for name in VICTIMS} == {type(victim(name)) for name in CASES}


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str) -> None:
    knows = "aware" if name.endswith("-aware") else "unaware"
    card = KnowledgeCard(victim="white", defense=knows)
    session = SessionInfo("ab" * 16, "second", "conv3.0", "", ("sparse_voxels",))
    made = check_attack(attack(name), card, session, Grants(FILES.get(name, {}), settings={"seed": 1}), captured())
    assert [len(item.arrays["points"]) > 0 for item in made] == [True, False]
