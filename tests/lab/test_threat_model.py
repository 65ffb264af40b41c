"""The threat model's plan: whose card comes to which attacks, and which cells may share a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from attacker import registry
from attacker.attacks.base import Needs
from attacker.knowledge import KnowledgeCard
from lab.axes import trials
from lab.stream import AttackChoice, StreamSettings
from lab.studies import entitled
from lab.studies.base import CellResult, Settings
from lab.studies.entitled import offered, trained_under
from lab.studies.threat_model import STUDY, places
from lab.tables import Entry, Sheet
from wire.errors import InputError

SETTINGS = Settings(frames=8)
FULL = ["coordinates", "concretizer", "concretizer-aware", "preimage"]


def base() -> StreamSettings:
    return STUDY.cells(SETTINGS)[2].stream  # wire, white, aware: every attack there is


def test_every_combination_is_in_exactly_one_run_and_runs_under_the_least_card() -> None:
    cells = STUDY.cells(SETTINGS)
    covered = [text for cell in cells for text in cell.columns["places"]]
    assert len(covered) == len(set(covered)) == 2 * 2 * 3 * 2
    assert {(c.stream.knowledge.vantage, c.stream.tls) for c in cells} == {
        (vantage, tls) for vantage in ("wire", "cloud") for tls in (False, True)
    }
    rows = {c.title: [a.row for a in c.stream.attacks] for c in cells}
    floors = ["coordinates", "preimage"]
    for where in ("wire, TLS off", "cloud, TLS off", "cloud, TLS on"):
        assert rows[f"{where}, victim none, defense unaware"] == floors  # none and black, aware or not, come to this
        assert rows[f"{where}, victim white, defense unaware"] == ["coordinates", "concretizer", "preimage"]
        assert rows[f"{where}, victim white, defense aware"] == FULL
    assert rows["wire, TLS on, victim white, defense aware"] == FULL  # the best-equipped listener, for all six
    assert len(cells) == 10
    assert len({(str(c.stream.victim_settings), c.stream.seed, c.stream.frames, c.stream.defense) for c in cells}) == 1


def test_no_run_grants_a_listener_more_than_any_cell_that_shares_it() -> None:
    by_text = {place.text: place for place in places(base())}
    for cell in STUDY.cells(SETTINGS):
        sharing = [by_text[text] for text in cell.columns["places"]]
        if sharing[0].hidden:
            continue
        for place in sharing:
            for choice in cell.stream.attacks:
                assert place.card.entitles(registry.attack(choice.name).needs, cell.stream.split) == []


def test_who_may_not_run_says_why_in_the_attacks_own_words() -> None:
    offer = offered(KnowledgeCard(victim="black", queries=100), base())
    assert [choice.name for choice in offer.choices] == ["coordinates", "preimage"]
    assert offer.refusals["concretizer"] == "victim: the attack needs white, the card grants black"
    deep = replace(base(), split="conv4.0")
    refused = offered(KnowledgeCard(victim="white", defense="aware"), deep).refusals
    assert refused == {"concretizer-aware": "split: the attack is trained for conv3.0, the session is cut at conv4.0"}


def test_an_attack_that_asks_the_victim_is_refused_for_want_of_an_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asking:
        name, modality, needs = "asking", "lidar", Needs("wire", "black", queries=50)

    monkeypatch.setattr(entitled, "names", lambda: ["asking"])
    monkeypatch.setattr(entitled, "attack", lambda name: Asking())
    stream = replace(base(), attacks=[])
    assert (
        "queries: the attack needs 50" in offered(KnowledgeCard(victim="black", queries=9), stream).refusals["asking"]
    )
    assert "no query oracle" in offered(KnowledgeCard(victim="black", queries=50), stream).refusals["asking"]


@pytest.mark.parametrize(
    ("name", "defense", "settings", "why"),
    [
        ("concretizer-aware", "feature_centric", {"strength": 2.0}, ""),
        ("concretizer-aware", "feature_centric", {"strength": 2.5}, "trained up to strength 2.2, not 2.5"),
        ("concretizer-aware", "distributed", {"strength": 1.0, "fill": 0.05}, ""),
        ("concretizer-aware", "distributed", {"strength": 1.0, "fill": 0.2}, "trained up to fill 0.08, not 0.2"),
        ("concretizer-aware", "fog", {}, "name no training under fog"),
        ("concretizer", "feature_centric", {"strength": 0.1}, "trained on undefended payloads"),
    ],
)
def test_what_an_attack_was_trained_under_is_read_from_its_weights(
    name: str, defense: str, settings: dict[str, float], why: str
) -> None:
    (choice,) = [c for c in base().attacks if c.name == name]
    found = trained_under(choice, defense, settings)
    assert (found == "") == (why == "")
    assert why in found


def test_an_aware_attack_without_weights_was_trained_under_nothing() -> None:
    assert "name no training" in trained_under(AttackChoice("concretizer-aware"), "feature_centric", {"strength": 1.0})


def test_its_defense_can_be_set_and_swept() -> None:
    made = trials(STUDY, Settings(frames=8), ["strength=0.25,1"])
    assert [trial.cells[0].stream.defense_settings for trial in made] == [{"strength": 0.25}, {"strength": 1.0}]
    with pytest.raises(InputError, match=r"no such path.*options of threat-model defense, modality, strength"):
        trials(STUDY, Settings(frames=8), ["power=1"])


def test_it_streams_with_and_without_tls_by_itself() -> None:
    with pytest.raises(InputError, match="--tls"):
        STUDY.cells(replace(SETTINGS, tls=True))


def estimate(mean: float) -> dict[str, float | int]:
    return {"mean": mean, "median": mean, "low": mean - 0.01, "high": mean + 0.01, "n": 8}


def results(folder: Path) -> list[CellResult]:
    """What the runs would have found: nothing under TLS on the wire, one figure an attack elsewhere."""
    figures = {"coordinates": 0.5, "preimage": 0.6, "concretizer": 0.9, "concretizer-aware": 0.95}
    made = []
    for cell in STUDY.cells(SETTINGS):
        hidden = cell.stream.tls and cell.stream.knowledge.vantage == "wire"
        scores = {} if hidden else {a.row: {"f1_15": estimate(figures[a.row])} for a in cell.stream.attacks}
        summary = {
            "scores": scores,
            "frames": {"sent": 8, "captured": 0 if hidden else 8},
            "heard": {"encrypted_bytes": 1_234_567 if hidden else 0},
        }
        made.append(CellResult(cell, folder / cell.id, summary))
    return made


def lines(sheet: Sheet) -> list[list[Entry]]:
    return list(sheet.rows)


def test_the_table_shows_the_best_entitled_attack_of_every_cell_or_says_why_there_is_none(tmp_path: Path) -> None:
    grid, rows, _ = STUDY.sheets(results(tmp_path))
    assert list(grid.columns) == ["victim", "defense", "wire", "wire, TLS", "cloud", "cloud, TLS"]
    found = {(r[0].text, r[1].text): r[2:] for r in lines(grid)}
    assert len(found) == 6
    for (knows, defense), entries in found.items():
        best = {"white": {"unaware": "0.900", "aware": "0.950"}[defense]}.get(knows, "0.600")
        assert [entry.text for entry in entries] == [best, "–", best, best]
        assert "1,234,567 bytes heard, 0 of 8 frames captured" in entries[1].why
    assert "no query oracle was started" in found["black", "aware"][0].why
    assert "concretizer: victim: the attack needs white, the card grants none" in found["none", "unaware"][0].why
    assert "(a floor: learns nothing)" in found["none", "unaware"][0].small[0]
    assert found["white", "aware"][0].small[0] == "concretizer-aware"
    assert len(lines(rows)) == 24
    floors = {row[5].text for row in lines(rows) if row[0].text == "cloud"}
    assert floors == {"0.600"}
    shared = {
        row[7].text for row in lines(rows) if row[0].text == "cloud" and row[1].text == "off" and row[2].text != "white"
    }
    assert len(shared) == 1  # four cells of one run, and they say so


def test_a_run_that_is_missing_leaves_its_cells_empty_with_the_reason(tmp_path: Path) -> None:
    some: Sequence[CellResult] = results(tmp_path)[:3]
    grid, _, _ = STUDY.sheets(some)
    entry = lines(grid)[0][4]
    assert (entry.text, entry.why) == ("–", "this run has not finished")
