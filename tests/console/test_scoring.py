"""Live figures: the newest only, each kind in its turn, and none of a frame whose truth is not known."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from console.scoring import LiveScores
from victims.base import Sample

ARRAYS = {"points": np.zeros((1, 3), np.float32)}


class Slow:
    """A scorer that takes its time."""

    def group(self, sample: Sample) -> str:
        return sample.name

    def score(self, truth: Sample, arrays: Any, rng: Any) -> Any:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        return SimpleNamespace(values={"f1": float(truth.name)}, notes=())

    def utility(self, answers: Any, seed: int) -> Any:
        return {"ap": SimpleNamespace(mean=float(len(answers)))}


def until(true: Callable[[], bool], do: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        do()
        time.sleep(0.005)


def test_reconstructions_that_never_cease_keep_no_utility_waiting() -> None:
    scores: list[tuple[int, str, float]] = []
    utilities: list[tuple[int, float, int]] = []
    live = LiveScores(
        Slow(),  # type: ignore[arg-type]
        0,
        lambda frame, attack, values, notes: scores.append((frame, attack, values["f1"] or 0.0)),
        lambda frame, values, frames: utilities.append((frame, values["ap"] or 0.0, frames)),
    )
    live.start()
    frame = 0

    def play() -> None:
        nonlocal frame
        live.truth(frame, Sample(str(frame), {}))
        live.answered(frame, 0, {"scores": np.zeros(1)})
        for attack in ("learned", "floor"):
            live.rebuilt(frame, attack, ARRAYS)
        frame += 1

    until(lambda: bool(utilities) and {attack for _, attack, _ in scores} == {"learned", "floor"}, play)
    live.stop()
    assert all(value == frame for frame, _, value in scores)  # with its own truth
    assert utilities[0][1] == utilities[0][2] >= 1
    assert live.skipped > 0  # what was overtaken


def test_another_segment_begins_with_no_answers_and_an_unknown_truth_gives_no_score() -> None:
    scores: list[int] = []
    utilities: list[int] = []
    live = LiveScores(
        Slow(),  # type: ignore[arg-type]
        0,
        lambda frame, attack, values, notes: scores.append(frame),
        lambda frame, values, frames: utilities.append(frames),
    )
    live.rebuilt(5, "learned", ARRAYS)
    live.answered(5, 0, {"scores": np.zeros(1)})  # its sample was never seen
    for frame in (6, 7):
        live.truth(frame, Sample(str(frame), {}))
        live.answered(frame, frame - 6, {"scores": np.zeros(1)})
    live.rebuilt(7, "floor", ARRAYS)
    live.start()
    until(lambda: bool(utilities) and bool(scores))
    live.stop()
    assert (scores, utilities) == ([7], [1])
