"""The table of segments: what a frame's segment number means, also to an edge that was killed."""

from __future__ import annotations

import json
from pathlib import Path

from edge.config import DefenseChoice
from edge.segments import Segments

NONE = DefenseChoice()
NOISE = DefenseChoice(name="feature_centric", settings={"strength": 0.5})


def test_a_stream_begins_with_the_defense_of_its_role_file(tmp_path: Path) -> None:
    assert Segments(tmp_path / "edge", NOISE).last == (0, NOISE)
    told = json.loads((tmp_path / "edge" / "segments.json").read_text())
    assert told == {"0": {"name": "feature_centric", "settings": {"strength": 0.5}}}


def test_an_edge_that_was_killed_goes_on_with_the_defense_it_was_last_given(tmp_path: Path) -> None:
    first = Segments(tmp_path, NONE)
    for number in range(1, 12):  # ten comes after nine, not after one
        first.begin(number, NOISE if number % 2 else NONE)
    assert Segments(tmp_path, NONE).last == (11, NOISE)


def test_a_segment_is_on_disk_when_it_begins(tmp_path: Path) -> None:
    Segments(tmp_path, NONE).begin(1, NOISE)
    told = json.loads((tmp_path / "segments.json").read_text())
    assert told["1"]["settings"] == {"strength": 0.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["segments.json"]
