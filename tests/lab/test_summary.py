"""The sums that must hold, and figures against hand computation."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from lab.metrics.base import scorer
from lab.runfolder import RunFolder
from lab.scores import score_run
from lab.summary import Frames, Listener, Sender, compare, count_frames, summarize_run, summarize_study
from wire.errors import RunError

MakeRun = Callable[..., RunFolder]
LIDAR = scorer("lidar", {"preset": "street"})
ATTACKS = ("coordinates", "concretizer")
DESCRIBED = {
    "study": "concretizer-depths", "victim": "second", "split": "conv3.0", "defense": "none",
    "link": {"rate_mbps": 100}, "knowledge": {"vantage": "wire"},
}  # fmt: skip


def test_all_sums_hold(make_run: MakeRun) -> None:
    run = make_run(failed=1, skip=(("concretizer", 3), ("concretizer", 9)))
    listener = Listener(captured=10, missed=0, duplicated=2, dropped={"concretizer": 1}, lost={"concretizer": 1})
    assert count_frames(run, listener, ATTACKS) == Frames(
        sent=10, answered=9, failed=1, captured=10, missed=0, inverted=8, lost=0, duplicated=2, dropped=2
    )


@pytest.mark.parametrize(
    ("listener", "message"),
    [
        (
            Listener(captured=10, missed=1),
            r"sent = captured \+ missed does not hold: 10 against 11 \(captured 10, missed 1\)",
        ),
        (Listener(captured=9, missed=1), r"captured = inverted \+ dropped \+ lost \(coordinates\)"),
        (Listener(10, 0, dropped={"concretizer": 1}), r"\(concretizer\) does not hold: 10 against 11"),
        (Listener(captured=11, missed=-1), "sent = captured"),
    ],
)
def test_a_sum_that_does_not_hold_is_named(make_run: MakeRun, listener: Listener, message: str) -> None:
    with pytest.raises(RunError, match=message):
        count_frames(make_run(), listener, ATTACKS)


def test_what_is_learnt_from_belongs_to_the_sum(make_run: MakeRun) -> None:
    run = make_run(skip=tuple(("concretizer", n) for n in (3, 5, 9)))
    learnt = {"concretizer": {3, 5, 7}}  # 7 was rebuilt too, later: it is not counted twice
    found = count_frames(run, Listener(10, 0, lost={"concretizer": 1}, learnt=learnt), ATTACKS)
    assert (found.inverted, found.learnt, found.dropped) == (7, 2, 1)
    assert found.told()["learnt"] == 2 and "learnt" not in count_frames(make_run(), Listener(10, 0), ATTACKS).told()
    line = r"captured = inverted \+ dropped \+ lost \+ learnt \(concretizer\) does not hold: 10 against 9"
    with pytest.raises(RunError, match=line):
        count_frames(run, Listener(10, 0, learnt=learnt), ATTACKS)


def test_a_frame_without_an_end_is_lost_and_only_live_may_lose_it(make_run: MakeRun) -> None:
    run = make_run()
    sender, listener = Sender(sent=10, answered=9, failed=0, lost=1), Listener(10, 0)
    assert count_frames(run, listener, ATTACKS, live=True, sender=sender).lost == 1
    with pytest.raises(RunError, match=r"sent = answered \+ failed does not hold: 10 against 9"):
        count_frames(run, listener, ATTACKS, sender=sender)


def test_a_reconstruction_nobody_asked_for_is_an_error(make_run: MakeRun) -> None:
    with pytest.raises(RunError, match="'concretizer', which was not asked for"):
        count_frames(make_run(), Listener(10, 0), ("coordinates",))


def test_the_object_has_its_documented_shape_and_figures(make_run: MakeRun) -> None:
    run = make_run(empty=(("concretizer", 2),))
    scores = score_run(run, LIDAR, seed=7)
    frames = count_frames(run, Listener(10, 0), ATTACKS)
    found = summarize_run(run, LIDAR, scores, frames, DESCRIBED, seed=7, link_measured={"rate_mbps": 98.0})
    assert {
        "study", "victim", "split", "defense", "link", "knowledge", "frames", "scores", "utility", "latency_ms",
        "bytes", "link_measured", "environment",
    } <= set(found)  # fmt: skip
    assert set(found["frames"]) == {
        "sent", "answered", "failed", "captured", "missed", "inverted", "lost", "duplicated", "dropped",
    }  # fmt: skip
    f1 = found["scores"]["concretizer"]["f1_15"]
    values = [v for v in scores.of("concretizer", "f1_15").values() if v is not None]
    assert set(f1) == {"mean", "median", "low", "high", "n"}
    assert f1["mean"] == pytest.approx(sum(values) / 10)
    assert f1["low"] < f1["mean"] < f1["high"]  # ten streets
    assert found["scores"]["concretizer"]["chamfer"]["n"] == 9  # the empty one has no distance
    # head times are 200..209 ms: numpy's linear 95th percentile is 200 + .95 * 9
    assert found["latency_ms"]["head"] == {"p50": 204.5, "p95": pytest.approx(208.55)}
    assert found["latency_ms"]["listener.invert.concretizer"]["p50"] == 900.0
    assert found["bytes"] == {"payload_mean": 1000.0, "wire_up": 1100.0, "wire_down": 90.0}
    assert found["utility"]["ap_car_70"]["mean"] == 1.0
    assert "agreement" not in found["utility"]  # no reference was given
    pair = found["differences"]["concretizer - coordinates"]["f1_15"]
    floor = np.array([v for v in scores.of("coordinates", "f1_15").values() if v is not None])
    assert pair["mean"] == pytest.approx((np.array(values) - floor).mean())
    assert found["groups"] == 10
    run.write_summary(found)
    assert run.read_summary() == json.loads(json.dumps(found))


def test_six_scans_are_six_rows_and_no_interval(make_run: MakeRun) -> None:
    run = make_run(frames=6)
    scores = score_run(run, LIDAR, seed=7)
    found = summarize_run(run, LIDAR, scores, count_frames(run, Listener(6, 0), ATTACKS), DESCRIBED, seed=7)
    f1 = found["scores"]["concretizer"]["f1_15"]
    assert (f1["low"], f1["high"], f1["n"]) == (None, None, 6)


def test_agreement_needs_the_undefended_outcome(make_run: MakeRun) -> None:
    run = make_run(frames=2)
    box = {"boxes": np.array([[11, 2, -1, 4, 2, 1.5, 0]], np.float32), "labels": np.array([0])}
    reference = {f: box | {"scores": np.array([0.9], np.float32)} for f in range(2)}
    scores = score_run(run, LIDAR, seed=7)
    frames = count_frames(run, Listener(2, 0), ATTACKS)
    found = summarize_run(run, LIDAR, scores, frames, DESCRIBED, seed=7, references=reference)
    assert found["utility"]["agreement"]["mean"] == 1.0


def test_what_a_summary_must_describe_is_named(make_run: MakeRun) -> None:
    run = make_run(frames=1)
    frames = Frames(1, 1, 0, 1, 0, 1, 0, 0, 0)
    scores = score_run(run, LIDAR, 7)
    described = {k: v for k, v in DESCRIBED.items() if k not in ("split", "knowledge")}
    with pytest.raises(RunError, match="needs split, knowledge"):
        summarize_run(run, LIDAR, scores, frames, described, seed=7)


def test_cells_are_compared_frame_by_frame(make_run: MakeRun) -> None:
    scores = score_run(make_run(), LIDAR, seed=7)
    same = compare(scores, "concretizer", scores, "concretizer", "f1_15", seed=7)
    assert (same["mean"], same["low"], same["high"], same["n"]) == (0.0, 0.0, 0.0, 10)


def test_a_study_of_cells_holds_one_object_for_each() -> None:
    assert summarize_study("s", {"a": {"study": "s"}}) == {"study": "s", "cells": {"a": {"study": "s"}}}
