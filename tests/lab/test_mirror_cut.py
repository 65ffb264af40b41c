"""The mirror of a training's link is cut for a while, over processes: who listens sees nothing, who trains goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attacker.knowledge import KnowledgeCard
from lab.recorded import captured_frames, outcomes, reconstructions
from lab.stream import AttackChoice, Stream, StreamResult, StreamSettings
from victims.radiance.networks import parts
from victims.radiance.settings import training
from victims.radiance.unsplit import Unsplit
from victims.radiance.victim import SPLITNERF
from wire.record import read

VICTIM = {
    "steps": 24, "rays": 16, "samples": 4, "levels": 2, "rows_log2": 6, "base": 4, "finest": 16, "chunk_points": 32,
    "side": 8, "views": 5, "pictures": -1, "curve_every": 8, "curve_views": 1, "seed": 3,
}  # fmt: skip
FRAMES, PICTURES = 27, (8, 17, 26)
"""After 8, 16 and 24 steps; the mirror is cut before the second and there again before the third."""

PUBLIC = {f"victim_{key}": value for key, value in training(VICTIM).shared().items()} | {"views": 4}
ATTACKS = [
    AttackChoice("surrogate-replay", settings=PUBLIC),
    AttackChoice("gradient-norms", settings={**PUBLIC, "cells": 8}),
]
WAIT_S = 120.0


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _cut(stream: Stream) -> None:
    """The edge is held while the link changes, so that the hole is where it is meant to be."""
    edge, link, attacker = (stream.roles[name] for name in ("edge", "link", "attacker"))

    def held(frame: int) -> int:
        """Hold the edge from ``frame`` on; the number of the frame that comes next."""
        _until(lambda: edge.state().get("next_frame", 0) >= frame)
        edge.settings(paused=True)
        before = -1
        while before != (before := edge.state()["next_frame"]):  # a frame may be on its way
            time.sleep(0.3)
        return before

    def mirrored(to: str | None) -> None:
        life, link.config["mirror"] = link.pid, to
        link.kill()
        _until(lambda: link.pid != life and bool(link.ready))
        edge.settings(paused=False)

    mirror, heard = link.config["mirror"], held(10)
    _until(lambda: attacker.state().get("captured") == heard)  # what waits in the ring goes with the link
    mirrored(None)
    held(19)
    edge.settings(rate_hz=1000)
    mirrored(mirror)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StreamResult]:
    folder = tmp_path_factory.mktemp("cut")
    card = KnowledgeCard("wire", "white")
    with Stream(StreamSettings("splitnerf", "mid", VICTIM, ATTACKS, card, seed=1, rate_hz=5), folder) as stream:
        cutter = threading.Thread(target=_cut, args=(stream,), daemon=True)
        cutter.start()
        result = stream.run()
        cutter.join(WAIT_S)
    return folder, result


def hole(folder: Path) -> list[int]:
    """The frames that were not heard."""
    missed = sorted(set(range(FRAMES)) - set(captured_frames(folder / "capture")))
    assert missed == list(range(missed[0], missed[-1] + 1)) and PICTURES[0] < missed[0] < PICTURES[1] < missed[-1] < 22
    return missed


def step(frame: int) -> int:
    """The training's step of a frame, which is no picture's."""
    return frame - sum(picture < frame for picture in PICTURES)


def test_the_training_goes_on_to_its_end_as_if_nobody_listened(run: tuple[Path, StreamResult]) -> None:
    folder, result = run
    assert result.restarts == {"attacker": 0, "cloud": 0, "link": 2, "edge": 0}
    assert (result.edge["sent"], result.edge["answered"], result.edge["failed"]) == (FRAMES, FRAMES, 0)
    chosen, made = training(VICTIM), dict(outcomes(folder / "edge"))
    whole = Unsplit(*parts("mid", chosen), chosen)
    for frame, sample in enumerate(SPLITNERF.samples("procedural", VICTIM)):
        if "colours" in sample.arrays:
            assert made[frame]["loss"] == np.float32(whole.step(sample))
        else:
            assert np.array_equal(made[frame]["image"], whole.picture(sample)[0].numpy())


def test_what_was_not_heard_is_not_pictured_and_counted(run: tuple[Path, StreamResult]) -> None:
    folder, result = run
    missed = hole(folder)
    assert (result.attacker["captured"], result.attacker["missed"]) == (FRAMES - len(missed), len(missed))
    made = list(reconstructions(folder / "reconstructions", "gradient-norms"))
    told = [(picture.frame, picture.meta["attack.missed"], picture.meta["attack.learnt"]) for picture in made]
    steps = len(missed) - 1  # and one picture
    assert told == [(8, 0, 8), (26, steps, 24 - steps)]


def test_a_replay_ends_and_names_the_step_that_it_missed(run: tuple[Path, StreamResult]) -> None:
    folder, _ = run
    first, last = hole(folder)[0], hole(folder)[-1]
    assert [picture.frame for picture in reconstructions(folder / "reconstructions", "surrogate-replay")] == [8]
    failures = [item.json() for item in read(folder / "reconstructions") if item.topic == "failure"]
    assert [(told["attack"], told["frames"]) for told in failures] == [
        ("surrogate-replay", [frame]) for frame in range(last + 1, FRAMES)
    ]
    (reason,) = {told["reason"] for told in failures}
    assert reason == (
        f"InputError: attack surrogate-replay has ended: step {step(last + 1)}: the replay stands before step "
        f"{step(first)}; a step that was not heard cannot be replayed, and all later ones rest on it"
    )
