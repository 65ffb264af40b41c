"""A cell whose stream has ended: what it takes from the study's other cells."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attacker.knowledge import KnowledgeCard
from lab.cell import run_cell
from lab.runfolder import RunFolder, write_whole
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell
from victims.base import silent
from wire import record
from wire.errors import RunError

MakeRun = Callable[..., RunFolder]


def cell(seed: int, reference: str = "") -> Cell:
    attacks = [AttackChoice("coordinates"), AttackChoice("concretizer")]
    stream = StreamSettings("second", "conv3.0", {"preset": "street"}, attacks, KnowledgeCard(), seed=seed)
    return Cell(f"seed {seed}", stream, reference=reference)


def streamed(run: RunFolder, root: Path, made: Cell) -> RunFolder:
    """The folder of a cell as its processes left it, captured frames and all."""
    with record.RecordWriter(run.capture, max_bytes=1 << 20) as capture:
        for frame in range(10):
            capture.event("frame", {"frame": frame})
    write_whole(run.path / "stream.json", json.dumps({"attacker": {}, "processes": {}}))
    folder = root / "cells" / made.id
    folder.parent.mkdir(parents=True, exist_ok=True)
    return RunFolder(run.path.rename(folder))


def test_agreement_is_with_the_cell_that_it_refers_to(make_run: MakeRun, tmp_path: Path) -> None:
    plain = cell(1)
    plain = Cell(plain.title, plain.stream, reference=plain.id)
    other = cell(2, reference=plain.id)
    first = streamed(make_run(), tmp_path, plain)
    second = streamed(make_run(failed=3), tmp_path, other)
    assert run_cell("trial", plain, first, silent).summary["utility"]["agreement"]["mean"] == 1.0
    found = run_cell("trial", other, second, silent).summary["utility"]["agreement"]
    assert (found["mean"], found["n"]) == (1.0, 7)  # the boxes are the same; three frames have no answer


def test_a_reference_that_has_not_run_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    made = cell(2, reference="abcdef")
    with pytest.raises(RunError, match="its reference abcdef has not run"):
        run_cell("trial", made, streamed(make_run(), tmp_path, made), silent)


def test_a_cell_keeps_its_name_when_a_setting_is_added_at_its_default() -> None:
    one = cell(1)
    assert one.id == Cell("another title", one.stream, {"a": 1}).id
    assert one.id != cell(2).id
    spelled = StreamSettings(
        "second", "conv3.0", {"preset": "street"}, one.stream.attacks, KnowledgeCard(), seed=1, tls=False
    )
    assert Cell("", spelled).id == one.id


def test_a_cell_is_the_same_in_every_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def shipped(folder: Path) -> str:
        monkeypatch.setattr("lab.studies.base.weights_folder", lambda: folder)
        stream = replace(cell(1).stream, attacks=[AttackChoice("concretizer", files={"inverter": folder / "x"})])
        return Cell("", stream).id

    assert shipped(Path("/here/weights")) == shipped(Path("/there/weights"))
    elsewhere = replace(cell(1).stream, attacks=[AttackChoice("concretizer", files={"inverter": Path("/mine/x")})])
    assert Cell("", elsewhere).id != shipped(Path("/here/weights"))
