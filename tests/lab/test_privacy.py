"""Costs of frames and sessions against closed forms and against the accountant that does not know them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld.privacy_loss_distribution import from_laplace_mechanism
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from defenses.base import Mechanism
from lab.privacy import (
    CLEAR,
    UNDEFENDED,
    Releases,
    frame_epsilon,
    privacy_line,
    privacy_sheet,
    pure_epsilon,
    run_privacy,
    session_epsilon,
)
from lab.runfolder import RunFolder, write_whole
from wire.errors import InputError
from wire.record import RecordWriter

MakeRun = Callable[..., RunFolder]
DELTA = 1e-5


def gaussian(ratio: float, frames: int) -> Releases:
    return Releases(Mechanism("gaussian", 6.0 * ratio, 6.0), frames)


def laplace(epsilon: float, frames: int) -> Releases:
    return Releases(Mechanism("laplace", 6.0 / epsilon, 6.0), frames)


def delta_of(mu: float, epsilon: float) -> float:
    """Of N(0, 1) against N(mu, 1) (Balle & Wang 2018, theorem 8)."""
    tail = math.exp(epsilon + stats.norm.logcdf(-epsilon / mu - mu / 2))
    return float(stats.norm.cdf(-epsilon / mu + mu / 2)) - tail


@pytest.mark.parametrize(("ratio", "frames"), [(4.0, 1), (4.0, 100), (0.5, 3), (0.02, 1000)])
def test_gaussian_frames_compose_to_a_gaussian(ratio: float, frames: int) -> None:
    epsilon = session_epsilon([gaussian(ratio, frames)], DELTA)
    assert delta_of(math.sqrt(frames) / ratio, epsilon) == pytest.approx(DELTA, rel=1e-6)
    halves = [gaussian(ratio, frames // 2), gaussian(ratio, frames - frames // 2)]
    assert session_epsilon(halves, DELTA) == pytest.approx(epsilon)
    assert session_epsilon([gaussian(ratio, 1)], DELTA) == frame_epsilon(gaussian(ratio, 1).mechanism, DELTA)


def test_the_exact_gaussian_is_just_below_the_general_accountant() -> None:
    accountant = PLDAccountant()
    accountant.compose(GaussianDpEvent(4.0), 100)
    general = accountant.get_epsilon(DELTA)
    assert general * 0.999 < session_epsilon([gaussian(4.0, 100)], DELTA) <= general


def test_a_laplace_frame_is_exact_and_pure() -> None:
    assert frame_epsilon(laplace(0.7, 1).mechanism, DELTA) == pytest.approx(0.7)
    assert pure_epsilon([laplace(0.7, 10), laplace(0.1, 5)]) == pytest.approx(7.5)
    assert pure_epsilon([laplace(0.7, 10), gaussian(1.0, 1)]) == math.inf


def test_a_laplace_frame_at_a_delta_is_its_curve() -> None:
    """delta(e) = 1 - exp((e - epsilon) / 2) for a single Laplace release (Dong, Roth & Su 2022)."""
    found = session_epsilon([laplace(2.0, 1)], 0.05)
    assert found == pytest.approx(2.0 + 2 * math.log(1 - 0.05), abs=1e-3)


def test_many_laplace_frames_cost_less_than_their_sum_and_not_less_than_a_simulation() -> None:
    sum_of, delta = 100 * 0.1, 1e-2
    epsilon = session_epsilon([laplace(0.1, 100)], delta)
    assert epsilon < 0.5 * sum_of
    # delta(epsilon) is the mean of (1 - exp(epsilon - L))+ over the summed losses L of one pair
    x = np.random.default_rng(0).laplace(scale=10.0, size=(20_000, 100))
    losses = ((np.abs(x - 1) - np.abs(x)) / 10).sum(1)
    gaps = np.maximum(0, 1 - np.exp(epsilon - losses))
    assert gaps.mean() - 5 * gaps.std() / math.sqrt(len(gaps)) < delta < gaps.mean() + 5 * gaps.std() / 141
    assert session_epsilon([laplace(500.0, 4)], DELTA) == pytest.approx(2000.0)  # there the sum is all there is


@settings(max_examples=5, deadline=None)
@given(share=st.floats(0.05, 0.5), epsilon=st.floats(0.2, 4.0))
def test_one_axis_is_the_worst_of_an_l1_ball(share: float, epsilon: float) -> None:
    """Features far apart on two values are at most as far apart as on one, for the same L1 distance."""
    on_two = from_laplace_mechanism(1 / epsilon, sensitivity=share).compose(
        from_laplace_mechanism(1 / epsilon, sensitivity=1 - share)
    )
    on_one = from_laplace_mechanism(1 / epsilon)
    for delta in (1e-6, 1e-3, 0.1):
        assert on_two.get_epsilon_for_delta(delta) <= on_one.get_epsilon_for_delta(delta) + 1e-3


def test_both_kinds_in_one_session() -> None:
    both = session_epsilon([gaussian(4.0, 10), laplace(0.1, 10)], DELTA)
    alone = [session_epsilon([gaussian(4.0, 10)], DELTA), session_epsilon([laplace(0.1, 10)], DELTA)]
    assert max(alone) < both < sum(alone)


@given(delta=st.floats(1e-9, 0.1), frames=st.integers(1, 200))
@settings(max_examples=20, deadline=None)
def test_more_frames_cost_more_and_a_larger_delta_less(delta: float, frames: int) -> None:
    epsilon = session_epsilon([gaussian(3.0, frames)], delta)
    assert session_epsilon([gaussian(3.0, frames + 1)], delta) > epsilon or epsilon == 0
    assert session_epsilon([gaussian(3.0, frames)], min(0.9, 2 * delta)) <= epsilon


def test_what_cannot_be_composed_is_named() -> None:
    with pytest.raises(InputError, match="mechanism 'uniform' cannot be composed; accepted: gaussian, laplace"):
        session_epsilon([Releases(Mechanism("uniform", 1.0, 1.0), 2)], DELTA)
    with pytest.raises(InputError, match=r"delta is 0\.0; accepted"):
        session_epsilon([gaussian(1.0, 1)], 0.0)


NOISE: dict[str, Any] = {"name": "gaussian", "settings": {"epsilon": 2.0, "clip": 3.0, "unit": "absolute"}}
PURE: dict[str, Any] = {"name": "laplace", "settings": {"epsilon": 0.5, "clip": 3.0, "unit": "absolute"}}
OFF: dict[str, Any] = {"name": "feature_centric", "settings": {"strength": 1.0}}


def test_a_run_under_one_defense(make_run: MakeRun) -> None:
    run = make_run()
    write_whole(run.edge / "segments.json", json.dumps({"0": NOISE}))
    found = run_privacy(run, "none", {})
    assert found is not None
    assert found["epsilon_frame"] == pytest.approx(2.0)
    ratio = frame_ratio(2.0)
    assert found["epsilon_session"] == pytest.approx(session_epsilon([gaussian(ratio, 10)], DELTA))
    assert (found["frames"], found["delta"], found["delta_frame"]) == (10, DELTA, DELTA)
    assert found["epsilon_session_pure"] is None and "segments" not in found
    assert privacy_line({"privacy": found}) == (
        f"privacy: epsilon 2 a frame (delta 1e-05), {found['epsilon_session']:.4g} over 10 frames (delta 1e-05)"
    )
    (run.edge / "segments.json").unlink()  # an older record: the run's own words count
    assert run_privacy(run, NOISE["name"], NOISE["settings"]) == found
    assert run_privacy(run, "feature_centric", OFF["settings"]) is None
    assert privacy_line({}) == ""


def frame_ratio(epsilon: float) -> float:
    from dp_accounting import get_sigma_gaussian

    return float(get_sigma_gaussian(epsilon, DELTA))


def test_segments_are_told_apart_and_added_up(make_run: MakeRun) -> None:
    run = make_run(swaps={4: PURE})
    write_whole(run.edge / "segments.json", json.dumps({"0": NOISE, "1": PURE}))
    found = run_privacy(run, "none", {})
    assert found is not None
    first, second = found["segments"]["0"], found["segments"]["1"]
    assert (first["frames"], second["frames"], found["frames"]) == (4, 6, 10)
    assert second["epsilon_frame"] == pytest.approx(0.5)
    assert second["epsilon_session_pure"] == pytest.approx(3.0)
    assert second["delta_frame"] == 0.0
    assert found["epsilon_frame"] == pytest.approx(2.0)
    assert max(first["epsilon_session"], second["epsilon_session"]) < found["epsilon_session"]
    assert found["epsilon_session"] < first["epsilon_session"] + 3.0
    sheet = privacy_sheet([("layer1", {"privacy": found, "defense": {"measured": {"clipped": 0.5}}})])
    assert sheet is not None
    assert [row[0].text for row in sheet.rows] == ["layer1", "layer1, segment 0", "layer1, segment 1"]
    assert sheet.rows[2][2].text == "0.5" and sheet.rows[2][2].small == ("delta 0",)
    assert sheet.rows[0][5].text == "50%"


def test_a_stretch_without_a_guarantee_leaves_none_over_the_session(make_run: MakeRun) -> None:
    run = make_run(swaps={4: OFF})
    write_whole(run.edge / "segments.json", json.dumps({"0": NOISE, "1": OFF}))
    write_whole(run.edge / "calibration.json", json.dumps({"rms": 1.0, "clip": None, "frames": 4}))
    found = run_privacy(run, "none", {})
    assert found is not None
    assert (found["epsilon_session"], found["why"], found["frames"]) == (None, UNDEFENDED, 10)
    assert found["segments"]["0"]["epsilon_frame"] == pytest.approx(2.0)
    assert privacy_line({"privacy": found}) == f"privacy: nothing is guaranteed: {UNDEFENDED}"


def test_what_left_in_the_clear_takes_the_guarantee_away(make_run: MakeRun) -> None:
    run = make_run()
    write_whole(run.edge / "segments.json", json.dumps({"0": NOISE}))
    with RecordWriter(run.edge, max_bytes=1 << 30) as edge:
        edge.event("defended", {"frame": 3, "segment": 0, "sigma": 1.0, "covered": False})
    found = run_privacy(run, "none", {})
    assert found is not None
    assert (found["epsilon_frame"], found["why"]) == (None, CLEAR)
    assert privacy_sheet([("c", {})]) is None
    sheet = privacy_sheet([("c", {"privacy": found})])
    assert sheet is not None and CLEAR in sheet.reasons
