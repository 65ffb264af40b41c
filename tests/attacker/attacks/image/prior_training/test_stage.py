"""A stage that was killed and went on, against one that ran through; and one that was lengthened."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from attacker.attacks.image.prior_training.stage import Losses, Schedule, Stage
from victims.base import silent
from wire.errors import InputError

SCHEDULE = Schedule(steps=60, rate=1e-2, warmup=5, decay=20)


def stage(work: Path, schedule: Schedule = SCHEDULE, shape: str = "2 heads") -> Stage:
    work.mkdir(exist_ok=True)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 1))
    return Stage("toy", work, network, schedule, seed=3, averaging=0.9, shape=shape)


def run(made: Stage, until: int | None = None, killed_at: int | None = None) -> Stage:
    def losses_of(step: int) -> Losses:
        if step == killed_at:
            raise KeyboardInterrupt
        x = torch.randn(16, 4)
        loss = (made.module(x) - x.sum(1, keepdim=True)).square().mean()
        return {"loss": loss, "twice": 2 * loss}

    made.go(losses_of, silent, 0.0, until)  # a checkpoint at every report
    return made


def same(a: Stage, b: Stage) -> bool:
    pairs = [(a.average[key], b.average[key]) for key in a.average]
    pairs += [(value, b.module.state_dict()[key]) for key, value in a.module.state_dict().items()]
    return all(torch.equal(x, y) for x, y in pairs)


def test_killed_and_resumed_is_uninterrupted_bit_for_bit(tmp_path: Path) -> None:
    whole = run(stage(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        run(stage(tmp_path / "parts"), killed_at=33)  # between two checkpoints
    resumed = stage(tmp_path / "parts")
    assert resumed.done == 20
    torch.manual_seed(123)  # whatever else the process did before
    assert same(run(resumed), whole)
    rows = [list(csv.reader((tmp_path / part / "toy.csv").read_text().splitlines())) for part in ("whole", "parts")]
    assert [[row[0], *row[2:]] for row in rows[0]] == [[row[0], *row[2:]] for row in rows[1]]  # all but the seconds
    assert [row[0] for row in rows[0]] == ["step", "20", "40", "60"]


def test_lengthened_is_the_longer_one_up_to_its_decay(tmp_path: Path) -> None:
    longer = Schedule(steps=120, rate=1e-2, warmup=5, decay=20)
    whole = run(stage(tmp_path / "whole", longer))
    run(stage(tmp_path / "parts", SCHEDULE), until=40)  # stopped where the shorter one would have begun to decay
    assert same(run(stage(tmp_path / "parts", longer)), whole)


def test_the_rate_by_hand() -> None:
    rate = Schedule(steps=100, rate=1.0, warmup=4, decay=20)
    assert [rate.at(step) for step in (0, 1, 3, 4, 50, 80)] == [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert rate.at(90) == pytest.approx(0.5)  # half of the cosine
    assert rate.at(95) == pytest.approx(0.5 - 0.5 * 2**-0.5)
    assert 0 < rate.at(99) < 0.01


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run(stage(tmp_path), until=20)
    with pytest.raises(InputError) as caught:
        stage(tmp_path, shape="4 heads")
    assert str(caught.value) == f"{tmp_path / 'toy.ckpt'}: is of a network with 2 heads; these settings make 4 heads"
    with pytest.raises(InputError, match="is of another network than these settings make"):
        Stage("toy", tmp_path, nn.Linear(4, 2), SCHEDULE, seed=3, averaging=0.9, shape="2 heads")


def test_the_average_by_hand(tmp_path: Path) -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    made = Stage("one", tmp_path, network, SCHEDULE, seed=0, averaging=0.9)
    for done, value in ((1, 1.0), (2, 2.0)):
        network.weight.data.fill_(value)
        made.done = done
        made._take_average()
    # keep 2/11 then 3/12: (1 - 2/11) 1 = 9/11; then 3/12 * 9/11 + 9/12 * 2
    assert float(made.average["weight"]) == pytest.approx(0.25 * 9 / 11 + 0.75 * 2)
