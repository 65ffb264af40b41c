"""Victims whose pictures are no squares: the attacks that take any size, and those that say they do not."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from torch import nn

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.attacks.image.generators import autoencoder_of
from attacker.attacks.image.invert import invert
from attacker.attacks.image.sizes import size_of
from attacker.registry import attack
from victims.base import Sample
from victims.image.pictures import fitted
from victims.image.preprocessing import PLAIN, images_of, pictures_of
from victims.image.victim import OwnNetwork, own_victim
from victims.registry import VICTIMS
from wire.errors import InputError

SIZE = (16, 24)
OWN = "wide"


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> OwnNetwork:
    """A victim of pictures 24 pixels wide and 16 high, registered; its first layer loses nothing."""
    torch.manual_seed(3)
    network = nn.Sequential(nn.Conv2d(3, 12, 3, 1, 1), nn.ReLU(), nn.Conv2d(12, 4, 3, 2, 1))
    made = own_victim(OWN, network, SIZE, PLAIN)
    monkeypatch.setitem(sys.modules, OWN, SimpleNamespace(VICTIM=made))
    monkeypatch.setitem(VICTIMS, OWN, f"{OWN}:VICTIM")
    return made


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of an autoencoder alone, factor 4, random weights."""
    torch.manual_seed(0)
    widths = (8, 8, 8)
    made = AutoencoderTiny(
        encoder_block_out_channels=widths, decoder_block_out_channels=widths, latent_channels=8,
        num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(1, 1, 1),
    )  # fmt: skip
    last = made.decoder.layers[-1]
    with torch.no_grad():  # pictures about grey instead of about black
        last.weight *= 6
        last.bias = nn.Parameter(torch.full((3,), 0.5))
    folder = tmp_path_factory.mktemp("autoencoder")
    made.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures(images: np.ndarray) -> np.ndarray:
    """uint8 (6, 16, 24, 3)."""
    return np.stack([fitted(image, SIZE) for image in images])


def captured(wide: OwnNetwork, image: np.ndarray, number: int) -> CapturedFrame:
    (payload,) = next(wide.cut("1", {}).head().exchange(Sample("picture", {"image": image})))
    return CapturedFrame("5e55", 0, number, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])


def error(image: np.ndarray, truth: np.ndarray) -> float:
    return float(np.square(image.astype(float) - truth.astype(float)).mean())


SESSION = SessionInfo("5e55", OWN, "1", "", ("dense",))


def test_direct_rebuilds_pictures_that_are_no_squares(wide: OwnNetwork, pictures: np.ndarray) -> None:
    grants = Grants(settings={"weights": "random", "iterations": 150})
    made = attack("direct").open(SESSION, grants).observe([captured(wide, pictures[i], i) for i in range(2)])
    for i, found in enumerate(made):
        image = found.arrays["image"]
        assert image.shape == (*SIZE, 3) and found.arrays["snapshots"].shape[1:] == (*SIZE, 3)
        assert error(image, pictures[i]) < 0.2 * error(image, pictures[1 - i])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_decoder_finds_what_its_autoencoder_can_say(wide: OwnNetwork, autoencoder: Path, precision: str) -> None:
    """Truths are pictures of the autoencoder's own: the latents behind them are the answer."""
    decode = autoencoder_of(autoencoder).decode
    noise = torch.randn(2, 8, 4, 6, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        truths = images_of(decode(noise))
    grants = Grants({"prior": autoencoder}, settings={
        "weights": "random", "iterations": 200, "tv": 0.0, "precision": precision, "at_once": 1,
    })  # fmt: skip
    made = attack("decoder").open(SESSION, grants).observe([captured(wide, truths[i], i) for i in range(2)])
    for i, found in enumerate(made):
        image = found.arrays["image"]
        assert image.shape == (*SIZE, 3)
        assert error(image, truths[i]) < 0.2 * error(image, truths[1 - i])


def test_the_floors_have_the_pictures_shape(wide: OwnNetwork, images: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "public.npz", images=images)  # squares: their central parts are wanted
    grants = Grants({"auxiliary": tmp_path / "public.npz"}, settings={"weights": "random"})
    cut = np.stack([fitted(image, SIZE) for image in images])
    frame = captured(wide, cut[4], 0)
    assert size_of(frame) == SIZE
    (nearest,) = attack("nearest-picture").open(SESSION, grants).observe([frame])
    assert np.array_equal(nearest.arrays["image"], cut[4])
    (mean,) = attack("mean-picture").open(SESSION, Grants(grants.files)).observe([frame])
    assert np.abs(mean.arrays["image"] - cut.mean(0)).max() <= 0.5


def test_who_takes_no_such_picture_says_so_in_one_line(
    wide: OwnNetwork, tiny_folder: Path, autoencoder: Path, pictures: np.ndarray
) -> None:
    granted = Grants({"prior": tiny_folder}, settings={"weights": "random"})
    wanted = f"^{tiny_folder}: a diffusion prior makes square pictures; asked for 24x16$"
    with pytest.raises(InputError, match=wanted):
        attack("diffusion").open(SESSION, granted)
    with pytest.raises(InputError, match=r"^frame 0: of 24x16 pixels; tiny makes 32x32$"):
        attack("prior-sample").open(SESSION, granted).observe([captured(wide, pictures[0], 0)])
    head = wide.network({})[:2]
    heard = head(pictures_of(pictures[:1]))
    with pytest.raises(InputError, match=r"^a picture of 26x16 pixels does not fit the autoencoder; accepted: sides"):
        invert(head, heard, size=(16, 26), attack="decoder", prior=autoencoder)
