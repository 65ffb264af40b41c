"""The unsplit training as a process of its own: it makes what the network makes, and says in one line why it fails."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from attacker.knowledge import KnowledgeCard
from lab.stream import StreamSettings
from lab.unsplit import reference
from tests.victims.radiance.exchanging import SMALL
from victims.base import silent
from victims.radiance.networks import parts
from victims.radiance.settings import training
from victims.radiance.unsplit import Unsplit
from victims.radiance.victim import SPLITNERF
from wire.errors import RunError

SETTINGS = {**asdict(SMALL), "steps": 3, "pictures": -1, "side": 12, "views": 4}
STREAM = StreamSettings("splitnerf", "grid", SETTINGS, [], KnowledgeCard(), frames=4, seed=3)


def test_it_trains_as_the_network_in_this_process_does(tmp_path: Path) -> None:
    told: list[float] = []
    file = reference(STREAM, tmp_path, lambda done, total, note="": told.append(done / total))
    chosen = training(SETTINGS)
    network = Unsplit(*parts("grid", chosen), chosen)
    *steps, asked = list(SPLITNERF.samples("procedural", SETTINGS))
    losses = [network.step(sample) for sample in steps]
    with np.load(file) as held:
        assert np.array_equal(held["losses"], losses)
        assert np.array_equal(held["frame-3"], network.picture(asked)[0].numpy())
    assert told == [0.25]
    before = file.stat().st_mtime_ns
    rounded = replace(STREAM, victim_settings={**SETTINGS, "precision": "bfloat16"})
    assert reference(rounded, tmp_path, silent) == file  # only what crosses is rounded, and nothing crosses here
    assert file.stat().st_mtime_ns == before


def test_it_says_in_one_line_what_it_cannot_train(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"ended with exit code 2: .*nowhere: no such file or folder of posed pictures"):
        reference(replace(STREAM, source=str(tmp_path / "nowhere")), tmp_path / "unsplit", silent)
