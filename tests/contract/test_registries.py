"""Every victim and every attack of ours keeps its contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.knowledge import KnowledgeCard
from attacker.registry import ATTACKS, attack
from tests.contract.attack import check_attack
from tests.contract.tiny_prior import write_tiny_prior
from tests.contract.victim import check_victim
from victims.base import Sample, weights_folder
from victims.lidar.street import STREAM_SEEDS, street_scan
from victims.lidar.victim import SECOND_VICTIM, scan_sample
from victims.registry import VICTIMS, victim
from wire.payload import Meta, Payload

SAMPLE = scan_sample(street_scan(STREAM_SEEDS[3], azimuth_deg=(-12, 12)), "full")
SETTINGS = {"preset": "street", "weights": "shipped"}
PICTURE = Sample("noise", {"image": np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)})
TRAINING = {"rays": 40, "samples": 8, "levels": 2, "rows_log2": 8, "steps": 5}
RAYS = next(iter(victim("splitnerf").samples("procedural", {**TRAINING, "side": 16, "views": 3})))
CASES = {
    "splitnerf": ("mid", TRAINING, RAYS),
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


LIDAR = [name for name in ATTACKS if attack(name).modality == "lidar"]
PICTURES = [name for name in ATTACKS if attack(name).modality == "image"]
RADIANCE = [name for name in ATTACKS if attack(name).modality == "radiance"]  # by their own tests, on a training
QUICK = {"iterations": 3, "steps": 2, "snapshots": 2, "queries": 16, "epochs": 1, "batch": 8, "width": 4}


def test_every_attack_is_of_a_modality_that_is_checked() -> None:
    assert sorted([*LIDAR, *PICTURES, *RADIANCE]) == sorted(ATTACKS)


@pytest.mark.parametrize("name", LIDAR)
def test_attack(name: str) -> None:
    knows = "aware" if name.endswith("-aware") else "unaware"
    card = KnowledgeCard(victim="white", defense=knows)
    session = SessionInfo("ab" * 16, "second", "conv3.0", "", ("sparse_voxels",))
    made = check_attack(attack(name), card, session, Grants(FILES.get(name, {}), settings={"seed": 1}), captured())
    assert [len(item.arrays["points"]) > 0 for item in made] == [True, False]


@pytest.fixture(scope="module")
def granted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny prior, and sixteen auxiliary pictures."""
    folder = tmp_path_factory.mktemp("granted")
    np.savez(folder / "auxiliary.npz", images=noise(16, seed=1))
    return {"prior": write_tiny_prior(folder / "prior"), "auxiliary": folder / "auxiliary.npz"}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_attack(name: str, granted: dict[str, Path], tmp_path: Path) -> None:
    victim_settings = {"weights": "random", "seed": 0}
    head = victim("cifar-resnet20").cut("layer1.0", victim_settings).head()

    def leaves(sample: Sample) -> list[Payload]:
        return list(next(head.exchange(sample)))

    frames = [
        CapturedFrame("ab" * 16, 0, number, [CapturedPart("up", 0, 0, 1, leaves(sample)[0], 1, 2)])
        for number, sample in enumerate(pictures(3, seed=2))
    ]
    tried, files = attack(name), dict(granted)
    settings = {**QUICK, "seed": 1, "device": "cpu"}
    session = SessionInfo("ab" * 16, "cifar-resnet20", "layer1.0", "", ("dense",))
    if tried.needs.queries:
        own = {"victim": session.victim, "split": session.split, **accepted(name, settings)}
        files["inverter"] = tried.fit(
            pictures(16, seed=3), Grants(files, settings=own, query=leaves), tmp_path, lambda *_: None
        )
    else:
        settings |= victim_settings
    files = {key: path for key, path in files.items() if key in NEEDED[name]}
    card = KnowledgeCard(victim=tried.needs.victim, queries=tried.needs.queries)
    made = check_attack(tried, card, session, Grants(files, settings=accepted(name, settings)), frames)
    assert [item.frames for item in made] == [(0,), (1,), (2,)]
    for item in made:
        assert (item.arrays["image"].shape, item.arrays["image"].dtype) == ((32, 32, 3), np.uint8)


NEEDED = {
    "direct": {"auxiliary"},
    "decoder": {"prior"},
    "diffusion": {"prior"},
    "mean-picture": {"auxiliary"},
    "nearest-picture": {"auxiliary"},
    "prior-sample": {"prior"},
    "inversion-direct": {"inverter"},
    "inversion-decoder": {"inverter", "prior"},
    "inversion-diffusion": {"inverter", "prior"},
}


def accepted(name: str, settings: dict[str, Meta]) -> dict[str, Meta]:
    """Those that this attack takes: an unknown setting is refused."""
    known = {
        "direct": ("iterations", "snapshots", "weights"),
        "decoder": ("iterations", "snapshots", "weights"),
        "diffusion": ("iterations", "snapshots", "steps", "weights"),
        "nearest-picture": ("weights",),
        "prior-sample": ("steps",),
        "inversion-direct": ("queries", "epochs", "batch", "width"),
        "inversion-decoder": ("queries", "epochs", "batch", "width"),
        "inversion-diffusion": ("queries", "epochs", "batch", "width", "steps"),
    }.get(name, ())
    return {key: value for key, value in settings.items() if key in (*known, "seed", "device")}


def noise(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, 32, 32, 3), np.uint8)


def pictures(number: int, seed: int) -> list[Sample]:
    return [Sample(f"noise-{i}", {"image": image}) for i, image in enumerate(noise(number, seed))]
