"""The query oracle as a process: what it answers, what it counts, and what it refuses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from attacker.oracle import Oracle
from lab.supervisor import Role
from victims.base import Sample
from victims.registry import victim
from wire import query
from wire.errors import InputError, RunError

SETTINGS: dict[str, Any] = {"weights": "random", "seed": 3}
SPLIT = "layer1.0"

Start = Callable[..., tuple[Role, Oracle]]


def picture(seed: int) -> Sample:
    return Sample("p", {"image": np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)})


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    roles: list[Role] = []
    oracles: list[Oracle] = []

    def begin(**changes: Any) -> tuple[Role, Oracle]:
        config = {
            "listen": "127.0.0.1:0",
            "victim": "cifar-resnet20",
            "split": SPLIT,
            "victim_settings": SETTINGS,
            "queries": 100,
            "rate_hz": 1000.0,
            "folder": tmp_path / "oracle",
            "control": "127.0.0.1:0",
            **changes,
        }
        role = Role("oracle", "edge.oracle", config, tmp_path / "roles")
        roles.append(role)
        role.start()
        role.wait_ready()
        oracles.append(Oracle(f"127.0.0.1:{role.ready['port']}"))
        return role, oracles[-1]

    yield begin
    for oracle in oracles:
        oracle.close()
    for role in roles:
        role.stop()


def head_says(sample: Sample) -> torch.Tensor:
    exchange = victim("cifar-resnet20").cut(SPLIT, SETTINGS).head().exchange(sample)
    return next(exchange)[0].tensors["features"]


def test_it_answers_what_would_leave_the_edge_and_counts(start: Start) -> None:
    role, oracle = start()
    for seed in range(3):
        (part,) = oracle(picture(seed))
        assert (part.role, part.layout, part.meta["input"]) == ("features", "dense", (32, 32))
        assert torch.equal(part.tensors["features"], head_says(picture(seed)))
    assert role.state()["answered"] == 3
    assert oracle.asked == 3


def test_it_protects_as_the_edge_does_with_noise_of_its_own(start: Start) -> None:
    defense = {"name": "feature_centric", "settings": {"strength": 0.5}}
    _, oracle = start(defense=defense, calibration={"rms": 2.0})
    first, second = (oracle(picture(1))[0].tensors["features"] - head_says(picture(1)) for _ in range(2))
    # 16 x 32 x 32 values: the spread of a normal sample is within 2 % of sigma
    assert first.std().item() == pytest.approx(1.0, rel=0.02)
    assert not torch.equal(first, second)


def test_the_count_outlives_a_kill_and_ends_the_answers(start: Start) -> None:
    role, oracle = start(queries=4)
    for seed in range(3):
        oracle(picture(seed))
    role.kill()
    deadline = time.monotonic() + 60
    while role.state().get("answered") != 3:  # the supervisor brings it back on the same port
        assert time.monotonic() < deadline
        time.sleep(0.1)
    oracle(picture(3))
    with pytest.raises(InputError, match="4 queries are answered; accepted: no more than 4"):
        oracle(picture(4))


def test_answers_come_no_faster_than_its_rate(start: Start) -> None:
    _, oracle = start(rate_hz=20.0)
    began = time.monotonic()
    for seed in range(11):
        oracle(picture(seed))
    assert time.monotonic() - began >= 10 / 20.0


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"no question", "are no packed arrays"),
        (query.ask({"image": np.zeros((4, 4, 3), np.uint8)}), "accepted: uint8 (32, 32, 3)"),
        (query.ask({"scan": np.zeros(3, np.float32)}), "image"),
    ],
)
def test_a_bad_question_gets_a_line_and_is_not_counted(start: Start, body: bytes, line: str) -> None:
    role, oracle = start()
    answer = httpx.post(f"http://127.0.0.1:{role.ready['port']}{query.PATH}", content=body)
    assert answer.status_code == 422
    assert line in answer.json()["error"]
    oracle(picture(0))
    assert role.state()["answered"] == 1


def test_one_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"oracle 127\.0\.0\.1:1:"):
        Oracle("127.0.0.1:1")(picture(0))
