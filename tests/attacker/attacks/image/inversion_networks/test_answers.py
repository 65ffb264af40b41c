"""Every picture is asked for once, whatever is killed in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attacker.attacks.image.inversion_networks.answers import ask
from tests.attacker.attacks.image.inversion_networks.conftest import Oracle, pictures, samples
from victims.base import Sample, silent
from wire.errors import InputError


def test_a_killed_run_goes_on_where_it_was(oracle: Oracle, tmp_path: Path) -> None:
    data = samples(pictures(12, 16, 0))
    oracle.breaks_after = 5
    with pytest.raises(KeyboardInterrupt):
        ask(data, oracle, 10, tmp_path, silent)
    with (tmp_path / "answers.bin").open("ab") as file:
        file.write(b"the half of a record")
    oracle.breaks_after = None
    answers = ask(data, oracle, 10, tmp_path, silent)
    assert oracle.asked == [sample.digest() for sample in data[:10]]  # each once, in order, no more than 10
    assert [row.tobytes().hex() for row in answers.digests] == oracle.asked
    for image, features, sample in zip(answers.images, answers.features, data[:10], strict=True):
        assert np.array_equal(image, sample.arrays["image"])
        wanted = oracle.payload(sample.arrays["image"]).tensors["features"][0].numpy()
        assert np.array_equal(features, wanted)


def test_a_picture_that_comes_again_is_not_asked_again(oracle: Oracle, tmp_path: Path) -> None:
    images = pictures(4, 16, 0)
    answers = ask(samples(images[[0, 1, 0, 2, 1]]), oracle, 5, tmp_path, silent)
    assert len(oracle.asked) == 3 and len(answers) == 5
    assert np.array_equal(answers.features[0], answers.features[2])
    fewer = ask(samples(images[[0, 1]]), oracle, 2, tmp_path, silent)
    assert len(fewer) == 2 and len(oracle.asked) == 3


def test_words_come_from_the_samples(oracle: Oracle, tmp_path: Path) -> None:
    first, second = pictures(2, 16, 0)
    data = [Sample("a", {"image": first}, meta={"prompt": "a boat"}), Sample("b", {"image": second})]
    assert ask(data, oracle, 5, tmp_path, silent).prompts == ("a boat", "")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda image: image[:, :8], r"^b: image is uint8 \(16, 8, 3\); accepted: uint8 \(S, S, 3\)$"),
        (lambda image: image.astype(np.float32), r"^b: image is float32 \(16, 16, 3\); accepted: uint8 \(S, S, 3\)$"),
        (
            lambda image: image[:12, :12].copy(),
            r"^b: image is \(12, 12, 3\); .* before it had \(16, 16, 3\)$",
        ),
    ],
)
def test_pictures_of_one_kind_only(
    change: Callable[[np.ndarray], np.ndarray], line: str, oracle: Oracle, tmp_path: Path
) -> None:
    first, second = pictures(2, 16, 0)
    with pytest.raises(InputError, match=line):
        ask([Sample("a", {"image": first}), Sample("b", {"image": change(second)})], oracle, 5, tmp_path, silent)


def test_answers_for_other_pictures_are_not_taken(oracle: Oracle, tmp_path: Path) -> None:
    ask(samples(pictures(3, 16, 0)), oracle, 3, tmp_path, silent)
    with pytest.raises(InputError, match=r"answer 0 is for another picture than is given now"):
        ask(samples(pictures(3, 16, 1)), oracle, 3, tmp_path, silent)
    with pytest.raises(InputError, match=r"^no pictures to ask about"):
        ask([], oracle, 3, tmp_path, silent)
