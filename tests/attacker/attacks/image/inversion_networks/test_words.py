"""Words of the attacker's own pictures: said as the prior's captions say them, learnt from, and answered with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.attacks.base import Grants, SessionInfo
from attacker.attacks.image.inversion_networks.attack import InversionByNetwork
from attacker.attacks.image.inversion_networks.latents import Sampled
from attacker.attacks.image.inversion_networks.trained import load_trained
from attacker.attacks.image.inversion_networks.words import words_of
from attacker.attacks.image.prior_training.captions import all_captions
from attacker.registry import attack
from tests.attacker.attacks.image.inversion_networks.conftest import Oracle, pictures
from victims.base import Sample, silent
from wire.errors import InputError
from wire.payload import Meta

NUMBER, SIDE = 17, 32
SMALL: dict[str, Meta] = {
    "victim": "mine", "split": "here", "seed": 2, "queries": NUMBER, "width": 4, "epochs": 1, "batch": 16,
    "precision": "float32", "steps": 1,
}  # fmt: skip


def described(labels: Sequence[int]) -> list[Sample]:
    """Pictures, the same at every call, with these labels (-1: none)."""
    images = pictures(len(labels), SIDE, 0)
    return [
        Sample(f"p{i}", {"image": image}, {"label": np.array(label)} if label >= 0 else {})
        for i, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


class Rig:
    """Trains on labelled pictures. told: the prompts of each batch that went through the sampler."""

    def __init__(self, prior: Path, oracle: Oracle, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prior, self.oracle, self.work = prior, oracle, work
        self.told: list[list[str]] = []
        rendered = Sampled.pictures

        def heard(sampled: Sampled, output: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
            self.told.append(list(prompts))
            return rendered(sampled, output, prompts)

        monkeypatch.setattr(Sampled, "pictures", heard)

    @property
    def attack(self) -> InversionByNetwork:
        found = attack("inversion-diffusion")
        assert isinstance(found, InversionByNetwork)
        return found

    def fit(self, work: str, labels: Sequence[int], **settings: Meta) -> Path:
        grants = Grants({"prior": self.prior}, settings={**SMALL, **settings}, query=self.oracle)
        return self.attack.fit(described(labels), grants, self.work / work, silent)

    def rebuilt(self, made: Path, **settings: Meta) -> np.ndarray:
        session = SessionInfo("5e55", "mine", "here", "", ("dense",))
        inverter = self.attack.open(session, Grants({"prior": self.prior, "inverter": made}, settings=settings))
        (found,) = inverter.observe(self.oracle.frames(pictures(1, SIDE, 9)))
        return np.asarray(found.arrays["image"])


@pytest.fixture
def rig(tiny_folder: Path, oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(tiny_folder, oracle, tmp_path, monkeypatch)


def weights(made: Path) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in load_trained(made)[0].state_dict().values()]


CATS, DOGS = [3] * NUMBER, [5] * NUMBER


def test_words_of_a_picture_are_a_caption_of_the_prior() -> None:
    blue = np.full((SIDE, SIDE, 3), (56, 100, 160), np.uint8)
    blue[8:24, 8:24] = 255
    sample = Sample("one", {"image": blue}, {"label": np.array(0)})
    assert words_of(sample, "none") == ""
    assert words_of(sample, "class") == "a photo of an airplane"
    assert words_of(sample, "background") == "a photo, blue background"
    assert {words_of(sample, "class"), words_of(sample, "background")} <= set(all_captions())
    assert words_of(described([3])[0], "class") == "a photo of a cat"


@pytest.mark.parametrize(("label", "found"), [(-1, "absent"), (10, "10")])
def test_a_picture_without_a_class_has_no_class_words(label: int, found: str) -> None:
    with pytest.raises(InputError, match=rf"^p0: label is {found}; accepted with words=class: 0 to 9 \(airplane,"):
        words_of(described([label])[0], "class")


def test_words_reach_the_network_in_training(rig: Rig) -> None:
    cats = rig.fit("cats", CATS, words="class")
    assert {prompt for batch in rig.told for prompt in batch} == {"a photo of a cat"}
    assert sum(map(len, rig.told)) == NUMBER  # 16 that are learnt from, 1 that is held out
    assert weights(cats) != weights(rig.fit("dogs", DOGS, words="class"))
    assert load_trained(cats)[1].queries == NUMBER


def test_each_picture_is_learnt_from_under_its_own_words(rig: Rig) -> None:
    labels = [number % 10 for number in range(NUMBER)]
    rig.fit("mixed", labels, words="class")
    wanted = sorted(words_of(sample, "class") for sample in described(labels))
    assert sorted(prompt for batch in rig.told for prompt in batch) == wanted


def test_a_network_that_is_told_no_words_does_not_depend_on_them(rig: Rig) -> None:
    cats, dogs = rig.fit("cats", CATS), rig.fit("dogs", DOGS)
    assert {prompt for batch in rig.told for prompt in batch} == {""}
    assert weights(cats) == weights(dogs)
    assert rig.rebuilt(cats).tobytes() == rig.rebuilt(dogs).tobytes()


def test_words_reach_the_network_when_it_answers(rig: Rig) -> None:
    made = rig.fit("mixed", [number % 10 for number in range(NUMBER)], words="class")
    said = {prompt: rig.rebuilt(made, prompt=prompt) for prompt in ("", "a photo of a cat", "a photo of a ship")}
    assert len({image.tobytes() for image in said.values()}) == 3
    # What a picture was learnt under is no default: who gives no words has none.
    assert rig.rebuilt(made).tobytes() == said[""].tobytes()


def test_a_wrong_kind_of_words_and_pictures_that_have_none_are_one_line(rig: Rig) -> None:
    with pytest.raises(InputError, match=r"words is 'colour'; accepted: none, class, background$"):
        rig.fit("a", CATS, words="colour")
    with pytest.raises(InputError, match=r"^p0: label is absent; accepted with words=class: 0 to 9"):
        rig.fit("b", [-1] * NUMBER, words="class")
    assert not rig.oracle.asked
