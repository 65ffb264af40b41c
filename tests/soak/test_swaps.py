"""Swapping defenses in a running stream: no frame is lost or doubled, each is scored under the defense it left with.

What is expected is read off the payloads themselves: the tiny victim's cloud reports how far the features spread.
"""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from attacker.knowledge import KnowledgeCard
from lab.cell import run_cell
from lab.recorded import captured_frames, outcomes, payload, reconstructions
from lab.runfolder import RunFolder
from lab.stream import AttackChoice, Stream, StreamResult, StreamSettings
from lab.studies.base import Cell, CellResult
from victims.base import silent
from wire import record

STRENGTHS = (0.5, 2.0, 0.25, 1.0)
SLACK = 12
"""The source runs at most so many frames past a swap that is due, however busy the machine is."""

PATIENCE_S = 120.0


def choice(number: int) -> dict[str, Any]:
    """The defense of the swap with this number: every third turns noise off."""
    if number % 3 == 2:
        return {"name": "none", "settings": {}}
    return {"name": "feature_centric", "settings": {"strength": STRENGTHS[number % len(STRENGTHS)]}}


@dataclass
class Swapped:
    """A cell that ran while its defense was swapped; answers: what the edge said to each swap."""

    result: CellResult
    folder: RunFolder
    answers: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.folder.scores.read_text().splitlines()))


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swaps: int, frames: int) -> Swapped:
    """Stream ``frames`` frames with ``swaps`` swaps, through the four processes and the lab's own scoring."""
    gate, gap = tmp_path / "gate", frames // (swaps + 1)
    gate.write_text(str(gap + SLACK))
    answers: list[Mapping[str, Any]] = []

    def swap(stream: Stream) -> None:
        edge = stream.roles["edge"]
        edge.wait_ready()
        deadline = time.monotonic() + PATIENCE_S
        for number in range(swaps):
            while edge.state().get("answered", 0) < gap * (number + 1) and time.monotonic() < deadline:
                time.sleep(0.005)
            answers.append(edge.settings(defense=choice(number)))
            part = tmp_path / "gate.part"
            # the last frame waits for the last swap, so that the stream cannot end before it
            part.write_text(str(frames if number + 1 == swaps else min(gap * (number + 2) + SLACK, frames - 1)))
            part.replace(gate)

    class Swapping(Stream):
        def run(self, *arguments: Any) -> StreamResult:
            threading.Thread(target=swap, args=(self,), daemon=True).start()
            return super().run(*arguments)

    monkeypatch.setattr("lab.cell.Stream", Swapping)
    settings = StreamSettings(
        victim="tiny",
        split="conv3.0",
        victim_settings={"preset": "street", "gate": str(gate)},
        attacks=[AttackChoice("coordinates")],
        knowledge=KnowledgeCard(),
        frames=frames,
        rate_hz=12.0,
        seed=3,
    )
    whole = RunFolder.create(tmp_path / "runs", "swaps", {"seed": 3})
    cell = Cell("swaps", settings)
    folder = whole.cell(cell.id, {})
    return Swapped(run_cell("swaps", cell, folder, silent), folder, answers)


def check(done: Swapped, swaps: int, frames: int) -> None:
    """Nothing lost, nothing doubled; every row, and every payload on the wire, under its own defense."""
    everything = list(range(frames))
    assert [frame for frame, _ in outcomes(done.folder.edge)] == everything
    assert captured_frames(done.folder.capture) == everything
    assert [r.frame for r in reconstructions(done.folder.reconstructions)] == everything
    counted = done.result.summary["frames"]
    assert (counted["sent"], counted["answered"], counted["inverted"]) == (frames, frames, frames)
    assert (counted["failed"], counted["missed"], counted["duplicated"], counted["dropped"]) == (0, 0, 0, 0)

    assert [answer["segment"] for answer in done.answers] == list(range(1, swaps + 1))
    firsts = [int(answer["first_frame"]) for answer in done.answers]
    expected = {frame: sum(frame >= first for first in firsts) for frame in everything}
    defenses = ["none", *(text(choice(number)) for number in range(swaps))]
    rows = done.rows
    assert {(int(row["frame"]), int(row["segment"]), row["defense"]) for row in rows} == {
        (frame, segment, defenses[segment]) for frame, segment in expected.items()
    }
    strengths = [0.0, *(choice(number)["settings"].get("strength", 0.0) for number in range(swaps))]
    for frame, answer in outcomes(done.folder.edge):  # 2,560 draws: the deviation is known to 1.4 %
        assert float(answer["scores"][0]) == pytest.approx(strengths[expected[frame]], rel=0.1, abs=1e-6), frame
    for frame in (0, *firsts, frames - 1):
        heard = payload(done.folder.capture, frame)
        assert heard is not None
        spread = float(heard.tensors["features"].std())
        assert spread == pytest.approx(strengths[expected[frame]], rel=0.1, abs=1e-6), frame

    segments = done.result.summary["segments"]
    assert sorted(map(int, segments)) == sorted(set(expected.values()))
    for number, found in segments.items():
        of_it = [frame for frame, segment in expected.items() if segment == int(number)]
        assert (found["first_frame"], found["last_frame"], found["frames"]) == (of_it[0], of_it[-1], len(of_it))
        assert text({"name": found["defense"]["name"], "settings": settings_of(found)}) == defenses[int(number)]
        values = [float(row["value"]) for row in rows if is_f1(row) and int(row["frame"]) in of_it]
        assert found["scores"]["coordinates"]["f1_15"]["mean"] == pytest.approx(sum(values) / len(values))
        assert found["scores"]["coordinates"]["f1_15"]["n"] == len(of_it)


def text(defense: Mapping[str, Any]) -> str:
    return " ".join([defense["name"], *(f"{key}={value}" for key, value in defense["settings"].items())])


def settings_of(segment: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in segment["defense"].items() if key not in ("name", "measured")}


def is_f1(row: Mapping[str, str]) -> bool:
    return row["attack"] == "coordinates" and row["metric"] == "f1_15"


def in_flight(done: Swapped) -> int:
    """How many swaps came while the frame before was still under way."""
    rows = [item for item in record.read(done.folder.edge) if item.topic == "stages"]
    ends = {item.json()["frame"]: item.log_ns for item in rows}
    return sum(ends[int(a["first_frame"]) - 1] > int(a["t_ns"]) for a in done.answers)


@pytest.mark.usefixtures("plugin")
def test_six_swaps_in_sixty_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(run(tmp_path, monkeypatch, swaps=6, frames=60), swaps=6, frames=60)


@pytest.mark.soak
@pytest.mark.usefixtures("plugin")
def test_a_hundred_swaps_in_a_thousand_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(tmp_path, monkeypatch, swaps=100, frames=1000)
    check(done, swaps=100, frames=1000)
    assert in_flight(done) > 0
    print(f"100 swaps in 1,000 frames, {in_flight(done)} of them with a frame under way: none lost, none doubled")
