"""The floors: a mean, a nearest picture, a sample."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attacker.attacks.base import Grants
from attacker.attacks.image import nearest_picture
from attacker.attacks.image.auxiliary import read_auxiliary
from attacker.attacks.image.nearest_picture import nearest
from attacker.attacks.image.prior import load_prior
from attacker.registry import attack
from victims.image.preprocessing import images_of
from wire.errors import InputError
from wire.seeds import generator

SETTINGS = {"device": "cpu", "seed": 0, "weights": "random"}


@pytest.fixture
def auxiliary(images, tmp_path: Path) -> Path:
    np.savez(tmp_path / "public.npz", images=images[:5])
    return tmp_path / "public.npz"


def test_mean_picture_is_the_mean_of_so_many(images, auxiliary, capture, session):
    grants = Grants(files={"auxiliary": auxiliary}, settings={**SETTINGS, "auxiliary_frames": 4})
    made = attack("mean-picture").open(session(), grants).observe([capture(images[0], number=i) for i in (2, 3)])
    wanted = np.floor(images[:4].astype(np.int64).sum(0) / 4 + 0.5)
    for one, number in zip(made, (2, 3), strict=True):
        assert one.frames == (number,) and one.arrays["image"].dtype == np.uint8
        assert np.abs(one.arrays["image"] - wanted).max() <= 1  # halves may go either way
        assert one.meta["auxiliary"] == 4


def test_nearest_picture_finds_a_picture_it_holds(images, auxiliary, capture, session):
    """A noisy payload of public picture i gives picture i, whatever the frame's number says."""
    grants = Grants(files={"auxiliary": auxiliary}, settings=SETTINGS)
    inverter = attack("nearest-picture").open(session(), grants)
    frames = []
    for number, i in enumerate((3, 0, 4)):
        frame = capture(images[i], number=number)
        features = frame.parts[0].payload.tensors["features"]
        noise = 0.1 * torch.randn(features.shape, generator=torch.Generator().manual_seed(i))
        payload = dataclasses.replace(frame.parts[0].payload, tensors={"features": features + noise})
        frames.append(dataclasses.replace(frame, parts=[dataclasses.replace(frame.parts[0], payload=payload)]))
    made = inverter.observe(frames)
    assert [one.meta["nearest"] for one in made] == [3, 0, 4]
    assert all(np.array_equal(one.arrays["image"], images[i]) for one, i in zip(made, (3, 0, 4), strict=True))
    assert [one.frames for one in made] == [(0,), (1,), (2,)]


def test_nearest_by_hand():
    features = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 4.0]]])
    assert nearest(features, torch.tensor([[[3.0, 3.0]], [[1.0, 1.0]]])).tolist() == [1, 0]


def test_features_of_public_pictures_are_computed_once(images, auxiliary, capture, session, tmp_path, monkeypatch):
    grants = Grants(files={"auxiliary": auxiliary}, settings=SETTINGS, work=tmp_path / "work")
    first = attack("nearest-picture").open(session(), grants).observe([capture(images[1])])
    monkeypatch.setattr(nearest_picture, "pictures_of", lambda images: pytest.fail("computed again"))
    again = attack("nearest-picture").open(session(), grants).observe([capture(images[1])])
    assert first[0].meta == again[0].meta
    monkeypatch.undo()
    (kept,) = (tmp_path / "work").iterdir()
    kept.write_bytes(b"broken")
    assert attack("nearest-picture").open(session(), grants).observe([capture(images[1])])[0].meta == first[0].meta


def test_prior_sample_is_the_prior_and_nothing_else(tiny_folder, images, capture, session):
    grants = Grants(files={"prior": tiny_folder}, settings={"seed": 4, "steps": 3, "prompt": "a photo of a cat"})
    inverter = attack("prior-sample").open(session(), grants)
    made = inverter.observe([capture(images[0], number=7), capture(images[1], number=2)])
    assert [one.frames for one in made] == [(7,), (2,)]
    (again,) = inverter.observe([capture(images[3], number=7)])
    assert np.array_equal(made[0].arrays["image"], again.arrays["image"])
    assert not np.array_equal(made[0].arrays["image"], made[1].arrays["image"])
    prior = load_prior(tiny_folder)
    noise = generator(4, "attack.prior-sample", 0, 2).standard_normal((1, *prior.latent)).astype(np.float32)
    with torch.no_grad():
        wanted = images_of(prior.generate(torch.from_numpy(noise), prior.embed(["a photo of a cat"]), steps=3))[0]
    assert np.abs(made[1].arrays["image"].astype(int) - wanted).max() <= 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean-picture", "attack mean-picture needs public pictures; accepted: a file auxiliary (.npz, or a folder)"),
        (
            "nearest-picture",
            "attack nearest-picture needs public pictures; accepted: a file auxiliary (.npz, or a folder)",
        ),
        (
            "prior-sample",
            "attack prior-sample needs a prior over pictures; accepted: a file prior (a diffusers folder)",
        ),
    ],
)
def test_a_missing_grant_is_one_line(name, message, images, capture, session):
    with pytest.raises(InputError) as caught:
        attack(name).open(session(), Grants(settings=SETTINGS)).observe([capture(images[0])])
    assert str(caught.value) == message


def test_a_broken_public_picture_is_passed_over(images, tmp_path: Path):
    for number, image in enumerate(images[:3]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    (tmp_path / "0-broken.png").write_bytes(b"no picture")
    size = images[0].shape[:2]
    assert np.array_equal(read_auxiliary(tmp_path, size, 2), images[:2])
    for file in tmp_path.glob("?.png"):
        file.unlink()
    with pytest.raises(InputError) as caught:
        read_auxiliary(tmp_path, size, 2)
    assert str(caught.value) == (
        f"auxiliary {tmp_path}: none of its pictures can be read; the first: {tmp_path}/0-broken.png: no picture; "
        "accepted: PNG, JPEG, WEBP, BMP"
    )
