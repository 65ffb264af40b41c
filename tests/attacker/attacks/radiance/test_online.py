"""Kills, rollbacks and gaps: what an online attack goes on from, and what it says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attacker.attacks.base import CapturedFrame, Reconstruction
from attacker.registry import attack
from wire.errors import InputError

LEARNING = ["surrogate", "surrogate-replay", "surrogate-fit", "gradient-norms"]


def run(inverter: object, frames: list[CapturedFrame]) -> list[Reconstruction]:
    return [made for frame in frames for made in inverter.observe([frame])]  # type: ignore[attr-defined]


def same(one: Reconstruction, two: Reconstruction) -> bool:
    return all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)


def settings(name: str) -> dict:
    return {"keep_every": 4, **({"cells": 8} if name == "gradient-norms" else {})}


def again(frames: list[CapturedFrame], incarnation: int = 1) -> list[CapturedFrame]:
    return [replace(frame, incarnation=incarnation) for frame in frames]


@pytest.mark.parametrize("name", LEARNING)
def test_a_killed_listener_goes_on(name: str, training, tmp_path: Path) -> None:
    """States are kept after 4 and 8 steps; the kill comes after 8, and the listener hears on from there."""
    frames = list(training.frames)
    assert len(frames) == 14  # 12 steps, and pictures as frames 6 and 13
    grants = training.grants(tmp_path, **settings(name))
    (whole,) = run(attack(name).open(training.session, training.grants(**settings(name))), frames)[1:]
    run(attack(name).open(training.session, grants), frames[:9])
    folder = tmp_path / training.session.session
    assert sorted(path.name for path in folder.iterdir()) == ["000000003.safetensors", "000000008.safetensors"]
    second = attack(name).open(training.session, grants)
    (made,) = run(second, frames[7:])  # two of them were heard before
    assert same(whole, made) and made.meta["restarts"] == 1 and made.meta["missed"] == 0
    assert {path.name for path in folder.iterdir()} == {"000000008.safetensors", "000000012.safetensors"}
    # A newest state that was cut short is passed over; the one before it leaves a gap, which the replay cannot cross.
    (folder / "000000012.safetensors").write_bytes(b"cut")
    third = attack(name).open(training.session, grants)
    if name == "surrogate-replay":
        with pytest.raises(InputError, match="a picture after 12 steps is asked for"):
            run(third, frames[13:])
    else:
        assert run(third, frames[13:])[0].meta["missed"] == 4


@pytest.mark.parametrize("name", LEARNING)
def test_a_rollback_that_a_kept_state_fits_is_followed_exactly(name: str, training, tmp_path: Path) -> None:
    """Frames 9 and on come again, in another incarnation: the state after 8 steps is of frame 8."""
    frames = list(training.frames)
    (whole,) = run(attack(name).open(training.session, training.grants(**settings(name))), frames)[1:]
    inverter = attack(name).open(training.session, training.grants(tmp_path, **settings(name)))
    run(inverter, frames)
    inverter.rewind(1, 9)
    (made,) = run(inverter, again(frames[9:]))
    assert same(whole, made) and made.meta["restarts"] == 1
    # The same where the rollback happened while the listener was down, and nobody tells it.
    down = attack(name).open(training.session, training.grants(tmp_path, **settings(name)))
    (made,) = run(down, again(frames[9:], incarnation=2))
    assert same(whole, made)


@pytest.mark.parametrize("name", LEARNING)
def test_a_rollback_before_all_kept_states_begins_anew(name: str, training, tmp_path: Path) -> None:
    frames = list(training.frames)
    (_, whole) = run(attack(name).open(training.session, training.grants(**settings(name))), frames)
    inverter = attack(name).open(training.session, training.grants(tmp_path, **settings(name)))
    run(inverter, frames)
    inverter.rewind(1, 0)
    (_, made) = run(inverter, again(frames))
    assert same(whole, made) and made.meta["restarts"] == 1
    # Nothing is forgotten where the rollback is ahead of what was learnt.
    inverter.rewind(2, 14)
    assert inverter.observe(again(frames[13:], incarnation=2))[0].meta["restarts"] == 1


@pytest.mark.parametrize("name", ["surrogate", "surrogate-fit", "gradient-norms"])
def test_a_gap_is_counted_and_gone_on_from(name: str, training) -> None:
    frames = list(training.frames)
    inverter = attack(name).open(training.session, training.grants(**settings(name)))
    (first, second) = run(inverter, frames[:3] + frames[5:7] + frames[7:9] + frames[10:])
    assert (first.meta["missed"], second.meta["missed"]) == (2, 3)
    assert (first.meta["step"], second.meta["step"], second.meta["learnt"]) == (6, 12, 9)


def test_a_gap_ends_a_replay_with_the_step_named(training) -> None:
    frames = list(training.frames)
    inverter = attack("surrogate-replay").open(training.session, training.grants())
    run(inverter, frames[:3])
    for frame in frames[4:]:
        with pytest.raises(InputError, match=r"^attack surrogate-replay has ended: step 4: the replay stands before s"):
            inverter.observe([frame])
    # Back to where it can follow: with no state kept, to the beginning.
    inverter.rewind(1, 0)
    assert len(run(inverter, again(frames))) == 2
    inverter.rewind(2, 5)
    with pytest.raises(InputError, match=r"has ended: step 5: the replay stands before step 0;"):
        inverter.observe(again(frames[5:6], incarnation=2))


def test_a_replay_ends_at_a_picture_whose_step_it_did_not_hear(training) -> None:
    frames = list(training.frames)
    inverter = attack("surrogate-replay").open(training.session, training.grants())
    run(inverter, frames[:5])
    for frame in frames[6:8]:
        with pytest.raises(InputError, match="has ended: step 5 was not heard, and a picture after 6 steps is asked f"):
            inverter.observe([frame])
