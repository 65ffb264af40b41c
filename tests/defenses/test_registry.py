"""Building defenses by name, and what is refused."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defenses import registry
from defenses.base import Calibration
from defenses.distributed import Distributed
from defenses.none import NoDefense
from wire.errors import InputError

RANGES = {("feature_centric", "strength"): 10, ("distributed", "strength"): 10, ("distributed", "fill"): 1}


def test_an_unknown_name_is_answered_with_those_that_exist() -> None:
    with pytest.raises(
        InputError, match=r"^defense 'noise' does not exist; accepted: none, feature_centric, distributed"
    ):
        registry.build("noise")


@given(place=st.sampled_from(sorted(RANGES)), share=st.floats(0, 1))
def test_every_value_in_range_is_taken(place: tuple[str, str], share: float) -> None:
    name, setting = place
    assert getattr(registry.build(name, {setting: share * RANGES[place]}), setting) == share * RANGES[place]


@given(
    place=st.sampled_from(sorted(RANGES)),
    value=st.one_of(
        st.floats(max_value=0, exclude_max=True),
        st.floats(min_value=10, exclude_min=True),
        st.just(float("nan")),
        st.booleans(),
        st.text(max_size=5),
        st.just((1.0, 2.0)),
    ),
)
def test_every_other_value_is_refused_in_one_line(place: tuple[str, str], value: Any) -> None:
    name, setting = place
    with pytest.raises(InputError) as caught:
        registry.build(name, {setting: value})
    expected = f"defense {name}: {setting} is {value!r}; accepted: a number from 0 to {RANGES[place]}"
    assert str(caught.value) == expected
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "accepted"), [("none", "none"), ("feature_centric", "strength"), ("distributed", "strength, fill")]
)
def test_an_unknown_setting_is_answered_with_those_that_exist(name: str, accepted: str) -> None:
    with pytest.raises(InputError, match=f"^defense {name}: setting 'sigma' is unknown; accepted: {accepted}$"):
        registry.build(name, {"sigma": 1.0})


def test_settings_and_calibration_arrive() -> None:
    defense = registry.build("distributed", {"strength": 2, "fill": 0.5}, Calibration(rms=0.25, frames=3))
    assert isinstance(defense, Distributed)
    assert (defense.strength, defense.fill, defense.sigma) == (2.0, 0.5, 0.5)


def test_a_plug_in_joins_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    group = registry.GROUP
    entries = importlib.metadata.EntryPoints(
        importlib.metadata.EntryPoint(name, "defenses.none:NoDefense", group) for name in ("mine", "distributed")
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: entries.select(group=group))
    assert registry.names() == [*registry.DEFENSES, "mine"]
    assert isinstance(registry.build("mine"), NoDefense)
    assert isinstance(registry.build("distributed"), Distributed)  # ours win


def test_the_defenses_that_one_knob_turns() -> None:
    turned = registry.turned_by_strength("features")
    assert turned == ["none", "feature_centric", "distributed", "gaussian", "laplace"]
    for name in turned[1:]:
        registry.build(name, {"strength": 0.0})
    assert registry.turned_by_strength("gradients") == ["none", "gradient-norm-noise"]


@pytest.mark.parametrize(("name", "own"), [("gradient-norm-noise", "c"), ("label-noise", "std")])
def test_strength_is_another_name_of_a_knob(name: str, own: str) -> None:
    assert (
        getattr(registry.build(name, {"strength": 2.5}), own) == 2.5 == getattr(registry.build(name, {own: 2.5}), own)
    )
    with pytest.raises(InputError, match=f"{own} and strength are given together"):
        registry.build(name, {"strength": 1, own: 1})
    with pytest.raises(InputError, match="strength is -1; accepted: a number from 0"):
        registry.build(name, {"strength": -1})
