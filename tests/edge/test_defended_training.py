"""A defense between a training's head and its socket: what it is shown, and what it lets pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pytest
import torch

from defenses.base import Protected, Turn
from defenses.none import NoDefense
from defenses.registry import build
from edge.driver import Done, Driver
from tests.contract.defense import fingerprint
from tests.victims.radiance.exchanging import SMALL
from victims.base import Tail
from victims.radiance.victim import SPLITNERF
from wire.payload import Meta, Payload
from wire.reply import Reply

SETTINGS: dict[str, Meta] = {**asdict(SMALL), "steps": 4, "pictures": 1, "side": 12, "views": 4}


class Cloud:
    """A client whose cloud is in this process; keeps all that left the edge, by frame and turn."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.left: dict[tuple[int, int], list[Payload]] = {}

    def send(self, exchange: int, turn: int, parts: Sequence[Payload], stamps: object) -> Iterator[Reply]:
        self.left[exchange, turn] = list(parts)
        return iter([Reply(self._tail.reply(part), None) for part in parts])  # type: ignore[arg-type]


class Watching(NoDefense):
    """Lets everything pass and remembers the turns. hears: whether it asks for what came down."""

    hears = True

    def __init__(self) -> None:
        super().__init__({})
        self.turns: list[tuple[Sequence[Payload], Turn]] = []

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        self.turns.append((parts, turn))
        return Protected(parts)


def trained(defense: object) -> tuple[Cloud, list[Done]]:
    cut = SPLITNERF.cut("mid", SETTINGS)
    cloud, done = Cloud(cut.tail()), list[Done]()
    driver = Driver(cut.head(), cloud, defense, done.append, seed=0, in_flight=1, steps=cut.train_steps)  # type: ignore[arg-type]
    for number, sample in enumerate(SPLITNERF.samples("procedural", SETTINGS)):
        driver.run(sample, number)
    driver.finish()
    assert [item.error for item in done] == [None] * 5
    return cloud, done


@pytest.fixture(scope="module")
def clean() -> tuple[Cloud, list[Done]]:
    return trained(build("none"))


def test_all_parts_of_a_step_come_at_once_with_the_embeddings_that_they_belong_to() -> None:
    watching = Watching()
    trained(watching)
    gradients = [(parts, turn) for parts, turn in watching.turns if parts[0].role == "gradients"]
    assert [turn.step for _, turn in gradients] == [0, 1, 2, 3]
    for parts, turn in gradients:
        assert len(parts) == 3
        assert turn.steps == 4
        shapes = [tuple(p.tensors["embeddings"].shape) for p in turn.heard]
        assert shapes == [tuple(p.tensors["gradients"].shape) for p in parts]
    rays = [turn for parts, turn in watching.turns if parts[0].role == "rays"]
    assert [turn.step for turn in rays] == [0, 1, 2, 3, 4]  # the last one asks for a picture
    assert all(not turn.heard for turn in rays)


@pytest.mark.parametrize("mode", ["random", "partial", "mix"])
def test_rays_and_pictures_pass_and_the_maximum_is_the_steps(mode: str, clean: tuple[Cloud, list[Done]]) -> None:
    cloud, done = trained(build("gradient-norm-noise", {"mode": mode}))
    for place, parts in clean[0].left.items():
        if place[1] == 0:
            assert [fingerprint(p) for p in cloud.left[place]] == [fingerprint(p) for p in parts]
    before = torch.cat([p.tensors["gradients"].flatten(0, 1) for p in clean[0].left[0, 1]])
    record = done[0].records[1]
    assert record["max_norm"] == pytest.approx(float(before.norm(dim=1).max()))
    assert record["sigma"] == pytest.approx(0.0 if mode == "partial" else 1.2 * record["max_norm"])
    after = torch.cat([p.tensors["gradients"].flatten(0, 1) for p in cloud.left[0, 1]])
    assert not torch.equal(before, after)


def test_noise_where_the_embedding_is_dead_leaves_the_training_as_it_was(clean: tuple[Cloud, list[Done]]) -> None:
    _, done = trained(build("gradient-norm-noise", {"mode": "partial"}))
    plain, noised = (found[4].outcome for found in (clean[1], done))
    assert plain is not None
    assert noised is not None
    assert np.array_equal(plain.arrays["image"], noised.arrays["image"])


def test_noisy_labels_change_gradients_and_no_ray(clean: tuple[Cloud, list[Done]]) -> None:
    cloud, done = trained(build("label-noise", {"std": 2.0}))
    for frame in range(5):
        assert [fingerprint(p) for p in cloud.left[frame, 0]] == [fingerprint(p) for p in clean[0].left[frame, 0]]
    assert [fingerprint(p) for p in cloud.left[0, 1]] != [fingerprint(p) for p in clean[0].left[0, 1]]
    assert done[4].outcome is not None
