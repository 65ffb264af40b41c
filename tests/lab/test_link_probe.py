"""The probe against a real link process: what no machine can fake, and the bands by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lab.link_probe import Measured, compared, line, measure, out_of_band, settings_of, sheet
from wire.errors import RunError
from wire.link import LinkState
from wire.profiles import profile
from wire.shaper import LinkSettings

UP = LinkSettings(rate_mbps=8.0, delay_ms=20.0, jitter_ms=10.0)


def test_each_direction_of_a_real_link_is_measured_for_itself(tmp_path: Path) -> None:
    link = {"up": {"rate_mbps": 8.0, "delay_ms": 30.0}, "down": {"rate_mbps": 40.0, "delay_ms": 5.0, "jitter_ms": 20.0}}
    found = measure(link, 3, tmp_path)
    assert (found["set"]["up"]["rate_mbps"], found["set"]["down"]["jitter_ms"]) == (8.0, 20.0)
    up, down = found["measured"]["up"], found["measured"]["down"]
    # A busy machine makes a link later and, but for what piled up before a reader that slept, slower; never earlier.
    assert 0 < up["rate_mbps"] < 1.25 * 8
    assert 0 < down["rate_mbps"] < 1.25 * 40
    assert up["delay_ms"] >= 30
    # The median of n uniform draws lies four standard errors, 4 J / (2 sqrt n), below its mean at most.
    assert down["delay_ms"] >= 5 + 10 - 4 * 20 / (2 * math.sqrt(down["stamps"]))
    assert down["jitter_ms"] > 5
    assert found["within_band"] is (not found["out_of_band"])


def test_a_link_without_shaping_is_measured_too(tmp_path: Path) -> None:
    found = measure({}, 0, tmp_path)
    assert found["set"]["up"]["rate_mbps"] is None
    assert found["measured"]["up"]["delay_ms"] > 0
    assert not any("rate" in text for text in found["out_of_band"])


def test_a_link_that_does_not_come_up_is_told_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"probe did not come up: .*seed"):
        measure({"rate_mbps": 8.0}, -1, tmp_path)


def test_the_rate_is_in_band_within_five_percent() -> None:
    right = Measured(8.39, 25.0, 10.0, 50)
    assert out_of_band(UP, right) == []
    assert out_of_band(UP, Measured(8.41, 25.0, 10.0, 50)) == ["rate 8.41 Mbit/s, set 8 (band 5%)"]
    assert out_of_band(UP, Measured(7.59, 25.0, 10.0, 50)) == ["rate 7.59 Mbit/s, set 8 (band 5%)"]
    assert out_of_band(UP, Measured(None, 25.0, 10.0, 50)) == ["rate not measured: all bytes arrived at once"]
    assert out_of_band(LinkSettings(), Measured(9000.0, 0.1, 0.0, 50)) == []


@pytest.mark.parametrize(
    ("wanted", "delay_ms", "inside"),
    [
        (LinkSettings(delay_ms=10.0), 11.99, True),  # 2 ms is more than 5 %
        (LinkSettings(delay_ms=10.0), 12.01, False),
        (LinkSettings(delay_ms=100.0), 104.9, True),  # 5 % is more than 2 ms
        (LinkSettings(delay_ms=100.0), 105.1, False),
        (UP, 28.4, True),  # 20 + 10 / 2, with 2 ms and two standard errors of 10 / (2 * 7) ms: 3.43 ms
        (UP, 28.5, False),
    ],
)
def test_the_delay_is_in_band_within_five_percent_or_two_milliseconds(
    wanted: LinkSettings, delay_ms: float, inside: bool
) -> None:
    assert (out_of_band(wanted, Measured(wanted.rate_mbps or 1e4, delay_ms, 0.0, 49)) == []) is inside


def test_out_of_band_is_said_wherever_it_is_printed() -> None:
    state = LinkState(UP, LinkSettings(rate_mbps=30.0))
    found = compared(state, {"up": Measured(6.0, 25.0, 9.0, 49), "down": Measured(30.0, 0.2, 0.0, 49)})
    assert found["within_band"] is False
    assert found["out_of_band"] == ["up rate 6 Mbit/s, set 8 (band 5%)"]
    assert "up 8 Mbit/s set, 6 measured; 25 ms set, 25 measured" in line(found)
    assert "OUT OF BAND: up rate 6" in line(found)
    made = sheet([("a", {"link_measured": found}), ("b", {})])
    assert [row[-1].text for row in made.rows] == ["no: no claim about latency rests on this row", "yes", "–"]
    assert line({}) == ""


def test_settings_are_read_as_the_link_reads_them() -> None:
    assert settings_of(profile("lte").role()) == LinkState(profile("lte").up, profile("lte").down)
    both = settings_of({"delay_ms": 5.0, "down": {"delay_ms": 7.0}})
    assert (both.up.delay_ms, both.down.delay_ms) == (5.0, 7.0)
