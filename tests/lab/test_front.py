"""The front and the advice, against rows whose order can be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.front import Aims, Figures, Row, advice, front
from lab.metrics.base import Metric

LEAK = Metric("f1", "", "higher", "How much comes back.", "test", "F1", (0, 1))
CHAMFER = Metric("chamfer", "m", "lower", "How far off it is.", "test", "Chamfer")
UTILITY = Metric("agreement", "", "higher", "What is left.", "test", "agreement", (0, 1))


def summary(mean: float, spread: float | None = 0.01) -> dict[str, float | int | None]:
    low, high = (None, None) if spread is None else (mean - spread, mean + spread)
    return {"mean": mean, "median": mean, "low": low, "high": high, "n": 12}


def figures(utility: float, leakage: float, latency: float, spread: float | None = 0.01) -> Figures:
    return Figures(summary(utility), summary(leakage, spread), summary(latency), summary(4e6), 12, 12)


def row(name: str, utility: float, leakage: float, latency: float, *, defense: str = "", unjudged: str = "") -> Row:
    found = figures(utility, leakage, latency)
    return Row(name, defense, "lan", "concretizer", unjudged, found, found)


def test_a_row_that_is_beaten_in_all_three_is_off_the_front() -> None:
    good, slow, worse = row("a", 1.0, 0.5, 100), row("b", 1.0, 0.4, 200), row("c", 0.9, 0.6, 150)
    assert front([worse, good, slow], LEAK) == [good, slow]  # c is beaten by a; a and b are each better in one


def test_equal_rows_do_not_beat_each_other() -> None:
    twins = [row("a", 1.0, 0.5, 100), row("b", 1.0, 0.5, 100)]
    assert front(twins, LEAK) == twins


def test_a_metric_that_falls_as_the_attack_gets_better_is_turned_round() -> None:
    near, far = row("near", 1.0, 0.05, 100), row("far", 1.0, 0.9, 100)
    assert front([near, far], CHAMFER) == [far]
    assert front([near, far], LEAK) == [near]


def test_a_row_that_no_aware_attack_judged_is_never_on_the_front_and_beats_nobody() -> None:
    naive = row("a", 1.0, 0.0, 1, defense="fog", unjudged="trained on clean payloads")
    plain = row("b", 0.9, 0.9, 100)
    assert front([naive, plain], LEAK) == [plain]


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=8))
def test_every_row_is_on_the_front_or_beaten_by_one_that_is(points: list[tuple[float, float, float]]) -> None:
    rows = [row(str(number), *point) for number, point in enumerate(points)]
    members = front(rows, LEAK)
    assert members
    for other in rows:
        u, leakage, t = (other.chosen.utility["mean"], other.chosen.leakage["mean"], other.chosen.latency["mean"])
        beaten = any(
            m.chosen.utility["mean"] >= u and m.chosen.leakage["mean"] <= leakage and m.chosen.latency["mean"] <= t
            for m in members
            if m is not other
        )
        assert other in members or beaten


def test_the_least_leaking_row_within_the_loss_is_recommended_with_what_it_rests_on() -> None:
    rows = [
        row("shallow", 1.0, 0.9, 100),
        row("deep", 0.97, 0.3, 120),
        row("ruined", 0.5, 0.1, 130),  # leaks least, but the network is worth little
    ]
    first, rests, *rest = advice(rows, LEAK, UTILITY, Aims(leak=0.5, loss=0.05))
    assert first == "Recommended: cut at deep without a defense."
    assert "12 frames of 12 streets that had no part in the choice" in rests
    assert "F1 0.300 (0.290 to 0.310, n 12) by concretizer" in rests
    assert "120 ms" in rests
    assert "over lan" in rests
    assert "4,000 kB" in rests
    assert rest == []


def test_the_figures_are_those_of_the_reporting_streets_and_a_change_of_order_is_said() -> None:
    pick = replace(row("pick", 1.0, 0.2, 100), reported=figures(1.0, 0.45, 100))
    other = replace(row("other", 1.0, 0.3, 90), reported=figures(1.0, 0.25, 90))
    first, rests, doubt = advice([pick, other], LEAK, UTILITY, Aims())
    assert first == "Recommended: cut at pick without a defense."
    assert "F1 0.450" in rests
    assert "another row beats it" in doubt


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (figures(1.0, 0.495, 100), "the limit asked for is 0.5"),  # the mean is within, its interval is not
        (figures(1.0, 0.2, 100, spread=None), "too few streets for an interval"),
    ],
)
def test_nothing_is_recommended_that_is_not_shown_to_be_within_the_limit(found: Figures, said: str) -> None:
    first = advice([replace(row("a", 1, 0.2, 9), reported=found)], LEAK, UTILITY, Aims())[0]
    assert first.startswith("Nothing here can be recommended as private")
    assert said in first
    assert "cut at a without a defense" in first


def test_a_defense_is_named_as_not_judged_and_never_recommended_without_an_aware_attack() -> None:
    naive = row("a", 1.0, 0.01, 1, defense="fog strength=2", unjudged="concretizer: trained on clean payloads")
    lines = advice([naive, row("b", 1.0, 0.9, 100)], LEAK, UTILITY, Aims())
    assert "cut at b without a defense" in lines[0]
    assert lines[-1].startswith("Not judged")
    assert "a with fog strength=2" in lines[-1]
    assert advice([naive], LEAK, UTILITY, Aims()) == [
        "Nothing can be recommended: no row has an attack that was trained under its defense."
    ]


def test_a_judged_defense_is_recommended_by_name() -> None:
    judged = row("a", 0.99, 0.2, 100, defense="fog strength=2")
    assert advice([judged, row("a", 1.0, 0.9, 99)], LEAK, UTILITY, Aims())[0] == (
        "Recommended: cut at a with fog strength=2."
    )
