"""The tail learns under noise, the head stays, and a killed training is the uninterrupted one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.noise_aware import Noise, NoiseAware, noised_top1, train
from lab.training import train as start
from victims.base import silent
from victims.image.cifar import FILES, read
from victims.image.split import Split
from victims.registry import victim
from wire.errors import InputError

SPLIT = "layer3.0"
WEIGHTS = "random"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pictures whose class is their brightness."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(6)
    for name in ("jpeg-train", "jpeg-test"):
        labels = rng.integers(0, 10, 24)
        images = np.clip(labels[:, None, None, None] * 25 + rng.integers(0, 20, (24, 32, 32, 3)), 0, 255)
        np.savez(folder / FILES[name], images=images.astype(np.uint8), labels=labels)
    return str(folder)


def asked(data: str, **changed: object) -> NoiseAware:
    return replace(NoiseAware(split=SPLIT, weights=WEIGHTS, strength=0.5, data=data, epochs=2, batch=8), **changed)


def test_a_resumed_training_is_the_uninterrupted_one_and_the_head_stays(data: str, tmp_path: Path) -> None:
    settings = asked(data)
    whole = train(tmp_path / "whole", settings)
    assert train(tmp_path / "parts", settings, until=4) is None  # in the middle of an epoch
    parts = train(tmp_path / "parts", settings)
    assert whole is not None and parts is not None
    before, after = whole.before.state_dict(), whole.network.state_dict()
    tail = set(Split(whole.network, SPLIT).tail.state_dict())
    for key, value in after.items():
        assert torch.equal(value, parts.network.state_dict()[key]), key
        if key not in tail:
            assert torch.equal(value, before[key]), key
    assert not torch.equal(after["fc.weight"], before["fc.weight"])
    assert not torch.equal(after["layer3.1.bn1.running_mean"], before["layer3.1.bn1.running_mean"])
    assert [(r.epoch, r.loss, r.right) for r in whole.curve] == [(r.epoch, r.loss, r.right) for r in parts.curve]
    with pytest.raises(InputError, match=r"noise-aware\.ckpt: is of a training with other settings"):
        train(tmp_path / "parts", replace(settings, seed=1))


def test_strength_is_in_units_of_the_clean_rms(data: str, tmp_path: Path) -> None:
    tuned = train(tmp_path, asked(data, epochs=1))
    assert tuned is not None
    chosen = victim("cifar-resnet20")
    images = torch.from_numpy(read(Path(data), "jpeg-train").images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        features = Split(tuned.before, SPLIT).head(chosen.preprocessing.normalised(images))  # type: ignore[attr-defined]
    assert tuned.sigma == pytest.approx(0.5 * float(features.square().mean().sqrt()), rel=1e-5)


def test_the_noise_by_its_moments_and_the_clip_by_hand() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.tensor([[[3.0, 4.0]], [[0.3, 0.4]]])
    clipped = Noise(0.0, 1.0)(features, draw)
    assert torch.allclose(clipped, torch.tensor([[[0.6, 0.8]], [[0.3, 0.4]]]))
    added = Noise(2.0, 0.0)(torch.zeros(1, 100_000), draw)
    assert float(added.std()) == pytest.approx(2.0, rel=0.02)  # six deviations of an estimate over so many
    assert abs(float(added.mean())) < 0.04


def test_what_is_published_is_a_victims_weights_and_was_measured(data: str, tmp_path: Path) -> None:
    options = {"data": data, "weights": WEIGHTS, "sigma": 1.0, "epochs": 1, "batch": 8}
    made = start("noise-aware", SPLIT, tmp_path, 3, options, silent)
    network = victim("cifar-resnet20").network({"weights": str(made)})  # type: ignore[attr-defined]
    settings = asked(data, sigma=1.0, strength=0.0, epochs=1, seed=3)
    tuned = train(tmp_path, settings)  # finished: from its checkpoint
    assert tuned is not None
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in tuned.network.state_dict().items() if "num" not in k)
    pictures = read(Path(data), "jpeg-test")
    images, labels = torch.from_numpy(pictures.images).permute(0, 3, 1, 2), torch.from_numpy(pictures.labels)
    score = noised_top1(network, settings, 1.0, images, labels)
    card = made.with_suffix(".md").read_text()
    assert f"| after | deviation 1 | {100 * score.right / 24:.1f} |" in card
    assert data not in card


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"strength": 0.0}, "sigma 0.0, strength 0.0; accepted: one of them above 0"),
        ({"sigma": 1.0}, "sigma 1.0, strength 0.5; accepted: one of them above 0"),
        ({"batch": 1}, "batch 1, epochs 2, pictures 0, measured 0; accepted: a batch of at least 2"),
        ({"rate": 0.0}, "rate 0.0, clip 0.0; accepted: above 0"),
    ],
)
def test_settings_that_cannot_be(changed: dict[str, object], said: str, data: str) -> None:
    with pytest.raises(InputError, match=f"^noise-aware training: {said}"):
        asked(data, **changed)


def test_an_unknown_setting_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--set noise: .*'noise'; accepted: victim, split, weights, sigma, strength"):
        start("noise-aware", SPLIT, tmp_path, 0, {"noise": 1}, silent)


def test_a_victim_or_data_that_cannot_be(data: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="victim 'second'; accepted: a classifier of 32x32 pictures"):
        train(tmp_path, asked(data, victim="second"))
    with pytest.raises(InputError, match="noise-aware training needs pictures: set data to a folder"):
        train(tmp_path, asked(""))
    with pytest.raises(InputError, match="batch 25 of 24 pictures; accepted: no more"):
        train(tmp_path, asked(data, batch=25))


@pytest.mark.real
def test_on_the_published_network_noise_costs_less_after_the_training(real_data: Path, tmp_path: Path) -> None:
    weights = real_data / "weights" / "cifar10_resnet" / "resnet20-12fca82f.th"
    settings = NoiseAware(
        split="layer2.2", weights=str(weights), strength=4.0, data=str(real_data / "images"), epochs=1, pictures=2560
    )
    tuned = train(tmp_path, settings)
    assert tuned is not None
    pictures = read(real_data / "images", "jpeg-test", 500)
    images, labels = torch.from_numpy(pictures.images).permute(0, 3, 1, 2), torch.from_numpy(pictures.labels)
    before = noised_top1(tuned.before, settings, tuned.sigma, images, labels)
    after = noised_top1(tuned.network, settings, tuned.sigma, images, labels)
    assert after.interval()[0] > before.interval()[1]
