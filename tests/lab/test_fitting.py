"""A training on queries as processes of their own: counted, resumed after a kill, refused beyond its card."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attacker.attacks.image.inversion_networks.trained import asked_about, load_trained
from attacker.knowledge import KnowledgeCard
from lab import fitting
from lab.fitting import FitSettings, fit
from lab.stream import AttackChoice
from lab.supervisor import Role
from victims.registry import victim
from wire.errors import RunError

QUERIES = 48
SETTINGS = FitSettings(
    victim="cifar-resnet20",
    split="layer2.0",
    victim_settings={"weights": "random", "seed": 4},
    attack=AttackChoice("inversion-direct", "", {"queries": QUERIES, "epochs": 2, "batch": 16, "width": 4}),
    knowledge=KnowledgeCard(victim="black", queries=QUERIES),
    data="procedural",
    data_settings={"frames_per_scene": 1},
    frames=QUERIES,
)


def test_a_training_asks_the_oracle_for_all_that_it_knows_and_once(tmp_path: Path) -> None:
    told: list[str] = []
    made = fit(SETTINGS, tmp_path, lambda done, total, note="": told.append(note))
    assert made.queries == QUERIES
    _, card = load_trained(made.made)
    assert (card.attack, card.victim, card.split, card.queries) == (
        "inversion-direct", "cifar-resnet20", "layer2.0", QUERIES,
    )  # fmt: skip
    samples = victim("cifar-resnet20").samples("procedural", {"frames": QUERIES, "frames_per_scene": 1})
    digests = {sample.digest() for sample in samples}
    assert asked_about(made.made, [*digests, "ab" * 32]) == digests
    assert fit(SETTINGS, tmp_path, _silent) == made, "a finished training is not repeated"


def test_a_killed_training_asks_nothing_again_and_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(SETTINGS, tmp_path / "whole", _silent)
    slow = replace(SETTINGS, rate_hz=40.0, knowledge=KnowledgeCard(victim="black", queries=QUERIES + 1))
    killed: list[Role] = []
    monkeypatch.setattr(fitting, "_wait", _killing(fitting._wait, tmp_path / "cut", killed))
    made = fit(slow, tmp_path / "cut", _silent)
    assert killed
    assert killed[0].usage.starts == 2
    # an answer that was on its way when the kill came is asked for again
    assert QUERIES <= made.queries <= QUERIES + 1
    assert _same_network(made.made, whole.made)


def test_an_oracle_answers_no_more_than_the_card_grants_and_that_is_learned_from(tmp_path: Path) -> None:
    made = fit(replace(SETTINGS, knowledge=KnowledgeCard(victim="black", queries=20)), tmp_path, _silent)
    assert made.queries == 20
    assert load_trained(made.made)[1].queries == 20


def test_a_card_without_queries_is_refused_by_name(tmp_path: Path) -> None:
    none = replace(SETTINGS, knowledge=KnowledgeCard(victim="black"))
    with pytest.raises(RunError, match="queries: the attack needs 1, the card grants 0"):
        fit(none, tmp_path, _silent)


def _killing(wait: Callable[..., None], folder: Path, killed: list[Role]) -> Callable[..., None]:
    def waiting(trainer: Role, progress: object) -> None:
        answers = folder / "work" / "answers.bin"
        deadline = time.monotonic() + 60
        while not answers.exists() or answers.stat().st_size == 0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        trainer.kill()
        killed.append(trainer)
        wait(trainer, progress)

    return waiting


def _same_network(one: Path, two: Path) -> bool:
    networks = [load_trained(path)[0].state_dict() for path in (one, two)]
    return all(networks[0][name].equal(networks[1][name]) for name in networks[1])


def _silent(done: float, total: float, note: str = "") -> None:
    """No bar."""
