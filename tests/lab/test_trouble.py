"""What went wrong is told: by whom, on how many frames, with the first reason; what was made good is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attacker.attacks.base import Reconstruction
from attacker.reconstructions import Reconstructions
from edge.journal import Journal
from lab.runfolder import RunFolder
from lab.trouble import EDGE, READING, lines, troubles
from wire.errors import InputError


def test_each_who_failed_is_named_once_with_its_first_reason(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    store = Reconstructions(folder.reconstructions, 1 << 20)
    store.fail("surrogate", "aa", 0, [3, 4], "setting nonsense does not exist")
    store.fail("surrogate", "aa", 0, [5], "another reason")
    store.fail("direct", "aa", 0, [1], "made good below")
    made = Reconstruction("aa", (1,), "direct", {"image": np.zeros((2, 2, 3), np.uint8)})
    store.add(made, incarnation=0, t_captured_ns=1, times_ms={})
    store._writer.close()
    journal = Journal(folder.edge, keep="full", max_bytes=1 << 20)
    journal.unreadable(0, InputError("a.jpg: cut off"))
    journal._writer.event("stages", {"frame": 0, "error": "the cloud refused it"})
    journal._writer.event("stages", {"frame": 1, "error": None})
    journal.close()
    found = troubles(folder)
    assert found == {
        "surrogate": {"frames": 3, "reason": "setting nonsense does not exist"},
        EDGE: {"frames": 1, "reason": "the cloud refused it"},
        READING: {"frames": 1, "reason": "a.jpg: cut off"},
    }
    assert lines({"troubles": found}) == [
        "surrogate failed on 3 frames: setting nonsense does not exist",
        "the edge failed on 1 frame: the cloud refused it",
        "1 of the source's samples could not be read: a.jpg: cut off",
    ]
    assert lines({}) == []
