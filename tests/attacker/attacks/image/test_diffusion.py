"""`decoder` and `diffusion` with a tiny prior: gradients, restarts, prompts, polish, groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacker.attacks.base import Grants
from attacker.attacks.image.decoder import DecoderSettings, decoder, mean_latent
from attacker.attacks.image.diffusion import DiffusionSettings, Tries, diffusion
from attacker.attacks.image.inversion import Inversion, Problem
from attacker.attacks.image.invert import invert
from attacker.attacks.image.losses import negentropy, relative, total_variation
from attacker.attacks.image.prior import Prior, normalise
from attacker.registry import attack
from wire.errors import InputError

PROMPTS = "a photo of a cat, white background|a photo of a ship, blue background"


@pytest.fixture(scope="module")
def head() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 6, 5, 4, 2), nn.ReLU()).double().requires_grad_(False)


@pytest.fixture(scope="module")
def secret(tiny: Prior) -> Tensor:
    """Pictures that the prior can make."""
    with torch.no_grad():
        return tiny.generate(tiny.noise(2, 77), steps=2)


def problem(head: nn.Module, secret: Tensor, frames: tuple[int, ...] | None = None) -> Problem:
    return Problem(head, head(secret), (32, 32), frames or tuple(range(len(secret))))


def settings(**more) -> DiffusionSettings:
    return DiffusionSettings(**{"iterations": 2, "steps": 2, "tv": 0.0, **more})


def close(one: Inversion, two: Inversion, row: int = 0, of: int = 0) -> bool:
    return bool(torch.allclose(one.pictures[row], two.pictures[of], atol=1e-8))


def test_the_loss_reaches_the_noise_through_everything(tiny, head, secret):
    """The first step of Adam has the sign of the loss's slope, measured by finite differences."""
    task = problem(head, secret[:1])
    start = task.noise("attack.diffusion.0", tiny.latent)

    def value(v: Tensor) -> float:
        with torch.no_grad():
            made = tiny.generate(normalise(v), tiny.embed([PROMPTS.split("|")[0]]), steps=2)
            gaussian = 10 * negentropy(normalise(v), 1.0)
            return float(relative(head(made), task.features) + 0.5 * total_variation(made) + gaussian)

    chosen = settings(iterations=1, prompt=PROMPTS.split("|")[0], tv=0.5, keep="last")
    found = diffusion(task, chosen, tiny)
    step = found.variable - start
    assert step.abs().max() <= 0.2 + 1e-9  # the rate; less only where the slope is next to nothing
    assert step.abs().median() > 0.19
    steep = 0
    for place in range(0, start.numel(), 101):
        way = torch.zeros_like(start).flatten()
        way[place] = 1e-5
        slope = (value(start + way.view_as(start)) - value(start - way.view_as(start))) / 2e-5
        if abs(slope) > 1e-6:
            steep += 1
            assert np.sign(slope) == -np.sign(float(step.flatten()[place]))
    assert steep > 5
    assert found.meta[0]["loss_total"] == pytest.approx(value(found.variable))


def test_each_try_is_on_its_own_and_the_lowest_feature_loss_is_kept(tiny, head, secret):
    several = diffusion(problem(head, secret), settings(restarts=2, prompt=PROMPTS), tiny)
    single = [diffusion(problem(head, secret), settings(prompt=p, restarts=2), tiny) for p in PROMPTS.split("|")]
    for row, meta in enumerate(several.meta):
        losses = [one.meta[row]["loss_feature"] for one in single]
        best = single[int(np.argmin(losses))]
        assert meta["loss_feature"] == pytest.approx(min(losses))
        assert (meta["prompt"], meta["restart"]) == (best.meta[row]["prompt"], best.meta[row]["restart"])
        assert meta["tries"] == 4
        assert close(several, best, row, row)
    alone = diffusion(problem(head, secret[1:], (1,)), settings(restarts=2, prompt=PROMPTS), tiny)
    assert close(several, alone, 1, 0)


def test_rows_of_tries():
    task = Problem(lambda x: x, torch.zeros(2, 1), (8, 8), (0, 1))
    tries = Tries.of(task, settings(restarts=2, prompt="a|b"))
    assert tries.picture.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert tries.prompt.tolist() == [0, 0, 1, 1] * 2
    assert tries.restart.tolist() == [0, 1] * 4
    assert tries.best(torch.tensor([3.0, 1, 2, 4, 9, 8, 7, 6])).tolist() == [1, 7]
    assert tries.meta(7, settings(restarts=2, prompt="a|b"))["prompt"] == "b"


def test_no_text_is_one_more_candidate(tiny, head, secret):
    empty = diffusion(problem(head, secret[:1]), settings(), tiny)
    both = diffusion(problem(head, secret[:1]), settings(prompt="|" + PROMPTS.split("|")[0], text=1000.0), tiny)
    assert settings(prompt="|a").prompts == ("", "a")
    # The weight of the text term is huge, and none of it falls on the candidate without text.
    if both.meta[0]["prompt"] == "":
        assert both.meta[0]["loss_total"] == pytest.approx(empty.meta[0]["loss_total"])
    assert both.meta[0]["loss_feature"] <= empty.meta[0]["loss_feature"] + 1e-9


