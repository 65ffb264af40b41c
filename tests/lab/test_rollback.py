"""SIGKILL of either end of a training, over real processes: nothing of the result may show it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attacker.attacks.base import Grants, SessionInfo
from attacker.knowledge import KnowledgeCard
from attacker.registry import attack
from lab.cell import _listener
from lab.recorded import captured_frames, outcomes, reconstructions
from lab.runfolder import RunFolder
from lab.stream import AttackChoice, Stream, StreamResult, StreamSettings
from lab.summary import count_frames
from tests.attacker.attacks.radiance.capturing import SESSION, captured
from victims.checkpoints import Checkpoints
from victims.radiance.head import RadianceHead
from victims.radiance.networks import embedding_width, parts
from victims.radiance.settings import training
from victims.radiance.tail import RadianceTail
from victims.radiance.unsplit import Unsplit
from victims.radiance.victim import SPLITNERF

VICTIM = {
    "steps": 26, "rays": 40, "samples": 8, "levels": 3, "rows_log2": 8, "base": 4, "finest": 32, "chunk_points": 128,
    "side": 12, "views": 5, "pictures": -1, "curve_every": 10, "curve_views": 1, "seed": 3,
}  # fmt: skip
FRAMES = 26 + 3
CHECKPOINT_EVERY = 4
FIT = {
    **{f"victim_{key}": value for key, value in training(VICTIM).shared().items()},
    "views": 4, "fit_levels": 2, "fit_rows_log2": 8, "keep_every": CHECKPOINT_EVERY,
}  # fmt: skip
"""It is told what is public, and keeps its state after the steps after which both ends keep theirs."""
WAIT_S = 120.0


def _kill_both(stream: Stream) -> None:
    """The cloud in its second stretch of steps; the edge in a later one, when it has rolled back; then, full speed."""
    edge = stream.roles["edge"]
    _until(stream, lambda told: told["next_frame"] >= 6)
    stream.roles["cloud"].kill()
    _until(stream, lambda told: told["rollbacks"] == 1 and told["next_frame"] >= 11)
    edge.kill()
    _until(stream, lambda told: told["rollbacks"] == 0)
    edge.settings(rate_hz=1000)


def _until(stream: Stream, true: Callable[[dict[str, Any]], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        told = stream.roles["edge"].state()
        if told and told.get("next_frame") and true(told):
            return
        time.sleep(0.05)
    pytest.fail(f"the edge has not come so far: {told}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StreamResult]:
    folder = tmp_path_factory.mktemp("rollback")
    card = KnowledgeCard("wire", "none")
    listening = [AttackChoice("surrogate-fit", settings=FIT)]
    settings = StreamSettings(
        "splitnerf", "mid", VICTIM, listening, card, seed=1, checkpoint_every=CHECKPOINT_EVERY, rate_hz=5
    )
    with Stream(settings, folder) as stream:
        killer = threading.Thread(target=_kill_both, args=(stream,), daemon=True)
        killer.start()
        result = stream.run()
        killer.join(WAIT_S)
    return folder, result


def test_both_were_killed_and_both_rolled_back(run: tuple[Path, StreamResult]) -> None:
    folder, result = run
    assert result.restarts == {"attacker": 0, "cloud": 1, "link": 0, "edge": 1}
    (session,) = result.attacker["sessions"]
    assert session["incarnation"] == 2  # one for each kill; the session is the same
    assert json.loads((folder / "edge/checkpoints/session.json").read_text()) == {
        "session": session["session"], "incarnation": 2,
    }  # fmt: skip


def test_weights_and_pictures_are_those_of_a_run_that_nobody_killed(run: tuple[Path, StreamResult]) -> None:
    folder, chosen = run[0], training(VICTIM)
    cloud, edge = parts("mid", chosen)
    whole, made = Unsplit(cloud, edge, chosen), dict(outcomes(run[0] / "edge"))
    assert sorted(made) == list(range(FRAMES))
    for frame, sample in enumerate(SPLITNERF.samples("procedural", VICTIM)):
        if "colours" in sample.arrays:
            assert made[frame]["loss"] == np.float32(whole.step(sample))
        else:
            assert np.array_equal(made[frame]["image"], whole.picture(sample)[0].numpy())
    (kept,) = (path.parent for path in (folder / "cloud").rglob("26.safetensors"))
    width = embedding_width("mid", chosen)
    ends = ((kept, RadianceTail(cloud, chosen)), (folder / "edge/checkpoints", RadianceHead(edge, chosen, width)))
    for (where, end), state in zip(ends, whole.states(), strict=True):
        Checkpoints(where, 4, 26).back_to(end, 26)
        found = end.state()
        assert found.meta == state.meta and sorted(found.tensors) == sorted(state.tensors)
        assert all(torch.equal(found.tensors[name], tensor) for name, tensor in state.tensors.items())


def test_an_attack_sees_what_it_would_have_seen_of_a_run_that_nobody_killed(run: tuple[Path, StreamResult]) -> None:
    """It goes back with the training: what it learnt from steps that were taken back is gone."""
    chosen = training(VICTIM)
    cloud, edge = parts("mid", chosen)
    head, tail = RadianceHead(edge, chosen, embedding_width("mid", chosen)), RadianceTail(cloud, chosen)
    session = SessionInfo(SESSION, "splitnerf", "mid", "", ("gradients", "rays"))
    whole = attack("surrogate-fit").open(session, Grants({}, settings={**FIT, "seed": 1}))
    wanted = [
        picture
        for frame, sample in enumerate(SPLITNERF.samples("procedural", VICTIM))
        for picture in whole.observe([captured(head, tail, sample, frame)])
    ]
    made = sorted(reconstructions(run[0] / "reconstructions"), key=lambda picture: picture.frame)
    assert [picture.frames for picture in made] == [picture.frames for picture in wanted] == [(10,), (21,), (28,)]
    for one, other in zip(made, wanted, strict=True):
        assert np.array_equal(one.arrays["image"], other.arrays["image"])
        assert (one.meta["attack.learnt"], one.meta["attack.missed"]) == (other.meta["learnt"], 0)
    assert 1 <= int(str(made[-1].meta["attack.restarts"])) <= 2  # of a rollback at a checkpoint it need not know


def test_a_frame_that_crossed_twice_counts_once(run: tuple[Path, StreamResult]) -> None:
    folder, result = RunFolder(run[0]), run[1]
    crossed = captured_frames(folder.capture)
    found = count_frames(folder, _listener(folder, result.attacker, ["surrogate-fit"]), ["surrogate-fit"])
    assert (found.sent, found.answered, found.failed) == (FRAMES, FRAMES, 0)
    assert (found.captured, found.missed) == (FRAMES, 0)
    assert (found.learnt, found.inverted, found.dropped) == (26, 3, 0)
    assert found.duplicated == len(crossed) - FRAMES + result.attacker["duplicates"] > 0
