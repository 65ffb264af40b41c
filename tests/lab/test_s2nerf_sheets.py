"""The defense study's tables from recorded figures: gains, what a defense takes and costs, the paper's reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lab.measuring import scorer_of
from lab.runfolder import RunFolder
from lab.scores import score_run
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.radiance import UNTRAINED
from lab.studies.registry import study
from lab.studies.s2nerf_sheets import by_render, by_seed, curves, gains, knowledge, useful
from lab.studies.s2nerf_views import views
from lab.tables import Sheet
from wire import arrays
from wire.record import RecordWriter

STEPS, SIDE = 12, 24
OPTIONS = {
    "steps": STEPS, "side": 8, "views": 6, "rays": 4, "samples": 4, "curve": 2, "seeds": 3, "std": 8, "clip": False,
    "variants": "none",
    "c": 1.2, "r": 1, "attacks": f"surrogate,surrogate-solved,surrogate-weighted,{UNTRAINED}",
}  # fmt: skip
STUDY = study("s2nerf-defense")
PHOTOGRAPH = np.full((SIDE, SIDE, 3), 0.5, np.float32)

FAR = {
    "none": {"surrogate": 10, "surrogate-solved": 10, UNTRAINED: 40},
    "gradient-norm-noise": {"surrogate": 40, "surrogate-solved": 40, "surrogate-weighted": 20, UNTRAINED: 40},
}
"""Defense -> row -> how many levels of 255 its pictures are off; another defense: as without one."""

OWN = {"none": 5, "gradient-norm-noise": 8}
"""Of the victim's own renders."""


def pixels(levels: float) -> np.ndarray:
    """The photograph, off by so many levels everywhere but in a stripe, or an affine map of colours would undo it."""
    image = PHOTOGRAPH * 255
    image[:, ::2] += levels
    image[:, 1::2] -= levels
    return image.clip(0, 255).astype(np.uint8)


def psnr(levels: float) -> float:
    return float(10 * np.log10(255**2 / np.square(pixels(levels).astype(float) - pixels(0)).mean()))


def record(cell: Cell, folder: Path) -> CellResult:
    """Pictures after half the steps, which are worse by a level a seed, and at the end; two views of each."""
    run, stream = RunFolder(folder / cell.id), cell.stream
    run.path.mkdir()
    kind = stream.defense if stream.defense in FAR else "none"
    with (
        RecordWriter(run.edge, max_bytes=1 << 30) as edge,
        RecordWriter(run.reconstructions, max_bytes=1 << 30) as made,
    ):
        for frame, (step, name) in enumerate([(6, "a"), (6, "b"), (STEPS, "a"), (STEPS, "b")]):
            truth = {"truth.image": pixels(0), "truth.mean": pixels(60)}
            meta = {"frame": frame, "name": name, "step": step, "view": 0}
            edge.write("sample", arrays.pack(truth, meta), log_ns=frame)
            render = pixels(OWN[kind]).astype(np.float32) / 255
            edge.write("outcome", arrays.pack({"image": render}, {"frame": frame}), log_ns=frame)
            edge.write("stages", json.dumps({"frame": frame, "segment": 0, "error": None}).encode(), log_ns=frame)
            for row, levels in FAR[kind].items():
                off = levels + stream.seed + (step < STEPS)
                told = {"session": "5e", "frames": (frame,), "attack": row}
                made.write("reconstruction", arrays.pack({"image": pixels(off)}, told), log_ns=frame)
    scores = score_run(run, scorer_of(cell), seed=0)
    assert set(scores.groups) == {2, 3}  # pictures on the way give no rows
    worth = {"victim_psnr": {"mean": psnr(OWN[kind])}, "gain_over_mean": {"mean": psnr(OWN[kind]) - psnr(60)}}
    measured = {"sigma": 0.25} if kind != "none" else {}
    return CellResult(cell, run.path, {"utility": worth, "defense": {"measured": measured}})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Sequence[CellResult]:
    folder = tmp_path_factory.mktemp("cells")
    return [record(cell, folder) for cell in STUDY.cells(Settings(options=OPTIONS))]