def test_polish_goes_on_from_the_samplers_latent(tiny, head, secret):
    task = problem(head, secret)
    plain = diffusion(task, settings(iterations=3), tiny)
    start = diffusion(task, settings(iterations=3, polish=1, polish_lr=1e-6), tiny)
    assert torch.allclose(start.pictures, plain.pictures, atol=1e-4)
    polished = diffusion(task, settings(iterations=3, polish=8), tiny)
    assert polished.iterations == 11 and polished.variable.shape == (2, *tiny.latent)
    for before, after in zip(plain.meta, polished.meta, strict=True):
        assert after["loss_feature"] < before["loss_feature"]
        assert after["prompt"] == ""
    arrays = polished.arrays(0)
    assert arrays["snapshot_iteration"].tolist() == sorted(arrays["snapshot_iteration"])
    assert arrays["curve_iteration"][-1] == 11
    assert np.array_equal(arrays["snapshots"][-1], arrays["image"])


def test_the_normaliser_and_the_sampling_are_those_asked_for(tiny, head, secret):
    """With no iteration the picture is a sample of the prior."""
    task = problem(head, secret)
    noise = task.noise("attack.diffusion.0", tiny.latent)
    for normaliser, start in ((True, normalise(noise)), (False, noise)):
        found = diffusion(task, settings(iterations=0, steps=3, normaliser=normaliser), tiny)
        with torch.no_grad():
            assert torch.allclose(found.pictures, tiny.generate(start, steps=3).clamp(0, 1))


@pytest.mark.parametrize("tied", ["normalised", "raw"])
def test_frames_of_a_group_share_their_noise_more(tiny, head, secret, tied):
    def apart(group: int) -> float:
        chosen = settings(iterations=4, group=group, temporal=10.0, tied=tied)
        found = diffusion(problem(head, secret), chosen, tiny).variable
        return float((normalise(found)[0] - normalise(found)[1]).square().mean())

    assert apart(2) < 0.8 * apart(1)


def test_recomputed_calls_change_nothing(tiny, head, secret):
    kept, recomputed = (diffusion(problem(head, secret), settings(checkpointing=c), tiny) for c in ("off", "on"))
    assert close(kept, recomputed)


def test_decoder_starts(tiny, head, secret):
    task, autoencoder = problem(head, secret), tiny.autoencoder
    grey = autoencoder.encode(torch.full((1, 3, 32, 32), 0.5, dtype=torch.float64))
    mean = torch.stack([autoencoder.encode(one[None])[0] for one in secret]).mean(0, keepdim=True)
    assert torch.allclose(mean_latent(autoencoder, secret), mean[0])
    none = DecoderSettings(iterations=0)
    for chosen, auxiliary, latent in (
        (none, None, grey),
        (none, secret, mean),
        (replace(none, start="grey"), secret, grey),
        (replace(none, start="noise"), None, task.noise("attack.decoder", tiny.latent)),
    ):
        found = decoder(task, chosen, autoencoder, auxiliary)
        with torch.no_grad():
            assert torch.allclose(found.pictures, autoencoder.decode(latent).clamp(0, 1).expand(2, -1, -1, -1))


def test_decoder_descends_and_pictures_do_not_mix(tiny, head, secret):
    both = decoder(problem(head, secret), DecoderSettings(iterations=30, tv=0.0), tiny.autoencoder)
    alone = decoder(problem(head, secret[1:], (1,)), DecoderSettings(iterations=30, tv=0.0), tiny.autoencoder)
    assert close(both, alone, 1, 0)
    curve = both.course.curve[..., 1]
    assert (curve[-1] < 0.3 * curve[0]).all()


def test_from_captured_frames_with_a_folder(tiny_folder: Path, images, capture, session):
    """A prior's folder, and the folder of an autoencoder alone."""
    frames = [capture(images[i], number=i) for i in range(2)]
    common = {"seed": 0, "weights": "random", "iterations": 2}
    for name, folder, more in (
        ("diffusion", tiny_folder, {"steps": 2, "polish": 1, "prompt": "a photo of a dog"}),
        ("decoder", tiny_folder, {}),
        ("decoder", tiny_folder / "vae", {}),
    ):
        inverter = attack(name).open(session(), Grants(files={"prior": folder}, settings={**common, **more}))
        made = inverter.observe(frames)
        other = inverter.observe([capture(images[2], number=0)])
        assert [one.frames for one in made] == [(0,), (1,)]
        assert made[0].arrays["image"].shape == (32, 32, 3) and made[0].arrays["image"].dtype == np.uint8
        assert not np.array_equal(made[0].arrays["image"], other[0].arrays["image"])
        assert made[0].meta.get("prompt") == more.get("prompt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 64}, "makes pictures of at most 32x32 pixels; asked for 64x64"),
        ({"size": 32, "checkpointing": "yes"}, "setting checkpointing is 'yes'; accepted: auto, on, off"),
        ({"size": 32, "prompt": "cat " * 40}, "tiny accepts at most 16"),
    ],
)
def test_what_is_not_accepted_is_one_line(tiny_folder, head, arguments, message):
    with pytest.raises(InputError) as caught:
        invert(head, torch.zeros(1, 6, 8, 8), attack="diffusion", prior=tiny_folder, **arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)
