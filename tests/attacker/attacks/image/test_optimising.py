"""The optimising attacks from captured frames to reconstructions, with the real head of a ResNet-20."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from attacker.attacks.base import CapturedFrame, Grants
from attacker.attacks.image import descent_state
from attacker.attacks.image.direct import Direct
from attacker.inverting import Failure, Inverters, invert
from attacker.queue import Entry, Work
from attacker.registry import attack
from victims.image.victim import CIFAR_RESNET20
from wire.errors import InputError

SETTINGS = {"device": "cpu", "seed": 0, "weights": "random"}


def grants(**more) -> Grants:
    settings = {key: more.pop(key) for key in list(more) if key not in ("files", "work", "progress")}
    return Grants(settings={**SETTINGS, **settings}, **more)


def error(image: np.ndarray, truth: np.ndarray) -> float:
    return float(np.square(image.astype(float) - truth.astype(float)).mean())


def same_shape(frame: CapturedFrame, features: torch.Tensor) -> CapturedFrame:
    payload = dataclasses.replace(frame.parts[0].payload, tensors={"features": features})
    return dataclasses.replace(frame, parts=[dataclasses.replace(frame.parts[0], payload=payload)])


def test_direct_rebuilds_what_was_heard_and_nothing_else(images, capture, session):
    """Payloads of other frames under the right numbers give the other frames' pictures."""
    inverter = attack("direct").open(session(), grants(iterations=60))
    right = inverter.observe([capture(images[i], number=i) for i in range(3)])
    wrong = inverter.observe([capture(images[i + 1], number=i) for i in range(2)])
    grey = np.full((32, 32, 3), 128)
    for i, found in enumerate(right):
        assert found.frames == (i,) and found.attack == "direct" and found.session == "5e55"
        assert error(found.arrays["image"], images[i]) < 0.1 * error(grey, images[i])
    for i, found in enumerate(wrong):
        assert found.frames == (i,)
        assert error(found.arrays["image"], images[i]) > 0.5 * error(images[i + 1], images[i])
        assert np.array_equal(found.arrays["image"], right[i + 1].arrays["image"])
    assert right[0].meta["same_weights"] is True
    assert right[0].meta["iterations"] == 60
    assert 0 < right[0].meta["loss_feature"] < right[0].meta["loss_total"]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("victim") / "victim.safetensors"
    save_file(CIFAR_RESNET20.network({"weights": "random"}).state_dict(), path)
    return path


def test_noise_is_drawn_by_seed_and_frame(images, capture, session, weights):
    def made(seed: int, number: int) -> np.ndarray:
        told = Grants(files={"weights": weights}, settings={"seed": seed, "iterations": 0, "start": "noise"})
        found = attack("direct").open(session(), told).observe([capture(images[0], number=number)])[0]
        assert found.meta["same_weights"] is True
        return found.arrays["image"]

    assert np.array_equal(made(0, 3), made(0, 3))
    assert not np.array_equal(made(0, 3), made(0, 4))
    assert not np.array_equal(made(0, 3), made(1, 3))


def test_other_weights_are_noticed(images, capture, session):
    found = attack("direct").open(session(), grants(seed=1, iterations=0)).observe([capture(images[0])])
    assert found[0].meta["same_weights"] is False


def test_a_bad_frame_is_named_and_takes_no_other_with_it(images, capture, session):
    good = [capture(images[i], number=i) for i in range(3)]
    features = good[1].parts[0].payload.tensors["features"]
    frames = [good[0], same_shape(good[1], features[:, :-1]), good[2], same_shape(good[1], features * torch.nan)]
    frames[3] = dataclasses.replace(frames[3], frame=3)
    inverters = Inverters({"direct": Direct()}, {"direct": grants(iterations=3)})
    inverters.know(session())
    work = Work("direct", "5e55", tuple((Entry(frame, time.monotonic_ns()),) for frame in frames))
    made = [item for outcome in invert(work, inverters) for item in outcome.made]
    assert [item.frames for item in made] == [(0,), (1,), (2,), (3,)]
    assert [type(item) is Failure for item in made] == [False, True, False, True]
    assert made[1].reason == "InputError: frame 1: features are (1, 15, 32, 32); accepted: (1, 16, 32, 32)"
    assert made[3].reason == "InputError: frame 3: features are not finite"


