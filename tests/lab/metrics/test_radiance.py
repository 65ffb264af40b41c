"""Metrics of rebuilt views: by hand, against scikit-image, and what an affine map of colours must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.color import rgb2gray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lab.metrics.base import Answer, Declarations, scorer
from lab.metrics.radiance import (
    METRICS,
    colour_fitted,
    colourfulness,
    depth_error,
    is_picture,
    levels,
    luminance_correlation,
    measured,
)
from victims.base import Sample
from wire.errors import InputError

RNG = np.random.default_rng(0)
STEPS = 40
MEASURE = scorer("radiance", {"preset": "cpu", "steps": STEPS})


def photograph(seed: int = 0, side: int = 24) -> np.ndarray:
    """uint8 (side, side, 3): smooth, with an edge, in colours that vary on their own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    return ((np.stack(waves, -1) * 0.3 + 0.5 + 0.15 * (x > y)[..., None]).clip(0, 1) * 255).astype(np.uint8)


def view(step: int = STEPS, name: str = "view-002", **truth: np.ndarray) -> Sample:
    image = photograph()
    return Sample(name, {}, {"image": image, "mean": np.full_like(image, 128), **truth}, {"step": step, "view": 2})


def values(truth: Sample, image: np.ndarray, **more: np.ndarray) -> dict[str, float | None]:
    return dict(measured(truth, {"image": image, **more}).values)


