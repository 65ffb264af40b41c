"""Settings: defaults, the paper's, and one line for everything that is not accepted."""

from __future__ import annotations

import pytest

from attacker.attacks.image.choices import read, seed
from attacker.attacks.image.diffusion import DiffusionSettings
from attacker.attacks.image.direct import DirectSettings
from wire.errors import InputError


def test_the_papers_settings_and_what_goes_before_them():
    paper = read(DiffusionSettings, {"paper": True, "device": "cpu", "seed": 3, "iterations": 7}, "diffusion")
    assert (paper.lr, paper.tv, paper.loss, paper.steps) == (0.1, 1.0, "sum", 20)
    assert (paper.schedule, paper.keep, paper.negentropy, paper.tied) == ("constant", "last", "printed", "raw")
    assert paper.iterations == 7
    plain = read(DiffusionSettings, {"paper": False}, "diffusion")
    assert (plain.loss, plain.tv, plain.steps, plain.keep) == ("relative", 0.1, 10, "best")


def test_a_whole_number_does_for_a_number():
    assert read(DirectSettings, {"tv": 1}, "direct").tv == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"iterations": 1.5},
            "attack diffusion: setting iterations is 1.5; accepted: a whole number from 0 to 1000000",
        ),
        (
            {"iterations": True},
            "attack diffusion: setting iterations is True; accepted: a whole number from 0 to 1000000",
        ),
        ({"lr": float("nan")}, "attack diffusion: setting lr is nan; accepted: a number from 1e-06 to 100"),
        ({"lr": "fast"}, "attack diffusion: setting lr is 'fast'; accepted: a number from 1e-06 to 100"),
        ({"alpha": 3}, "attack diffusion: setting alpha is 3; accepted: a number from 1 to 2"),
        ({"loss": "mean"}, "attack diffusion: setting loss is 'mean'; accepted: relative, sum"),
        ({"normaliser": 1}, "attack diffusion: setting normaliser is 1; accepted: true or false"),
        ({"prompt": 3}, "attack diffusion: setting prompt is 3; accepted: a text"),
        ({"paper": "yes"}, "attack diffusion: setting paper is 'yes'; accepted: true or false"),
    ],
)
def test_a_refusal_is_one_line(given, message):
    with pytest.raises(InputError) as caught:
        read(DiffusionSettings, given, "diffusion")
    assert str(caught.value) == message


def test_an_unknown_setting_is_answered_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"^attack direct: setting 'itertions' is unknown; accepted: iterations, lr, tv"
    ):
        read(DirectSettings, {"itertions": 3}, "direct")
    with pytest.raises(InputError, match=r"^attack direct: setting seed is -1; accepted: a whole number from 0$"):
        seed({"seed": -1}, "direct")
