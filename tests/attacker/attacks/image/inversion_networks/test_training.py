"""Training learns to invert, keeps its best epoch, and a killed one ends with the same numbers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.attacks.image.inversion_networks.answers import Answers
from attacker.attacks.image.inversion_networks.network import InversionNetwork, Shape
from attacker.attacks.image.inversion_networks.rendering import Pixels
from attacker.attacks.image.inversion_networks.settings import InversionSettings
from attacker.attacks.image.inversion_networks.training import Clips, Training
from tests.attacker.attacks.image.inversion_networks.conftest import Oracle, pictures
from victims.base import silent
from wire.errors import InputError

SIDE = 16
SETTINGS = InversionSettings(width=4, epochs=3, batch=16, precision="float32")
Make = Callable[..., Training]


@pytest.fixture
def answers(oracle: Oracle) -> Answers:
    images = pictures(64, SIDE, 0)
    features = np.stack([oracle.payload(image).tensors["features"][0].numpy() for image in images])
    return Answers(images, features, np.zeros((64, 32), np.uint8), ("",) * 64)


@pytest.fixture
def make(answers: Answers, tmp_path: Path) -> Make:
    def made(settings: InversionSettings = SETTINGS, work: str = "a", origin: str = "x") -> Training:
        torch.manual_seed(5)
        network = InversionNetwork(Shape((8, 8, 8), SIDE, (3, SIDE, SIDE), settings.frames, settings.width))
        (tmp_path / work).mkdir(exist_ok=True)
        return Training(
            network, Pixels(SIDE), answers, settings, seed=1, device="cpu", work=tmp_path / work, origin=origin
        )

    return made


def curve(work: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((work / "curve.csv").read_text().splitlines()))


def test_a_killed_training_ends_like_one_that_was_not(make: Make, tmp_path: Path) -> None:
    whole = make(work="whole")
    whole.run(silent)

    class Killed(Exception):
        pass

    def kill(done: float, total: float, note: str = "") -> None:
        if done == 6:  # of 3 epochs of 3 steps: in the second epoch's last step
            raise Killed

    broken = make(work="broken")
    with pytest.raises(Killed):
        broken.run(kill)
    resumed = make(work="broken")
    resumed.run(silent)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    rows = [curve(tmp_path / work) for work in ("whole", "broken")]
    assert [row["psnr"] for row in rows[0]] == [row["psnr"] for row in rows[1]]
    assert [row["epoch"] for row in rows[1]] == ["1", "2", "3"]
    assert resumed.best.psnr == whole.best.psnr


def test_a_checkpoint_of_something_else_is_refused(make: Make) -> None:
    make().run(silent)
    for other in ({"origin": "y"}, {"settings": InversionSettings(width=4, epochs=4, batch=16, precision="float32")}):
        with pytest.raises(InputError, match=r"was begun with other settings, another victim or other queries"):
            make(**other)


def test_it_learns_from_its_queries_alone(make: Make, answers: Answers) -> None:
    training = make(InversionSettings(width=4, epochs=15, batch=16, lr=0.02, precision="float32"))
    training.run(silent)
    held = training.held
    assert len(held) == 4  # one in 16
    others = np.setdiff1d(np.arange(64), held)
    truth = answers.images[held] / 255
    gray = -10 * np.log10(((truth - answers.images[others].mean(0) / 255) ** 2).mean((1, 2, 3))).mean()
    with torch.inference_mode():
        made = training.network(torch.from_numpy(answers.features[held])[:, None])[:, 0].sigmoid()
    found = made.permute(0, 2, 3, 1).numpy()
    psnr = (-10 * np.log10(((found - truth) ** 2).mean((1, 2, 3)))).mean()
    assert psnr > gray + 3
    # What it reports is what an independent measurement of the kept weights finds.
    assert training.best.psnr == pytest.approx(psnr, abs=0.01)


def test_the_best_epoch_is_kept(make: Make, tmp_path: Path) -> None:
    training = make(InversionSettings(width=4, epochs=6, batch=16, lr=0.5, schedule="constant", precision="float32"))
    training.run(silent)
    rows = curve(tmp_path / "a")
    psnr = [float(row["psnr"]) for row in rows]
    assert training.best.psnr == max(psnr) and training.best.epoch == psnr.index(max(psnr)) + 1


def test_clips_are_consecutive_answers(answers: Answers) -> None:
    clips = Clips(answers, 3)
    assert len(clips) == 21
    features, truth, prompts = clips.batch(np.array([2, 7]), "cpu")
    assert features.shape[:2] == (2, 3) and len(truth) == len(prompts) == 6
    rows = [6, 7, 8, 21, 22, 23]
    assert np.array_equal(features.flatten(0, 1).numpy(), answers.features[rows])
    assert np.allclose(truth.permute(0, 2, 3, 1).numpy() * 255, answers.images[rows], atol=1e-3)


def test_too_few_pictures(make: Make) -> None:
    with pytest.raises(InputError, match=r"^12 clips of 5 frames were asked for; accepted: at least 16"):
        make(InversionSettings(frames=5))