def field(sheet: Sheet | None, where: Sequence[str], column: str) -> str:
    """Of the row whose cells end with ``where[0]``, and whose next fields are the rest of ``where``."""
    assert sheet is not None
    cells, *rest = where
    (row,) = (r for r in sheet.rows if r[0].text.endswith(cells) and [e.text for e in r[1 : len(where)]] == rest)
    return row[list(sheet.columns).index(column)].text


def titled(results: Sequence[CellResult], title: str) -> Sheet:
    (sheet,) = (sheet for sheet in STUDY.sheets(results) if sheet.title.startswith(title))
    return sheet


def test_cells_of_one_defense_are_one_group_of_three_seeds(results: Sequence[CellResult]) -> None:
    groups = by_seed(results)
    assert [title.rpartition(", ")[2] for title in groups] == [
        "no defense", "gradient-norm-noise c 1.2 r 1.0", "label-noise std 8.0",
    ]  # fmt: skip
    assert all([r.cell.stream.seed for r in group] == [0, 1, 2] for group in groups.values())


def test_gains_are_paired_by_seed_and_named(results: Sequence[CellResult]) -> None:
    sheet = gains(results)
    gained = [psnr(10 + seed) - psnr(40 + seed) for seed in range(3)]
    assert field(sheet, ("no defense", "surrogate"), "PSNR (dB) ↑") == f"{np.mean(gained):.3g}"
    assert field(sheet, ("no defense", "surrogate"), "found").startswith("above in PSNR")
    assert field(sheet, ("r 1.0", "surrogate"), "found") == "no information"
    assert field(sheet, ("r 1.0", "surrogate"), "PSNR (dB) ↑") == "0"


def test_what_a_defense_takes_is_paired_with_the_training_without_one(results: Sequence[CellResult]) -> None:
    sheet = titled(results, "What the defense takes")
    assert {row[0].text.rpartition(", ")[2] for row in sheet.rows} == {
        "gradient-norm-noise c 1.2 r 1.0", "label-noise std 8.0",
    }  # fmt: skip
    assert field(sheet, ("std 8.0", "surrogate"), "PSNR, colours fitted (dB)") == "0"
    # Who weighs by the noise is compared with the same attack where there is none; an affine map undoes either here.
    assert field(sheet, ("r 1.0", "surrogate-weighted"), "PSNR, colours fitted (dB)") == "0"


def test_what_a_defense_costs(results: Sequence[CellResult]) -> None:
    sheet = titled(results, "What the defense costs")
    assert field(sheet, ("r 1.0",), "less than without one (dB)") == f"{psnr(8) - psnr(5):.3g}"
    assert field(sheet, ("r 1.0",), "sigma, mean over steps") == "0.25"
    assert field(sheet, ("no defense",), "less than without one (dB)") == "–"
    assert field(useful(results), ("no defense",), "gain over the mean picture (dB) ↑") == f"{psnr(5) - psnr(60):.3g}"


def test_the_papers_reference_is_the_undefended_render(results: Sequence[CellResult]) -> None:
    sheet = by_render(results)
    apart = np.square(pixels(8).astype(float) - pixels(5)).mean()
    assert field(sheet, ("r 1.0", "the victim itself"), "PSNR (dB) ↑") == f"{10 * np.log10(255**2 / apart):.3g}"
    assert field(sheet, ("std 8.0", "the victim itself"), "PSNR (dB) ↑") == "100"
    assert sheet is not None
    assert not [row for row in sheet.rows if row[0].text.endswith("no defense") and "victim" in row[1].text]


def test_curves_run_over_the_followed_views_and_pictures_are_drawn(results: Sequence[CellResult]) -> None:
    found = curves(results)
    assert [sheet.title.partition(": ")[2] for sheet in found] == list(by_seed(results))
    assert all(sheet.picture.startswith(b"\x89PNG") for sheet in found)
    shown = views(results)
    assert shown is not None and shown.picture.startswith(b"\x89PNG")


def test_everyone_is_told_what_they_know(results: Sequence[CellResult]) -> None:
    told = {row[0].text: [entry.text for entry in row[1:]] for row in knowledge(results).rows}
    assert told["surrogate"] == ["in the cloud", "nothing but its settings", "–"]
    words = titled(results, "Who knows what")
    assert "1 / sigma^2" in field(words, ("surrogate-weighted",), "beside that")
