"""Tables: every figure as declared, every empty field with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from lab import tables
from lab.metrics.base import Metric

F1 = Metric("f1_15", "", "higher", "Definition.", "Paper", "F1 at 15 cm", (0, 1))
CHAMFER = Metric("chamfer", "m", "lower", "Definition.", "Paper", "Chamfer")
POINTS = Metric("restored_per_true", "", "neither", "Definition.", "Ours")


def found(mean: float | None, low: float | None = None, high: float | None = None, n: int = 9) -> dict[str, Any]:
    return {"mean": mean, "median": mean, "low": low, "high": high, "n": n}


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.98765, F1, "0.988"),
        (0.5, F1, "0.500"),
        (0.0321, CHAMFER, "0.032"),
        (12.345, POINTS, "12.3"),
        (31_234.0, POINTS, "31,234"),
        (None, F1, "–"),
    ],
)
def test_figures(value: float | None, metric: Metric, text: str) -> None:
    assert tables.figure(value, metric) == text


def test_an_estimate_shows_its_interval_median_and_n() -> None:
    entry = tables.estimate(found(0.9, 0.85, 0.95), F1)
    assert (entry.text, entry.small, entry.why) == ("0.900", ("0.850 to 0.950", "median 0.900, n 9"), "")


def test_what_is_missing_says_why() -> None:
    assert tables.estimate(None, F1).why == tables.NOT_SCORED
    assert tables.estimate(found(None, n=0), F1).why == tables.NO_VALUE
    assert tables.estimate(found(0.9, n=6), F1).why == tables.NO_INTERVAL
    assert "one figure over all frames" in tables.estimate(found(0.9) | {"median": None}, F1).why


def test_scores_come_attack_floor_oracle_with_the_papers_value_marked() -> None:
    summary = {
        "scores": {
            "oracle": {"f1_15": found(1.0, 1, 1), "chamfer": found(0.03)},
            "coordinates": {"f1_15": found(0.4, 0.3, 0.5)},
            "concretizer": {"f1_15": found(0.9, 0.8, 1), "chamfer": found(None, n=0)},
        },
        "notes": {"concretizer": {"from a sample": 3}},
    }
    paper = {"concretizer": {"f1_15": 0.9914}}
    sheet = tables.score_sheet(
        "t", [("conv3.0", summary, paper)], [F1, CHAMFER], tables.Roles(("coordinates",)), "Table 1"
    )
    assert list(sheet.columns) == ["attack", "F1 at 15 cm ↑", "Chamfer (m) ↓"]
    assert [row[0].text for row in sheet.rows] == ["concretizer", "coordinates", "oracle"]
    assert sheet.rows[1][0].small == ("floor: learns nothing",)
    assert sheet.rows[0][1].paper == "0.991"
    assert sheet.rows[0][2].why == tables.NO_VALUE
    assert sheet.rows[1][2].why == tables.NOT_SCORED
    assert sheet.reasons == [tables.NO_VALUE, tables.NOT_SCORED, tables.NO_INTERVAL]
    assert sheet.mark(tables.NOT_SCORED) == "b"
    assert any("quoted, not measured here: Table 1" in note for note in sheet.notes)
    assert "conv3.0, concretizer: from a sample (3 frames)." in sheet.notes


def test_stages_read_as_words_also_per_attack() -> None:
    times = {"p50": 1.0, "p95": 2.0}
    sheet = tables.latency_sheet(
        {"latency_ms": {"head": times, "listener.invert": times, "listener.invert.concretizer": times}}
    )
    assert [row[1].text for row in sheet.rows] == [
        "first layers, on the edge",
        "listener: inversion",
        "listener: inversion, concretizer",
    ]


def test_bytes_that_were_not_measured_say_so() -> None:
    sheet = tables.byte_sheet([("a", {"bytes": {"payload_mean": 2000.0}})])
    assert [(e.text, e.why) for e in sheet.rows[0][1:]] == [("2.0", ""), ("–", "not measured"), ("–", "not measured")]
