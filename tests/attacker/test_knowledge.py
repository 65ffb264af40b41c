"""The knowledge card: what it refuses, and that it survives its file."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from attacker.attacks.base import Needs
from attacker.guard import GuardReport
from attacker.knowledge import KnowledgeCard
from wire.errors import InputError

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)
layers = st.sampled_from(["kernel", "hook", "open"])
tuples = st.lists(texts, max_size=3).map(tuple)
reports = st.builds(
    GuardReport,
    landlock=texts, audit_hook=st.booleans(), files=layers, processes=layers, connect=layers, read=tuples, write=tuples,
    addresses=tuples,
)  # fmt: skip
metas = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), texts,
                  st.lists(st.integers(0, 9), max_size=3).map(tuple))  # fmt: skip


@st.composite
def cards(draw: st.DrawFn) -> KnowledgeCard:
    victim = draw(st.sampled_from(["none", "black", "white"]))
    defense = draw(st.sampled_from(["unaware", "aware"]))
    aware = defense == "aware"
    return KnowledgeCard(
        vantage=draw(st.sampled_from(["wire", "cloud"])),
        victim=victim,
        defense=defense,
        data=draw(texts),
        leaks=draw(tuples),
        queries=0 if victim == "none" else draw(st.integers(0, 10**9)),
        defense_name=draw(texts) if aware else "",
        defense_settings=draw(st.dictionaries(texts, metas, max_size=3)) if aware else {},
        guard=draw(st.none() | reports),
    )


@given(cards())
def test_a_card_survives_toml(card: KnowledgeCard) -> None:
    assert KnowledgeCard.from_dict(tomllib.loads(tomli_w.dumps(card.to_dict()))) == card


@pytest.mark.parametrize(
    ("held", "wanted", "refused"),
    [
        ("none", "none", False), ("none", "black", True), ("none", "white", True),
        ("black", "none", False), ("black", "black", False), ("black", "white", True),
        ("white", "none", False), ("white", "black", False), ("white", "white", False),
    ],
)  # fmt: skip
def test_the_victim_ladder(held: str, wanted: Any, refused: bool) -> None:
    refusals = KnowledgeCard(victim=held).entitles(Needs(vantage="wire", victim=wanted))
    assert refusals == ([f"victim: the attack needs {wanted}, the card grants {held}"] if refused else [])


def test_every_lack_is_named() -> None:
    card = KnowledgeCard(vantage="wire", victim="black", queries=10)
    needs = Needs(vantage="cloud", victim="white", queries=50, splits=frozenset({"a", "b"}), defense="aware")
    assert card.entitles(needs, split="conv3.0") == [
        "vantage: the attack needs cloud, the card grants wire",
        "victim: the attack needs white, the card grants black",
        "defense: the attack needs aware, the card grants unaware",
        "queries: the attack needs 50, the card grants 10",
        "split: the attack is trained for a, b, the session is cut at conv3.0",
    ]


def test_a_fuller_card_refuses_nothing() -> None:
    card = KnowledgeCard(vantage="cloud", victim="white", defense="aware", defense_name="distributed", queries=50)
    needs = Needs(vantage="cloud", victim="white", queries=50, splits=frozenset({"a"}), defense="aware")
    assert card.entitles(needs, split="a") == []
    assert card.entitles(Needs(vantage="wire", victim="none"), split="anything") == []


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"vantage": "moon"}, "run.toml: knowledge: vantage is 'moon'; accepted: wire, cloud"),
        ({"victim": "grey"}, "victim is 'grey'; accepted: none, black, white"),
        ({"queries": -1, "victim": "black"}, "queries is -1; accepted: a whole number from 0"),
        ({"queries": True, "victim": "black"}, "queries is True"),
        ({"queries": 3}, "3 queries but victim none"),
        ({"defense_name": "none"}, "defense unaware but none given; say aware"),
        ({"leaks": "picture"}, "leaks is 'picture'; accepted: a list of texts"),
        ({"colour": 1}, "run.toml: field 'colour' is unknown; accepted: vantage"),
        ({"guard": {"files": "moat"}}, "run.toml: guard: files is 'moat'; accepted: kernel, hook, open"),
        ({"guard": 3}, "run.toml: guard: 3; accepted: a table"),
    ],
)
def test_a_bad_card_is_refused_in_one_line(table: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        KnowledgeCard.from_dict(table, "run.toml")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_text_tells_what_held() -> None:
    report = GuardReport("abi 7", True, "kernel", "kernel", "hook", ("w",), ("o",))
    card = KnowledgeCard(
        victim="white", defense="aware", defense_name="distributed", defense_settings={"strength": 0.5},
        data="40 procedural streets", leaks=("a picture",),
    )  # fmt: skip
    assert card.text().splitlines()[-1] == "enforced by: nothing in this process"
    assert card.with_guard(report).text() == (
        "vantage: wire\n"
        "victim: white\n"
        "defense: aware (distributed, strength 0.5)\n"
        "trained on: 40 procedural streets\n"
        "leaks: a picture\n"
        "enforced by: Landlock abi 7; audit hook on\n"
        "refused: other files (kernel), programs (kernel), other addresses (hook)"
    )
