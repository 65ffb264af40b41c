"""What the edge writes down of a sample, as the lab reads it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.driver import Done
from edge.journal import Journal
from lab.recorded import outcomes, stages, truths
from victims.base import Outcome, Sample


def test_what_a_source_says_of_a_sample_is_kept(tmp_path: Path) -> None:
    """The clip that a frame is of: without it frames of one clip would count as independent pictures."""
    journal = Journal(tmp_path, keep="full", max_bytes=1 << 20)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    meta = {"group": "drive/clip-03", "frame": 99, "digest": "not its own"}
    sample = Sample("drive/clip-03/001", {"image": image}, meta=meta)
    journal.frame(Done(5, 0, sample, 1), {"frame": 5, "position": 5})
    journal.close()
    ((frame, found),) = truths(tmp_path)
    assert (frame, found.name, found.meta["group"]) == (5, sample.name, "drive/clip-03")
    assert np.array_equal(found.arrays["image"], image)
    assert found.meta["digest"] == sample.digest()  # names of the edge's own go before a source's


def test_of_a_long_training_first_steps_pictures_and_losses_are_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path, keep="first", max_bytes=1 << 20, first=2)
    step = {"loss": np.array(0.5, np.float32), "colours": np.ones((4, 3), np.float32)}
    picture = {"image": np.ones((2, 2, 3), np.float32)}
    for frame, answer in enumerate((step, step, step, picture, step)):
        sample = Sample(f"frame-{frame}", {"pixels": np.arange(4)})
        journal.frame(Done(frame, 0, sample, 1, outcome=Outcome(answer)), {"frame": frame, "position": frame})
    journal.close()
    assert [frame for frame, _ in truths(tmp_path)] == [0, 1, 3]
    kept = {frame: set(found) for frame, found in outcomes(tmp_path)}
    assert kept == {0: {*step}, 1: {*step}, 2: {"loss"}, 3: {"image"}, 4: {"loss"}}
    assert sorted(stages(tmp_path)) == [0, 1, 2, 3, 4]
