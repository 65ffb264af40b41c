"""Parts of a run by themselves, against hand computation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab.metrics.base import scorer
from lab.runfolder import RunFolder
from lab.scores import score_run
from lab.summary import Listener, count_frames, summarize_run

MakeRun = Callable[..., RunFolder]
LIDAR = scorer("lidar", {"preset": "street"})
DESCRIBED = dict.fromkeys(("study", "victim", "split", "defense", "link", "knowledge"), "x")
NOISE = {"name": "feature_centric", "settings": {"strength": 0.5}}


def summed(run: RunFolder, **more: object) -> dict[str, object]:
    scores = score_run(run, LIDAR, seed=7)
    frames = count_frames(run, Listener(len(scores.groups), 0), ("coordinates", "concretizer"))
    return summarize_run(run, LIDAR, scores, frames, DESCRIBED, seed=7, **more)  # type: ignore[arg-type]


def test_a_part_holds_its_own_frames_scores_times_and_costs(make_run: MakeRun) -> None:
    run = make_run(frames=10, failed=1)
    found = summed(run, parts={"halves": {"even": [0, 2, 4, 6, 8], "odd": [1, 3, 5, 7, 9]}})
    halves = found["halves"]
    assert isinstance(halves, dict)
    scores = score_run(run, LIDAR, seed=7)
    for name, first in (("even", 0), ("odd", 1)):
        values = [v for f, v in scores.of("concretizer", "f1_15").items() if f % 2 == first]
        assert halves[name]["scores"]["concretizer"]["f1_15"]["mean"] == pytest.approx(np.mean(values))
        assert (halves[name]["frames"], halves[name]["groups"]) == (5, 5)
    # head times are 200..209 ms and totals 410..419; frame 0 failed
    assert halves["even"]["latency_ms"]["head"]["p50"] == 205.0
    assert halves["odd"]["latency_ms"]["head"]["p50"] == 205.0
    assert halves["even"]["costs"]["total_ms"]["mean"] == pytest.approx((412 + 414 + 416 + 418) / 4)
    assert halves["odd"]["costs"]["total_ms"]["n"] == 5
    assert halves["odd"]["costs"]["payload_bytes"]["mean"] == 1000
    assert halves["odd"]["costs"]["total_ms"]["low"] is None  # five streets are no interval
    assert halves["odd"]["utility"]["ap_car_70"]["mean"] == 1.0
    assert "segments" not in found


def test_the_whole_as_one_part_has_the_figures_of_the_whole(make_run: MakeRun) -> None:
    found = summed(make_run(), parts={"halves": {"all": range(10)}})
    part = found["halves"]["all"]  # type: ignore[index]
    assert part["scores"] == found["scores"]
    assert part["utility"] == found["utility"]
    assert part["costs"]["total_ms"]["low"] < 414.5 < part["costs"]["total_ms"]["high"]


def test_each_segment_is_summed_up_under_its_own_defense(make_run: MakeRun) -> None:
    run = make_run(frames=8, swaps={3: NOISE, 6: {"name": "none", "settings": {}}})
    segments = summed(run)["segments"]
    assert isinstance(segments, dict)
    scores = score_run(run, LIDAR, seed=7)
    for number, frames in (("0", [0, 1, 2]), ("1", [3, 4, 5]), ("2", [6, 7])):
        found = segments[number]
        assert (found["first_frame"], found["last_frame"], found["frames"]) == (frames[0], frames[-1], len(frames))
        values = [scores.of("coordinates", "f1_15")[frame] for frame in frames]
        assert found["scores"]["coordinates"]["f1_15"]["mean"] == pytest.approx(np.mean(values))
    assert segments["1"]["defense"] == {"name": "feature_centric", "strength": 0.5, "measured": {}}
    assert segments["2"]["defense"]["name"] == "none"
