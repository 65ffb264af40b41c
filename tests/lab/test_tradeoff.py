"""The trade-off's plan, its halves, and how its rows are told."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from lab.runfolder import RunFolder
from lab.scores import Row, Scores
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.tradeoff import STUDY, halves
from lab.tables import Entry, Sheet
from wire.errors import InputError, RunError

SETTINGS = Settings(options={"strengths": "0.5,2.5"})


def test_every_stream_is_undisturbed_and_one_frame_a_street() -> None:
    for cell in STUDY.cells(SETTINGS):
        stream = cell.stream
        assert (stream.in_flight, stream.invert_after, stream.mode) == (1, True, "lossless")
        assert stream.victim_settings["frames_per_street"] == 1
        assert (stream.frames, stream.seed) == (26, 0)


def test_aware_attacks_run_where_they_were_trained_and_other_links_only_time_the_stream() -> None:
    cells = {(c.columns["split"], c.columns["defense"], c.columns["link"]): c for c in STUDY.cells(SETTINGS)}
    assert set(cells) == {
        *[(split, "none", link) for split in ("conv3.0", "conv4.0", "conv_out") for link in ("lan", "lte")],
        ("conv2.0", "none", "lan"),
        ("conv3.0", "feature_centric strength=0.5", "lan"),
        ("conv_out", "feature_centric strength=0.5", "lan"),  # naive only, at the deepest split
        ("conv_out", "feature_centric strength=2.5", "lan"),
    }  # conv3.0 at 2.5 is beyond what the aware attack was trained under, so it is not judged there either
    judged = cells["conv3.0", "feature_centric strength=0.5", "lan"].stream
    assert "concretizer-aware" in [a.row for a in judged.attacks]
    assert (judged.knowledge.defense, judged.knowledge.defense_settings) == ("aware", {"strength": 0.5})
    plain = cells["conv3.0", "none", "lan"]
    assert plain.stream.knowledge.defense == "unaware"
    slow = cells["conv3.0", "none", "lte"]
    assert [a.row for a in slow.stream.attacks] == ["coordinates"]
    assert slow.columns["leakage_of"] == plain.id
    assert {c.reference for c in cells.values()} == {cells["conv2.0", "none", "lan"].id}
    assert STUDY.cells(SETTINGS)[0].reference == STUDY.cells(SETTINGS)[0].id  # which is streamed first


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strengths": "0.5,much"}, "strengths is 'much'"),
        ({"strengths": "0.5,,1"}, "empty value"),
        ({"strengths": "-1"}, "strength is -1.0; accepted"),
        ({"links": "lan,dsl"}, "'dsl' does not exist; there are: lan"),
        ({"leak": "little"}, "leak is 'little'"),
        ({"modality": "sound"}, "demo-sound"),
    ],
)
def test_bad_options_are_refused_by_name(options: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        STUDY.cells(Settings(options=options))


def test_a_split_without_attacks_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"conv9.*conv2\.0"):
        STUDY.cells(Settings(splits=("conv9",)))


def rows(streets: dict[int, str]) -> Scores:
    return Scores(tuple(Row(f, 0, "none", f"s{f}", street, "a", "m", 0.5) for f, street in streets.items()))


def test_streets_are_dealt_out_whole_and_in_turn() -> None:
    dealt = halves(rows({0: "a", 1: "a", 2: "b", 3: "c", 4: "a", 5: "d"}))["halves"]
    assert dealt == {"choose": [0, 1, 3, 4], "report": [2, 5]}  # a and c; b and d


def summary(mean: float, spread: float = 0.01) -> dict[str, float | int]:
    return {"mean": mean, "median": mean, "low": mean - spread, "high": mean + spread, "n": 10}


def result(cell: Cell, folder: Path, *, leak: dict[str, float], worth: float, ms: float) -> CellResult:
    """A cell as it would have been summed up, the same in both halves."""
    half = {
        "frames": 10,
        "groups": 10,
        "scores": {name: {"f1_15": summary(value)} for name, value in leak.items()},
        "utility": {"agreement": summary(worth), "reference_boxes": summary(2.0)},
        "latency_ms": {"head": {"p50": ms / 2, "p95": ms}, "total": {"p50": ms, "p95": 2 * ms}},
        "costs": {"total_ms": summary(ms, 5), "payload_bytes": summary(4e6, 1e5), "wire_up": summary(4e6, 1e5)},
    }
    told: dict[str, Any] = {"halves": {"choose": half, "report": half}}
    if cell.columns.get("leakage_of"):
        told["payloads_equal"] = {"cell": cell.columns["leakage_of"], "frames": 20}
    return CellResult(cell, folder / "cells" / cell.id, told)


def told(
    folder: Path, options: dict[str, Any] | None = None, worth: float = 0.9, aware: bool = True
) -> dict[str, Sheet]:
    made = []
    for cell in STUDY.cells(Settings(options={"strengths": "0.5,2", **(options or {})})):
        defended = cell.stream.defense != "none"
        leak = {"coordinates": 0.4, "concretizer": 0.3 if defended else 0.95, "oracle": 1.0}
        if cell.columns["split"] == "conv3.0" and defended and aware:
            leak["concretizer-aware"] = 0.45
        ms = 100.0 if cell.columns["link"] == "lan" else 4000.0
        made.append(result(cell, folder, leak=leak, worth=worth if defended else 1.0, ms=ms))
    return {sheet.title: sheet for sheet in STUDY.sheets(made)}


def find(sheets: dict[str, Sheet], start: str) -> dict[str, list[Entry]]:
    (sheet,) = [sheet for title, sheet in sheets.items() if title.startswith(start)]
    return {row[0].text: row for row in sheet.rows}


def test_a_row_without_an_aware_attack_says_naive_only_and_is_on_no_front(tmp_path: Path) -> None:
    sheets = told(tmp_path)
    found = find(sheets, "Every row over lan")
    naive = found["conv_out with feature_centric strength=2"]
    assert naive[1].text == "–"
    assert "trained on undefended payloads" in naive[1].why
    assert naive[3].text == "0.400"  # the floor gets more than the naive attack: the strongest counts
    assert "naive only: coordinates" in naive[3].small
    judged = found["conv3.0 with feature_centric strength=2"]
    assert (judged[1].text, judged[3].text) == ("yes", "0.450")
    assert "concretizer-aware" in judged[3].small
    assert found["conv2.0 without a defense"][3].text == "0.950"


def test_an_aware_attack_that_gave_no_value_judges_nothing(tmp_path: Path) -> None:
    found = find(told(tmp_path, aware=False), "Every row over lan")["conv3.0 with feature_centric strength=2"]
    assert found[1].text == "–"
    assert "concretizer-aware: it gave no value" in found[1].why
    loose = find(told(tmp_path, {"loss": 0.2}, aware=False), "What it comes to")
    assert "Recommended" not in loose["lan"][1].text


def test_over_another_link_the_leakage_is_the_first_links_and_says_so(tmp_path: Path) -> None:
    found = find(told(tmp_path), "Every row over lte")
    entry = found["conv3.0 without a defense"]
    assert entry[3].text == "0.950"
    assert "as over the first link: 20 payloads equal byte for byte" in entry[3].small
    assert entry[4].text == "4,000"


def test_the_words_follow_the_limits_that_were_asked_for(tmp_path: Path) -> None:
    strict = find(told(tmp_path), "What it comes to")
    assert "Nothing here can be recommended" in strict["lan"][1].text  # the defended rows cost .1 of the agreement
    loose = find(told(tmp_path, {"loss": 0.2, "leak": 0.5}), "What it comes to")
    assert loose["lan"][1].text == "Recommended: cut at conv3.0 with feature_centric strength=0.5."
    assert "10 frames of 10 streets" in loose["lan"][1].small[0]
    assert "Not judged" in loose["lan"][1].small[-1]
    assert "Nothing here can be recommended" in loose["lte"][1].text  # only undefended streams were timed there


def test_without_a_utility_in_every_row_nothing_is_compared(tmp_path: Path) -> None:
    cell = STUDY.cells(SETTINGS)[0]
    one = result(cell, tmp_path, leak={"concretizer": 0.9}, worth=1.0, ms=10)
    for half in one.summary["halves"].values():
        half["utility"]["agreement"]["mean"] = None
    words, stages = STUDY.sheets([one])
    assert "Nothing can be compared" in words.rows[0][0].text
    assert "agreement with the undefended detector" in words.rows[0][0].text
    assert stages.rows[0][1].why == "not measured"


def test_its_plots_are_pictures(tmp_path: Path) -> None:
    pictures = [sheet.picture for sheet in told(tmp_path).values() if sheet.picture]
    assert len(pictures) == 2
    for picture in pictures:
        assert picture[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", picture[16:24])
        assert 600 < width < 2000
        assert 300 < height < 2000


def test_payloads_that_differ_over_another_link_fail_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = next(c for c in STUDY.cells(SETTINGS) if c.columns.get("leakage_of"))
    work = tmp_path / "cells" / slow.id
    work.mkdir(parents=True)
    twin = tmp_path / "cells" / slow.columns["leakage_of"]
    digests = {work / "capture": {0: "a", 1: "b"}, twin / "capture": {0: "a", 1: "c"}}
    monkeypatch.setattr("lab.studies.tradeoff.payload_digests", digests.__getitem__)
    monkeypatch.setattr("lab.studies.tradeoff.run_cell", lambda *_, **__: CellResult(slow, work, {}))
    with pytest.raises(RunError, match="1 of 2 payloads differ"):
        STUDY.run(slow, work, lambda *_: None)
    digests[twin / "capture"] = digests[work / "capture"]
    done = STUDY.run(slow, work, lambda *_: None)
    assert done.summary["payloads_equal"] == {"cell": slow.columns["leakage_of"], "frames": 2}
    assert RunFolder(work).read_summary() == done.summary
