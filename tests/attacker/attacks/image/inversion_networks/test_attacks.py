"""The three attacks from queries to pictures: learnt, stored, opened, refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from attacker.attacks.base import CapturedFrame, Grants, SessionInfo
from attacker.attacks.image.inversion_networks.attack import InversionByNetwork, grouped
from attacker.attacks.image.inversion_networks.trained import asked_about, load_trained
from attacker.knowledge import KnowledgeCard
from attacker.registry import attack
from tests.attacker.attacks.image.inversion_networks.conftest import Oracle, pictures, samples
from tests.contract.attack import check_attack
from victims.base import silent
from wire.errors import InputError
from wire.payload import Meta

SIDE = 32
SMALL: dict[str, Meta] = {"queries": 40, "width": 4, "epochs": 2, "batch": 16, "precision": "float32"}
SESSION = SessionInfo("5e55", "mine", "here", "", ("dense",))
CARD = KnowledgeCard(victim="black", queries=1)
Fit = Callable[..., Path]


def named(name: str) -> InversionByNetwork:
    found = attack(name)
    assert isinstance(found, InversionByNetwork)
    return found


@pytest.fixture
def files(tiny_folder: Path) -> dict[str, Path]:
    return {"prior": tiny_folder}


@pytest.fixture
def fit(oracle: Oracle, files: dict[str, Path], tmp_path: Path) -> Fit:
    def fitted(name: str, extra: dict[str, Path] | None = None, number: int = 48, **settings: Meta) -> Path:
        told = {"victim": "mine", "split": "here", "seed": 2, **SMALL, **settings}
        grants = Grants({**files, **(extra or {})}, settings=told, query=oracle)
        return named(name).fit(samples(pictures(number, SIDE, 0)), grants, tmp_path / name, silent)

    return fitted


def frames_of(oracle: Oracle, number: int = 3, seed: int = 9) -> list[CapturedFrame]:
    return oracle.frames(pictures(number, SIDE, seed))


@pytest.mark.parametrize("name", ["inversion-direct", "inversion-decoder", "inversion-diffusion"])
def test_from_queries_to_pictures(name: str, fit: Fit, oracle: Oracle, files: dict[str, Path]) -> None:
    settings: dict[str, Meta] = {"steps": 1, "epochs": 1} if name == "inversion-diffusion" else {}
    made = fit(name, **settings)
    assert len(oracle.asked) == 40
    assert asked_about(made, [*oracle.asked, "ab" * 32]) == set(oracle.asked)
    fit(name, **settings)
    assert len(oracle.asked) == 40
    assert CARD.entitles(named(name).needs) == []
    assert CARD.entitles(dataclasses.replace(named(name).needs, queries=2)) and KnowledgeCard(victim="black").entitles(
        named(name).needs
    ) == ["queries: the attack needs 1, the card grants 0"]
    grants = Grants({**files, "inverter": made}, settings={"seed": 2})
    frames = frames_of(oracle)
    alone = check_attack(named(name), CARD, SESSION, grants, frames)
    together = named(name).open(SESSION, grants).observe(frames)
    for one, other in zip(alone, together, strict=True):
        image = one.arrays["image"]
        assert image.dtype == np.uint8 and image.shape == (SIDE, SIDE, 3)
        assert np.abs(image.astype(int) - other.arrays["image"]).max() <= 1  # a batch is no other attack
        assert one.meta["queries"] == 40


def test_what_is_rebuilt_is_what_was_heard(fit: Fit, oracle: Oracle) -> None:
    made = fit("inversion-direct", number=96, queries=96, epochs=8, lr=0.01)
    truth, frames = pictures(6, SIDE, 9).astype(float), frames_of(oracle, 6)
    inverter = named("inversion-direct").open(SESSION, Grants({"inverter": made}))

    def error(heard: list[CapturedFrame]) -> np.ndarray:
        found = np.stack([item.arrays["image"] for item in inverter.observe(heard)])
        return ((found - truth) ** 2).mean((1, 2, 3))

    swapped = [dataclasses.replace(frame, parts=frames[(i + 1) % 6].parts) for i, frame in enumerate(frames)]
    assert (error(frames) * 2 < error(swapped)).all()


def test_a_clip_is_inverted_together(fit: Fit, oracle: Oracle) -> None:
    made = fit("inversion-direct", frames=2)
    inverter = named("inversion-direct").open(SESSION, Grants({"inverter": made}))
    frames = oracle.frames(pictures(5, SIDE, 9))
    found = inverter.observe(frames[::-1])
    assert [item.frames for item in found] == [(4,), (3,), (2,), (1,), (0,)]
    again = {item.frames: item for item in inverter.observe(frames[2:4])}
    for item in found:
        if item.frames in again:
            assert np.abs(item.arrays["image"].astype(int) - again[item.frames].arrays["image"]).max() <= 1


def test_frames_of_a_clip_that_are_missing_are_stood_in_for(oracle: Oracle) -> None:
    frames = oracle.frames(pictures(8, 16, 0))
    heard = [frames[i] for i in (1, 4, 6)]
    assert [[f.frame for f in group] for group in grouped(heard, 4)] == [[1, 1, 1, 1], [4, 4, 6, 6]]


def test_the_decoders_network_is_a_start_for_diffusion(fit: Fit, oracle: Oracle, tmp_path: Path) -> None:
    decoder = fit("inversion-decoder")
    network, card = load_trained(decoder)
    # With a rate of almost nothing the start is what is kept.
    still = {"steps": 1, "lr": 1e-6, "epochs": 1, "queries": 20}
    made, began = load_trained(fit("inversion-diffusion", {"start": decoder}, **still))
    assert card.shape == began.shape
    for (name, tensor), other in zip(network.named_parameters(), made.parameters(), strict=True):
        assert torch.allclose(tensor, other, atol=1e-4), name
    (tmp_path / "inversion-diffusion" / "training.ckpt").unlink()
    with pytest.raises(InputError, match=r"accepted as a start: of inversion-decoder for mine at here"):
        fit("inversion-diffusion", {"start": fit("inversion-direct")}, **still)


def test_words_enter_the_training_and_the_inversion(fit: Fit, oracle: Oracle, files: dict[str, Path]) -> None:
    words = "a photo of a frog, green background"
    made = fit(
        "inversion-diffusion",
        steps=1,
        epochs=1,
        queries=20,
        prompt=words,
        negentropy="printed",
    )
    frames = frames_of(oracle, 1)

    def image(prompt: str) -> bytes:
        grants = Grants({**files, "inverter": made}, settings={"prompt": prompt})
        return named("inversion-diffusion").open(SESSION, grants).observe(frames)[0].arrays["image"].tobytes()

    kept = Grants({**files, "inverter": made})
    same = named("inversion-diffusion").open(SESSION, kept).observe(frames)[0].arrays["image"].tobytes()
    assert same == image(words) != image("a photo of a ship, blue background")


def test_networks_for_something_else_are_refused(fit: Fit, oracle: Oracle, broken: Callable[[], Path]) -> None:
    made = fit("inversion-decoder")
    direct = named("inversion-direct")
    decoder = named("inversion-decoder")
    cases = [
        (
            direct,
            SESSION,
            Grants({"inverter": made}),
            "trained for attack inversion-decoder; accepted: inv",
        ),
        (decoder, dataclasses.replace(SESSION, victim="other"), Grants({"inverter": made}), "trained for victim mine"),
        (
            decoder,
            dataclasses.replace(SESSION, split="there"),
            Grants({"inverter": made}),
            "for split point here",
        ),
        (decoder, SESSION, Grants({"inverter": made}), "attack inversion-decoder needs a prior"),
        (decoder, SESSION, Grants(), "attack inversion-decoder needs a trained network; accepted: a file inverter"),
        (decoder, SESSION, Grants({"inverter": Path(__file__)}), "not readable as a trained inversion network"),
    ]
    for one, session, grants, line in cases:
        with pytest.raises(InputError, match=line):
            one.open(session, grants)
    other = broken()
    weights = other / "vae" / "diffusion_pytorch_model.safetensors"
    with safe_open(weights, framework="pt") as file:
        meta = file.metadata()
    save_file({k: v + 0.01 for k, v in load_file(weights).items()}, weights, metadata=meta)
    with pytest.raises(InputError, match=r"was trained with another prior; accepted: the one it was trained with$"):
        decoder.open(SESSION, Grants({"inverter": made, "prior": other}))


def test_bad_settings_and_grants(fit: Fit, oracle: Oracle, tmp_path: Path) -> None:
    direct = named("inversion-direct")
    told: dict[str, Meta] = {"victim": "mine", "split": "here"}
    data = samples(pictures(2, SIDE, 0))
    cases: list[tuple[Grants, str]] = [
        (Grants(settings=told), r"^attack inversion-direct learns from queries and was granted none"),
        (Grants(settings={"split": "here"}, query=oracle), r"setting victim is None; accepted: the name of the victim"),
        (Grants(settings={**told, "epochs": 0}, query=oracle), r"setting epochs is 0; accepted: a whole number from 1"),
        (
            Grants(settings={**told, "colour": 1}, query=oracle),
            r"setting 'colour' is unknown; accepted: queries",
        ),
        (Grants(settings=told, query=oracle), r"^2 pictures were asked for; accepted: at least 16 to learn from$"),
    ]
    for grants, line in cases:
        with pytest.raises(InputError, match=line):
            direct.fit(data, grants, tmp_path / "work", silent)
    assert len(oracle.asked) == 2
    made = fit("inversion-direct")
    heard = oracle.frames(pictures(1, 16, 0), first=7)
    with pytest.raises(InputError, match=r"^frame 7: features are \(8, 8, 8\); accepted: \(8, 16, 16\)$"):
        direct.open(SESSION, Grants({"inverter": made})).observe(heard)
