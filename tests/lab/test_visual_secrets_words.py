"""Words in the black box: two networks that learn alike but for words, and Table 5 from a recorded run by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attacker.attacks.image.inversion_networks.words import words_of
from lab.fitting import FitSettings, Fitted
from lab.measuring import scorer_of
from lab.runfolder import RunFolder
from lab.scores import score_run
from lab.stream import StreamSettings
from lab.studies import black_box
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.black_box import Learner, fit_settings
from lab.studies.visual_secrets_text import STUDY, WORDS
from tests.lab.small_cifar import COUNT, pictures
from victims.base import Sample, silent
from victims.image import cifar
from wire import arrays
from wire.errors import InputError
from wire.record import RecordWriter

LEARNT, TOLD = "inversion-diffusion", "inversion-diffusion-words"


@pytest.fixture
def cells(data: Path, tiny_prior: Path) -> Any:
    """The study's cells, with options beside the least that it needs."""

    def made(**options: object) -> list[Cell]:
        given = {"weights": "random", "prior": str(tiny_prior), **options}
        return list(STUDY.cells(Settings(data=(data,), options=given)))

    return made


def trainings(cell: Cell) -> dict[str, FitSettings]:
    return {one["row"]: fit_settings(cell.stream, Learner(**one)) for one in cell.columns["learners"]}


def test_the_two_networks_learn_alike_but_for_the_words(cells: Any) -> None:
    white, black = cells(**{"inversion-diffusion.epochs": 3})
    assert "learners" not in white.columns
    fits = trainings(black)
    assert list(fits) == [LEARNT, TOLD]
    bare, told = fits[LEARNT], fits[TOLD]
    assert {**bare.attack.settings, "words": "class"} == told.attack.settings
    assert bare.attack.settings == {"epochs": 3, "queries": 256}
    assert (bare.frames, bare.knowledge.queries, bare.knowledge.victim) == (256, 256, "black")
    assert told.knowledge.data == f"{bare.knowledge.data} with their class words"
    same = replace(told, attack=bare.attack, knowledge=bare.knowledge)
    assert same == bare
    card = black.stream.knowledge
    assert (card.victim, card.queries) == ("black", 256)
    assert black.stream.source == white.stream.source and black.stream.frames == white.stream.frames


def test_the_network_that_learnt_with_words_answers_under_all_of_them(cells: Any) -> None:
    _, black = cells(words="background", diffusion_queries=32)
    rows = {choice.row: choice for choice in black.stream.attacks}
    assert "prompt" not in rows[LEARNT].settings
    prompts = {row: choice.settings["prompt"] for row, choice in rows.items() if row.startswith("with words")}
    assert prompts == {
        "with words, no text": "",
        **{f"with words, {word}": said for word, said in WORDS["background"].items()},
    }
    assert {rows[row].name for row in prompts} == {LEARNT}
    assert trainings(black)[TOLD].frames == 32


