"""What cannot work in a study of pictures is one line before anything starts, not "0 inverted" after the stream."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.studies.base import Settings
from lab.studies.registry import study
from tests.lab.conftest import Ended
from victims.image import cifar
from wire.errors import InputError

WHITEBOX = "visual-secrets-whitebox"
LONG = "a photo of a cat " * 4


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not refused fails here, and streams nothing."""
    monkeypatch.setattr("lab.studies.visual_secrets_whitebox.run_cell", lambda *_: pytest.fail("it was started"))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four pictures of noise to be streamed, and four of the listener's own; no other data on this machine."""
    monkeypatch.setenv("EAVESPLIT_DATA", str(tmp_path / "nowhere"))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate(("lossless-test", "jpeg-train")):
        drawn = np.random.default_rng(seed).integers(0, 255, (4, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / cifar.FILES[name], images=drawn, labels=np.arange(4))
    return folder


@pytest.fixture
def prior(tmp_path: Path, tiny_prior: Path) -> Path:
    return Path(shutil.copytree(tiny_prior, tmp_path / "own"))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no scheduler": (lambda p: shutil.rmtree(p / "scheduler"), "own: holds no scheduler/scheduler_config.json; acc"),
    "no tokenizer": (lambda p: shutil.rmtree(p / "tokenizer"), "own: holds no tokenizer; accepted: a folder"),
    "other channels": (
        lambda p: edit(p / "unet" / "config.json", in_channels=8),
        "own: its U-Net takes latents of 8 channels, its autoencoder makes 4",
    ),
    "smaller latents": (
        lambda p: edit(p / "unet" / "config.json", sample_size=8),
        "own: makes pictures of at most 16x16 pixels; asked for 32x32",
    ),
    "no weights": (
        lambda p: (p / "text_encoder" / "model.safetensors").unlink(),
        "not readable as CLIPTextModel (it holds no safetensors)",
    ),
    "garbled tokenizer": (
        lambda p: (p / "tokenizer" / "tokenizer.json").write_text("{"),
        "not readable as a CLIP tokenizer (",
    ),
}


def refused(done: Ended, folder: Path) -> str:
    """The one line of a refusal, after which there is no run."""
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (folder / "runs").exists()
    return done.stderr


@pytest.mark.parametrize("broken", BREAKS)
def test_a_prior_that_is_none_is_refused_before_anything_starts(
    broken: str, data: Path, prior: Path, tmp_path: Path, eavesplit: Callable[..., Ended]
) -> None:
    change, said = BREAKS[broken]
    change(prior)
    words = ["--data", str(data), "--set", "weights=random", "--set", f"prior={prior}", "--set", "attacks=diffusion"]
    assert said in refused(eavesplit("run", WHITEBOX, *words), tmp_path)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("diffusion.nosuch=3", "--set diffusion.nosuch=3: attack diffusion: setting 'nosuch' is unknown; accepted: it"),
        ("diffusion.steps=many", "--set diffusion.steps=many: attack diffusion: setting steps is 'many'; accepted: a"),
        ("direct.lr=0", "--set direct.lr=0: attack direct: setting lr is 0; accepted: a number from 1e-06 to 100"),
        ("prior-sample.lr=1", "--set prior-sample.lr=1: attack prior-sample: setting 'lr' is unknown; accepted: steps"),
        ("diffusion-polished.polis=3", "--set diffusion-polished.polis=3: attack diffusion: setting 'polis' is unkn"),
        ("diffusion=3", "--set diffusion: no option of this study; there are: victim"),
        (f"diffusion.prompt={LONG}", "has 22 tokens with its start and end; own accepts at most 16"),
        (f"diffusion.prompt=a photo|{LONG}", "has 22 tokens with its start and end; own accepts at most 16"),
        (f"prior-sample.prompt={LONG}", "has 22 tokens with its start and end; own accepts at most 16"),
        ("iterations=2000000", "attack direct: setting iterations is 2000000; accepted: a whole number from 0 to 1000"),
    ],
)
def test_a_wrong_setting_of_an_attack_is_refused_before_anything_starts(
    setting: str, said: str, data: Path, prior: Path, tmp_path: Path, eavesplit: Callable[..., Ended]
) -> None:
    words = ["--data", str(data), "--set", "weights=random", "--set", f"prior={prior}", "--set", setting]
    assert said in refused(eavesplit("run", WHITEBOX, *words), tmp_path)


def asked(data: Path, **options: object) -> Settings:
    return Settings(data=(data,), options={"weights": "random", **options})


def test_settings_of_attacks_that_do_not_run_are_read_too(data: Path, prior: Path) -> None:
    for name, options in (
        (WHITEBOX, {"attacks": "direct", "decoder.nosuch": 1}),
        ("visual-secrets-blackbox", {"inversion-direct.nosuch": 1}),
    ):
        with pytest.raises(InputError, match="setting 'nosuch' is unknown"):
            study(name).cells(asked(data, prior=str(prior), **options))


def test_a_sampler_of_fewer_levels_than_steps(data: Path, prior: Path) -> None:
    edit(prior / "scheduler" / "scheduler_config.json", num_train_timesteps=3)
    with pytest.raises(InputError, match=r"^4 sampling steps; own accepts 1 to 3$"):
        study(WHITEBOX).cells(asked(data, prior=str(prior), attacks="diffusion"))


def test_public_pictures_that_were_not_granted(data: Path, prior: Path) -> None:
    (data / cifar.FILES["jpeg-train"]).unlink()
    for attack in ("direct", "decoder"):
        own = {f"{attack}.start": "mean"}
        with pytest.raises(InputError, match=f"^attack {attack} needs public pictures; accepted: a file auxiliary"):
            study(WHITEBOX).cells(asked(data, prior=str(prior), **own))
        cells = study(WHITEBOX).cells(asked(data, prior=str(prior), attacks="prior-sample", **own))
        assert [choice.row for choice in cells[0].stream.attacks] == ["prior-sample"]


def test_a_prior_of_smaller_pictures_leaves_out_what_needs_it_unless_it_was_asked_for(data: Path, prior: Path) -> None:
    edit(prior / "unet" / "config.json", sample_size=8)
    cell = study(WHITEBOX).cells(asked(data, prior=str(prior)))[0]
    assert [choice.row for choice in cell.stream.attacks][-1] == "decoder"
    why = f"{prior}: makes pictures of at most 16x16 pixels; asked for 32x32"
    assert cell.columns["absent"] == dict.fromkeys(("prior-sample", "diffusion", "diffusion-polished"), why)
    with pytest.raises(InputError, match=r"diffusion cannot run: .* at most 16x16"):
        study("visual-secrets-text").cells(asked(data, prior=str(prior)))
