"""What a training that rolled back leaves in the records: what was made again, learnt, failed, and missed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attacker.attacks.base import Reconstruction
from attacker.reconstructions import Reconstructions
from lab.cell import _missed
from lab.recorded import noted, reconstructions
from lab.runfolder import RunFolder
from wire.record import RecordWriter

TIMES = {"decode": 0.0, "wait": 0.0, "invert": 0.0}


def test_of_what_was_made_again_the_newest_counts(tmp_path: Path) -> None:
    store = Reconstructions(tmp_path, 1 << 30)
    made = [("a", 8, 0, 0.0), ("a", 17, 0, 1.0), ("b", 17, 0, 2.0), ("a", 17, 1, 3.0), ("a", 26, 1, 4.0)]
    for attack, frame, incarnation, value in made:
        arrays = {"image": np.full((1, 1, 3), value, np.float32)}
        store.add(
            Reconstruction("s", (frame,), attack, arrays), incarnation=incarnation, t_captured_ns=1, times_ms=TIMES
        )
    store.learnt("a", "s", 0, [1, 2, 3])
    store.learnt("a", "s", 1, [3, 4])
    store.fail("b", "s", 0, [5], "no")
    store.close()
    found = [(r.attack, r.frame, float(r.arrays["image"][0, 0, 0])) for r in reconstructions(tmp_path)]
    assert found == [("a", 8, 0.0), ("b", 17, 2.0), ("a", 17, 3.0), ("a", 26, 4.0)]
    assert [r.frame for r in reconstructions(tmp_path, "a")] == [8, 17, 26]
    assert noted(tmp_path, "learnt") == {"a": {1, 2, 3, 4}} and noted(tmp_path, "failure") == {"b": {5}}
    assert noted(tmp_path / "none", "learnt") == {}


def test_missed_frames_are_named_in_stretches(tmp_path: Path) -> None:
    """Twelve were sent; 0 crossed twice, and 3, 7 to 9 and the last never whole."""
    with RecordWriter(tmp_path / "edge", max_bytes=1 << 20) as edge:
        for frame in range(12):
            edge.event("stages", {"frame": frame})
    with RecordWriter(tmp_path / "capture", max_bytes=1 << 20) as heard:
        for frame in (0, 0, 1, 2, 4, 5, 6, 10):
            heard.event("frame", {"frame": frame})
    assert _missed(RunFolder(tmp_path)) == "3, 7-9, 11"