def test_one_training_serves_all_rows_that_it_answers(
    cells: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, black = cells()
    streamed: list[StreamSettings] = []

    def fit(settings: FitSettings, folder: Path, progress: Any) -> Fitted:
        return Fitted(Path(settings.attack.row), 256, 1.0, 1.0)

    def run_cell(study: str, cell: Cell, folder: RunFolder, progress: Any) -> CellResult:
        streamed.append(cell.stream)
        return CellResult(cell, folder.path, {})

    monkeypatch.setattr(black_box, "fit", fit)
    monkeypatch.setattr(black_box, "run_cell", run_cell)
    monkeypatch.setattr(black_box, "_told", lambda one: {})
    monkeypatch.setattr(black_box, "asked_about", lambda path, digests: frozenset())
    STUDY.run(black, tmp_path / "cells" / "x", silent)
    found = {choice.row: choice for choice in streamed[0].attacks if choice.name == LEARNT}
    assert len(found) == 12
    assert {row: str(choice.files["inverter"]) for row, choice in found.items()} == {
        row: LEARNT if row == LEARNT else TOLD for row in found
    }
    # What of its settings holds after the training: the words that it is given, nothing else.
    assert found[LEARNT].settings == {}
    assert found["with words, cat"].settings == {"prompt": "a photo of a cat"}


def test_words_at_answering_are_words_of_the_training() -> None:
    image = pictures(COUNT, 0)[0]
    learnt = {
        name: words_of(Sample("p", {"image": image}, {"label": np.array(label)}), "class")
        for label, name in enumerate(cifar.CLASSES)
    }
    assert learnt == WORDS["class"]
    green = np.full((32, 32, 3), (88, 112, 56), np.uint8)
    assert words_of(Sample("p", {"image": green}), "background") == WORDS["background"]["green"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"diffusion_queries": 15}, r"diffusion_queries=15; accepted: 0 \(no black box\), or a whole number from 16$"),
        ({"diffusion_queries": "many"}, "diffusion_queries=many; accepted: 0"),
        ({"words": "colour"}, "words=colour; accepted: class, background"),
        (
            {"inversion-diffusion.prompt": "x"},
            "inversion-diffusion.prompt=x: the study tries all words itself; accepted: --set",
        ),
        ({"inversion-diffusion.words": "class"}, "inversion-diffusion.words=class: the study tries all words"),
        ({"diffusion.prompt": "x"}, "diffusion.prompt=x: the study tries all words"),
        ({"inversion-direct.epochs": 3}, "no option of this study"),
    ],
)
def test_a_wrong_option_is_one_line(cells: Any, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        cells(**options)
    assert "\n" not in str(caught.value)


def test_pictures_without_labels_leave_the_black_box_out_and_say_so(cells: Any, tmp_path: Path) -> None:
    unlabelled = tmp_path / "mine.npz"
    np.savez(unlabelled, images=pictures(COUNT, 7))
    (white,) = cells(auxiliary=str(unlabelled))
    assert "mine/00000: label is absent; accepted with words=class: 0 to 9" in white.columns["absent"][LEARNT]
    with pytest.raises(InputError, match=r"^--set diffusion_queries=32: mine/00000: label is absent") as caught:
        cells(auxiliary=str(unlabelled), diffusion_queries=32)
    assert "\n" not in str(caught.value)
    assert len(cells(auxiliary=str(unlabelled), words="background")) == 2
    (white,) = cells(diffusion_queries=0)
    assert not white.columns["absent"]


@pytest.fixture
def recorded(cells: Any, tmp_path: Path) -> CellResult:
    """The black-box cell, every picture off by a constant: without words by 2, 3, ... 10 levels, with the right ones by
    half of that, with wrong ones by twice or four times as much, told none by as much."""
    cell = replace(cells()[1], measure={})
    run = RunFolder.create(tmp_path / "runs", "visual", {"seed": 0})
    with (
        RecordWriter(run.edge, max_bytes=1 << 30) as edge,
        RecordWriter(run.reconstructions, max_bytes=1 << 30) as made,
    ):
        for frame, image in enumerate(pictures(COUNT, 0)):
            truth = {"image": image, "truth.label": np.array(frame)}
            edge.write("sample", arrays.pack(truth, {"frame": frame, "name": f"p{frame}"}), log_ns=frame)
            edge.write("stages", json.dumps({"frame": frame, "segment": 0, "error": None}).encode(), log_ns=frame)
            level = 2 * (frame + 2)
            offs = {LEARNT: level, "with words, no text": level}
            for number, word in enumerate(cifar.CLASSES):
                wrong = 2 * level if (number - frame) % 10 < 6 else 4 * level  # 5 of the 9 wrong ones, and 4
                offs[f"with words, {word}"] = level // 2 if number == frame else wrong
            for row, off in offs.items():
                found = {
                    "image": (image.astype(int) + off * np.where(image < 120, 1, -1)).clip(0, 255).astype(np.uint8)
                }
                meta = {"session": "5e", "frames": (frame,), "attack": row}
                made.write("reconstruction", arrays.pack(found, meta), log_ns=frame)
    score_run(run, scorer_of(cell), seed=0)
    fitted = {row: {"queries": 256, "epoch": 2, "psnr": 17.0, "cpu_min": 0.5} for row in (LEARNT, TOLD)}
    return CellResult(cell, run.path, {"columns": {"fitted": fitted}, "scores": {}})


def test_table_5_pairs_by_picture(recorded: CellResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.studies.visual_secrets_text.contact", lambda results: None)
    found = {sheet.title: sheet for sheet in STUDY.sheets([recorded])}
    (ours,) = [sheet for title, sheet in found.items() if title.startswith("Table 5, with words and without")]
    less = ours.columns.index("PSNR (dB) less learnt without words")
    rows = {row[0].text: row for row in ours.rows}
    bare, right, wrong, none = rows.values()
    assert list(rows) == [
        "learnt without words",
        "learnt with words, right words",
        "learnt with words, wrong words (mean of all)",
        "learnt with words, no text",
    ]
    halved, doubled = 20 * np.log10(2), -20 * np.log10(2)
    expected = {"right": halved, "wrong": (5 * doubled + 4 * 2 * doubled) / 9, "none": 0.0}
    for row, difference in zip((right, wrong, none), expected.values(), strict=True):
        assert float(row[less].text) == pytest.approx(difference, abs=0.005)
        # The pictures differ by 14 dB, the differences do not: only paired by picture the interval has no width.
        low, high = (float(text) for text in row[less].small[0].split(" to "))
        assert low == high == pytest.approx(difference, abs=0.005)
    levels = 2 * (np.arange(COUNT) + 2)
    assert float(bare[1].text) == pytest.approx(np.mean(20 * np.log10(255 / levels)), abs=0.06)
    assert float(right[1].text) == pytest.approx(np.mean(20 * np.log10(255 / (levels / 2))), abs=0.06)
    printed = found["Table 5 as printed"]
    assert [[entry.text for entry in row[2:4]] for row in printed.rows] == [
        ["4.3", "13.6"],
        ["5.4", "14"],
        ["12", "17.7"],
    ]
    assert "What was learned from queries" in found and "Table 2 as printed" in found
