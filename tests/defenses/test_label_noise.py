"""Noise on colours: its deviation, and that nothing else of a sample changes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from defenses.label_noise import LabelNoise
from tests.contract.defense import turn
from victims.base import Sample
from wire.errors import InputError

COLOURS = np.random.default_rng(0).random((5000, 3), dtype=np.float32)


def step() -> Sample:
    arrays = {"pose": np.eye(4, dtype=np.float32)[:3], "pixels": np.arange(5000, dtype=np.int32), "colours": COLOURS}
    return Sample("step-000004", arrays, {"image": np.zeros((4, 4, 3), np.uint8)}, {"step": 4})


@pytest.mark.parametrize("std", [0.25, 8.0])
def test_only_the_colours_change_and_by_normal_noise(std: float) -> None:
    sample = step()
    prepared = LabelNoise({"std": std}).prepare(sample, turn())
    assert set(prepared.arrays) == set(sample.arrays)
    assert all(prepared.arrays[key] is sample.arrays[key] for key in ("pose", "pixels"))
    assert (prepared.name, prepared.truth, prepared.meta) == (sample.name, sample.truth, sample.meta)
    assert prepared.arrays["colours"].dtype == np.float32
    noise = (prepared.arrays["colours"] - COLOURS).astype(np.float64).ravel()
    assert noise.std() == pytest.approx(std, rel=0.04)
    assert stats.kstest(noise, "norm", (0, std)).pvalue > 1e-4


def test_the_same_turn_draws_the_same_and_another_does_not() -> None:
    draws = [LabelNoise({}).prepare(step(), turn(frame)).arrays["colours"] for frame in (1, 1, 2)]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_a_picture_to_be_rendered_has_no_colours_to_noise() -> None:
    sample = step()
    picture = Sample("view-2", {k: v for k, v in sample.arrays.items() if k != "colours"}, {}, sample.meta)
    assert LabelNoise({}).prepare(picture, turn()) is picture
    assert LabelNoise({"std": 0}).prepare(sample, turn()) is sample


def test_settings_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^defense label-noise: std is -1; accepted: a number from 0 to 1000$"):
        LabelNoise({"std": -1})
    with pytest.raises(InputError, match=r"^defense label-noise: setting 'sigma' is unknown; accepted: strength, std$"):
        LabelNoise({"sigma": 1})