def test_frames_of_other_pictures_or_without_features_are_named(images, capture, session):
    inverter = attack("direct").open(session(), grants(iterations=0))
    frame = capture(images[0], number=4)
    payload = dataclasses.replace(frame.parts[0].payload, meta={"input": (32, 64)})
    other = dataclasses.replace(frame, parts=[dataclasses.replace(frame.parts[0], payload=payload)])
    with pytest.raises(InputError, match=r"^frame 4: of a picture \(32, 64\); accepted: \(32, 32\)$"):
        inverter.observe([other])
    with pytest.raises(InputError, match=r"^frame 4: 0 payloads of features; accepted: 1$"):
        inverter.observe([dataclasses.replace(frame, parts=[])])


class Killed(BaseException):
    """What ends a process, for a test."""


def test_a_killed_batch_goes_on_in_the_attacks_folder(images, capture, session, tmp_path, monkeypatch):
    monkeypatch.setattr(descent_state, "SAVE_EVERY_S", 0.0)
    frames = [capture(images[i], number=i) for i in range(2)]
    settings = {"iterations": 12, "at_once": 1}
    whole = attack("direct").open(session(), grants(**settings)).observe(frames)
    seen: list[float] = []

    def progress(done: float, total: float, note: str = "") -> None:
        seen.append(done)
        assert total == 2 and note in ("direct: frame 0", "direct: frame 1")
        if done >= 1.5 and len(seen) < 100:
            raise Killed

    killed = attack("direct").open(session(), grants(**settings, work=tmp_path, progress=progress))
    with pytest.raises(Killed):
        killed.observe(frames)
    assert len(list(tmp_path.iterdir())) == 2
    seen[:] = [0.0] * 100
    inverter = attack("direct").open(session(), grants(**settings, work=tmp_path, progress=progress))
    resumed = inverter.observe(frames)
    assert min(seen[100:]) > 1.5  # the first frame was done, the second was half done
    for one, two in zip(whole, resumed, strict=True):
        for name, array in one.arrays.items():
            assert name == "snapshot_cpu_s" or np.array_equal(array, two.arrays[name]), name
        assert one.meta["loss_total"] == two.meta["loss_total"]
    inverter.finish()
    assert not list(tmp_path.iterdir())


def test_other_payloads_and_other_settings_do_not_find_a_kept_descent(images, capture, session, tmp_path):
    def made(image: np.ndarray, **settings) -> np.ndarray:
        inverter = attack("direct").open(session(), grants(iterations=5, work=tmp_path, **settings))
        return inverter.observe([capture(image)])[0].arrays["image"]

    first = made(images[0])
    assert np.array_equal(first, made(images[0]))
    assert not np.array_equal(first, made(images[1]))
    assert not np.array_equal(first, made(images[0], tv=1.0))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "told", "message"),
    [
        (
            "direct",
            {"weights": ""},
            "attack direct needs the victim's weights; accepted: a file weights, or weights=random",
        ),
        ("decoder", {}, "attack decoder needs a prior over pictures; accepted: a file prior (a diffusers folder)"),
        ("diffusion", {}, "attack diffusion needs a prior over pictures; accepted: a file prior (a diffusers folder)"),
        ("direct", {"lr": 0}, "attack direct: setting lr is 0; accepted: a number from 1e-06 to 100"),
        ("direct", {"polish": 0}, "attack direct: setting 'polish' is unknown; accepted: "),
        (
            "direct",
            {"start": "mean"},
            "attack direct needs public pictures; accepted: a file auxiliary (.npz, or a folder)",
        ),
    ],
)
def test_what_an_attack_cannot_start_with_is_one_line(name, told, message, session):
    settings = {key: value for key, value in {**SETTINGS, **told}.items() if value != ""}
    with pytest.raises(InputError) as caught:
        attack(name).open(session(), Grants(settings=settings))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
