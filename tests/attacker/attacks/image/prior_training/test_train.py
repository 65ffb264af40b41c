"""A whole training of seconds on pictures drawn here: killed, gone on with, published, loaded, sampled."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTokenizer

from attacker.attacks.image.prior import load_prior
from attacker.attacks.image.prior_training.captions import all_captions
from attacker.attacks.image.prior_training.diffusion import Denoiser, described, train_denoiser
from attacker.attacks.image.prior_training.parts import new_tokenizer
from attacker.attacks.image.prior_training.publish import NAME
from attacker.attacks.image.prior_training.settings import PriorTraining
from attacker.attacks.image.prior_training.train import train_prior
from victims.base import silent
from victims.image.arrays import Pictures
from victims.image.cifar import FILES
from victims.image.resnet import cifar_resnet
from wire.errors import InputError

SHORT = PriorTraining(
    width=8,
    channels=(16, 16),
    heads=2,
    autoencoder_steps=20,
    autoencoder_batch=4,
    autoencoder_decay=10,
    steps=40,
    batch=4,
    decay=10,
    measured=10,
    samples=10,
    sampling=1,
)


def coloured(number: int) -> Pictures:
    rng = np.random.default_rng(4)
    flat = rng.integers(0, 256, (number, 1, 1, 3)) * np.ones((1, 32, 32, 1))
    return Pictures(flat.astype(np.uint8), np.arange(number) % 10)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cifar")
    pictures = coloured(20)
    files = []
    for image in pictures.images:
        with io.BytesIO() as out:
            Image.fromarray(image).save(out, "JPEG")
            files.append(out.getvalue())
    offset = np.cumsum([0, *map(len, files)])
    joined = np.frombuffer(b"".join(files), np.uint8)
    for name in ("jpeg-train", "jpeg-test"):
        np.savez(folder / FILES[name], jpeg=joined, offset=offset, labels=pictures.labels)
    for name in ("lossless", "lossless-test"):
        np.savez(folder / FILES[name], images=pictures.images, labels=pictures.labels)
    return folder


def test_killed_denoiser_goes_on_bit_for_bit(tmp_path: Path) -> None:
    pictures = coloured(8)
    generator = torch.Generator().manual_seed(0)
    seen = described(torch.randn(2, 8, 4, 16, 16, generator=generator).half(), pictures)
    settings = replace(SHORT, steps=6, decay=2, dropout=0.1)
    states = []
    for name, stops in (("whole", (None,)), ("parts", (3, None))):
        (tmp_path / name).mkdir()
        for until in stops:
            network = train_denoiser(tmp_path / name, seen, settings, silent, until)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_from_pictures_to_a_published_folder(data: Path, tmp_path: Path) -> None:
    judge = tmp_path / "judge.th"
    torch.manual_seed(0)
    torch.save({"state_dict": cifar_resnet(8).state_dict()}, judge)
    settings = replace(SHORT, data=str(data), publish=True, into=str(tmp_path / "out"), judge=str(judge))
    made = train_prior(tmp_path / "work", settings, silent)
    assert made == tmp_path / "out" / NAME

    prior = load_prior(made, side=32)
    ours = CLIPTokenizer.from_pretrained(tmp_path / "work" / "tokenizer")
    assert prior.tokenizer(all_captions()).input_ids == ours(all_captions()).input_ids
    with torch.no_grad():
        picture = prior.generate(prior.noise(1, 0), prior.embed(["a photo of a cat"]), steps=2)
    assert picture.shape == (1, 3, 32, 32) and bool(torch.isfinite(picture).all())

    # What is shipped is the average of the last checkpoint, in half precision.
    kept = torch.load(tmp_path / "work" / "unet.ckpt", weights_only=True)["average"]
    for key, tensor in prior.unet.state_dict().items():
        assert torch.equal(tensor, kept[f"unet.{key}"].half().float()), key

    card = (tmp_path / "out" / f"{NAME}.md").read_text()
    for word in ("Held-out loss", "dB PSNR, mean of 10 lossless", "Colour words", "(chance 10 %)", "| unet | 40 | 4 |"):
        assert word in card
    with Image.open(tmp_path / "out" / f"{NAME}.png") as sheet:
        assert sheet.width > 8 * 96 and sheet.height > 10 * 96

    # The same command again trains nothing and writes the same weights.
    again = train_prior(tmp_path / "work", settings, silent)
    assert load_prior(again).digest() == prior.digest()


def test_velocity_by_hand() -> None:
    """A U-Net that says the velocity has no error; one that says nothing has the velocity's square."""
    network = Denoiser(SHORT, new_tokenizer(all_captions()))
    latents, noise = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    times = torch.tensor([10, 900])
    kept = torch.tensor(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)), dtype=torch.float32)[times].view(2, 1, 1, 1)
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    heard = []

    def says(noisy: torch.Tensor, *_: object, return_dict: bool) -> tuple[torch.Tensor]:
        heard.append(noisy)
        return (velocity if len(heard) == 1 else torch.zeros_like(velocity),)

    network.unet.forward = says
    arguments = (latents, torch.tensor([0, 1]), torch.tensor([False, True]), times, noise)
    assert float(network.error(*arguments).abs().max()) < 1e-9
    assert torch.allclose(network.error(*arguments), velocity.square().mean((1, 2, 3)), rtol=1e-4)
    assert torch.allclose(heard[0], kept.sqrt() * latents + (1 - kept).sqrt() * noise, atol=1e-5)
    ratio = (kept / (1 - kept)).flatten()
    assert torch.allclose(network.weight(times, 5.0), ratio.clamp_max(5) / (ratio + 1), rtol=1e-3)


def test_what_a_training_needs(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train_prior(tmp_path, SHORT, silent)
    assert str(caught.value) == (
        "training the prior needs pictures: set data to a folder with the CIFAR-10 array files"
    )
    with pytest.raises(InputError, match=r"^prior training: batch is 0; accepted: at least 1$"):
        replace(SHORT, batch=0)
    assert replace(SHORT, channels="64,96").channels == (64, 96)  # type: ignore[arg-type]
