"""What the edge writes down of a sample, as the lab reads it back."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.driver import Done
from edge.journal import Journal
from lab.recorded import truths
from victims.base import Sample


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
