"""Link profiles: whole, sourced, accepted by the link itself, and in the installed package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from wire.errors import InputError
from wire.link import LinkState
from wire.profiles import FIGURES, name_of, names, parse, profile
from wire.relay import LinkConfig
from wire.shaper import LinkSettings

ROOT = Path(__file__).resolve().parents[2]


def test_the_profiles_of_the_brief_exist_fastest_first() -> None:
    assert names() == ["lan", "wifi", "5g", "lte", "satellite"]


@pytest.mark.parametrize("name", ["lan", "wifi", "5g", "lte", "satellite"])
def test_every_figure_has_a_source_with_a_figure_in_it_or_says_that_it_has_none(name: str) -> None:
    found = profile(name)
    assert set(found.sources) == set(FIGURES)
    for text in found.sources.values():
        assert re.search(r"\d", text) or text.startswith("typical, unsourced")


@pytest.mark.parametrize("name", ["lan", "wifi", "5g", "lte", "satellite"])
def test_the_link_process_takes_a_profile_as_it_is(name: str) -> None:
    found = profile(name)
    config = LinkConfig.model_validate({"forward": "127.0.0.1:1", **found.role()})
    assert config.on_link(LinkState()) == LinkState(found.up, found.down)
    assert name_of(found.role()) == name


@pytest.mark.parametrize(("name", "round_trip_ms"), [("lan", 0.5), ("5g", 48.0), ("lte", 54.0), ("satellite", 50.0)])
def test_the_median_round_trip_is_the_sources(name: str, round_trip_ms: float) -> None:
    # Two uniform draws from 0 to J add up to a triangle with its peak, and so its median, at J.
    found = profile(name)
    assert found.up.jitter_ms == found.down.jitter_ms
    assert found.up.delay_ms + found.down.delay_ms + found.up.jitter_ms == pytest.approx(round_trip_ms)
    assert re.search(rf"\b{round_trip_ms:g}(\.\d+)? ms", found.sources["delay"])


@pytest.mark.parametrize("name", ["lan", "wifi", "5g", "lte", "satellite"])
def test_the_rates_are_the_sources(name: str) -> None:
    found = profile(name)
    for direction in (found.up, found.down):
        assert f"{direction.rate_mbps:g}" in found.sources["rate"].replace(",", "")


def test_an_unknown_profile_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'dsl' does not exist; there are: lan, wifi, 5g, lte, satellite"):
        profile("dsl")


def test_values_of_no_profile_have_no_name() -> None:
    assert name_of({"rate_mbps": 8.0}) is None
    assert name_of({}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\ntitle = 'x'\nup = {}\ndown = {}\n", "'a' has no sources"),
        ("[a]\ntitle = 'x'\ndown = {}\nsources = {rate = '', delay = '', jitter = ''}\n", "'a' has no up"),
        ("[a]\ntitle = 'x'\nup = {speed = 1}\ndown = {}\nsources = {rate = '', delay = '', jitter = ''}\n", "speed"),
        ("[a]\ntitle = 'x'\nup = {rate_mbps = -1}\ndown = {}\nsources = {rate = '', delay = '', jitter = ''}\n", "-1"),
        ("a = [", "profiles"),
    ],
)
def test_a_broken_file_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        parse(text, "profiles")
    assert str(error.value).startswith("profiles: ")
    assert "\n" not in str(error.value)


def test_a_whole_file_reads_back() -> None:
    text = "[a]\ntitle = 'x'\nup = {rate_mbps = 8}\ndown = {delay_ms = 2}\n"
    text += "sources = {rate = 'r', delay = 'd', jitter = 'j'}\n"
    found = parse(text, "here")["a"]
    assert (found.up, found.down) == (LinkSettings(rate_mbps=8), LinkSettings(delay_ms=2))


def test_the_data_file_is_part_of_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "profiles.toml" in settings["package-data"]["wire"]