def test_psnr_and_ssim_are_those_of_scikit_image() -> None:
    true, rebuilt = photograph(), photograph(5)
    found = values(view(), rebuilt.astype(np.float32) / 255)
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(true, rebuilt))
    by_library = structural_similarity(
        true / 255, rebuilt / 255, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert found["ssim"] == pytest.approx(by_library)


def test_luminance_correlation_is_that_of_numpy() -> None:
    a, b = photograph(1), photograph(2)
    x, y = ((p.astype(float) * (0.299, 0.587, 0.114)).sum(-1).ravel() for p in (a, b))
    assert luminance_correlation(a, b) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert luminance_correlation(a, a) == pytest.approx(1)
    assert luminance_correlation(a, 255 - a) == pytest.approx(-1)
    assert luminance_correlation(a, np.full_like(a, 77)) == 0.0
    # Another weighting of the channels (linear light) gives nearly the same on a grey picture, exactly on grey ones.
    grey = np.repeat(a[..., :1], 3, axis=2)
    assert luminance_correlation(grey, b) == pytest.approx(np.corrcoef(rgb2gray(grey).ravel(), y)[0, 1])


def test_colourfulness_by_hand() -> None:
    picture = np.array([[[200, 100, 0], [100, 100, 100]]], np.uint8)  # R - G: 100, 0; (R + G) / 2 - B: 150, 0
    assert colourfulness(picture) == pytest.approx(math.hypot(50, 75) + 0.3 * math.hypot(50, 75))
    assert colourfulness(np.full((4, 4, 3), 90, np.uint8)) == 0.0


def test_depth_error_by_hand() -> None:
    true = np.array([[1.0, 2.0, 0.0], [4.0, 5.0, 0.5]], np.float32)
    rebuilt = np.array([[1.1, 1.0, 9.0], [4.0, 5.5, np.nan]], np.float32)
    assert depth_error(true, rebuilt) == pytest.approx(np.median([0.1, 0.5, 0.0, 0.1, 1.0]))
    assert depth_error(None, rebuilt) is None
    assert depth_error(true, None) is None
    assert depth_error(true, rebuilt[:1]) is None
    assert depth_error(np.zeros_like(true), rebuilt) is None


@given(seed=st.integers(0, 1000), gain=st.floats(0.2, 0.5), mixing=st.floats(-0.2, 0.2), shift=st.floats(60, 90))
def test_colours_that_an_affine_map_moved_are_found_again(seed: int, gain: float, mixing: float, shift: float) -> None:
    true = photograph(seed)
    mix = gain * np.eye(3) + mixing * gain * (np.ones((3, 3)) - np.eye(3))
    moved = (true @ mix.T + shift).clip(0, 255).round().astype(np.uint8)
    # One level of rounding, amplified by the inverse of the map.
    most = 1 + 0.5 * np.abs(np.linalg.inv(mix)).sum(axis=1).max()
    assert np.abs(colour_fitted(true, moved).astype(float) - true).max() <= most


def test_the_fit_is_the_least_squares_one() -> None:
    true, rebuilt = photograph(1), photograph(2)
    best = ((colour_fitted(true, rebuilt).astype(float) - true) ** 2).mean()
    rng = np.random.default_rng(4)
    for _ in range(50):
        other = (rebuilt @ rng.normal(0, 0.5, (3, 3)) + rng.uniform(0, 255, 3)).clip(0, 255)
        assert ((other - true) ** 2).mean() > best - 0.5  # rounding to whole levels costs up to a twelfth
    flat = np.full_like(true, 3)
    mean = true.reshape(-1, 3).mean(0).round()
    assert (colour_fitted(true, flat) == mean).all()  # what says nothing becomes a flat card


def test_a_grey_or_inverted_picture_loses_nothing_by_its_colours() -> None:
    grey = np.repeat(photograph()[..., 1:2], 3, axis=2)
    truth = Sample("v", {}, {"image": grey, "mean": grey}, {"step": STEPS})
    found = values(truth, 255 - grey)
    assert found["luminance_correlation"] == pytest.approx(-1)
    assert found["luminance_correlation_affine"] == pytest.approx(1, abs=1e-3)
    assert found["psnr_affine"] > 50


def test_every_declared_metric_has_a_value_and_no_other() -> None:
    declared = Declarations.of(MEASURE)
    depth = np.ones((24, 24), np.float32)
    found = MEASURE.score(view(depth=depth), {"image": photograph(3), "depth": depth * 1.5}, RNG).values
    assert set(found) == {m.name for m in METRICS}
    assert all(value is not None for value in found.values())
    assert found["depth_error"] == pytest.approx(0.5)
    assert all(declared[name] for name in (*MEASURE.key, MEASURE.headline))
    without = MEASURE.score(view(), {"image": photograph(3)}, RNG).values
    assert without["depth_error"] is None


def test_only_pictures_of_the_end_give_rows() -> None:
    step = Sample("step-000039", {}, {"image": photograph()}, {"step": STEPS - 1})
    assert not is_picture(step)
    for truth in (step, view(step=20)):
        assert MEASURE.score(truth, {"image": photograph(1)}, RNG).values == {}
    assert MEASURE.group(view()) == "view-002"
    always = scorer("radiance", {"steps": STEPS, "counts_from": 0})  # the live page
    assert always.score(view(step=20), {"image": photograph(1)}, RNG).values
    assert always.score(step, {"image": photograph(1)}, RNG).values == {}
    assert MEASURE.oracle(view()) is None


@pytest.mark.parametrize("arrays", [{"image": photograph(side=20)}, {"depth": np.ones((24, 24))}])
def test_another_size_has_no_value_and_says_so(arrays: dict[str, np.ndarray]) -> None:
    scored = MEASURE.score(view(), arrays, RNG)
    assert set(scored.values.values()) == {None}
    assert "has no value; the photograph is (24, 24, 3)" in scored.notes[0]


def test_values_that_are_no_numbers_count_as_black() -> None:
    image = np.array([[[0.5, np.nan, -np.inf], [np.inf, 2.0, 0.0]]], np.float32)
    assert levels(image).tolist() == [[[128, 0, 0], [255, 255, 0]]]


def test_what_the_victim_is_still_worth() -> None:
    truth, render = view(depth=np.full((24, 24), 2.0, np.float32)), photograph(3).astype(np.float32) / 255
    found = {"image": render, "depth": np.full((24, 24), 2.2, np.float32)}
    on_the_way = Answer(view(step=10), {"image": photograph()}, None, "view-002")
    learning = Answer(Sample("s", {}, {}, {"step": STEPS}), {"loss": np.float32(1), "colours": np.ones((4, 3))})
    worth = MEASURE.utility([Answer(truth, found, {"image": photograph(4)}, "view-002"), on_the_way, learning], 0)
    true = photograph()
    own, mean = (peak_signal_noise_ratio(true, p) for p in (photograph(3), np.full_like(true, 128)))
    assert worth["victim_psnr"].mean == pytest.approx(own)
    assert worth["gain_over_mean"].mean == pytest.approx(own - mean)
    assert worth["victim_depth_error"].mean == pytest.approx(0.1)
    assert worth["kept_psnr"].mean == pytest.approx(peak_signal_noise_ratio(photograph(4), photograph(3)))
    assert {summary.n for summary in worth.values()} == {1}
    alone = MEASURE.utility([Answer(view(), {"image": render}, None, "view-002")], 0)
    assert set(alone) == {"victim_psnr", "victim_ssim", "gain_over_mean"}


def test_a_preset_that_does_not_exist_is_answered() -> None:
    with pytest.raises(InputError, match="preset 'big' does not exist"):
        scorer("radiance", {"preset": "big"})
