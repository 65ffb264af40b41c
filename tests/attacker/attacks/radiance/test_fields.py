"""Where embeddings of a new pose come from: the cloud's snapshot, a replay, a fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from attacker.attacks.radiance.fitted_field import FittedField, Shape
from attacker.attacks.radiance.replayed_field import ReplayedField
from attacker.attacks.radiance.snapshot_field import SnapshotField
from victims.radiance.networks import parts
from wire.errors import InputError

POSITIONS = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_snapshot_is_the_cloud(training, tmp_path: Path) -> None:
    field = SnapshotField(training.snapshots / "12.safetensors", "mid", training.settings)
    wanted = training.tail.part(POSITIONS).detach()
    assert torch.equal(field.embed(POSITIONS), wanted) and not field.embed(POSITIONS).requires_grad
    other = tmp_path / "3.safetensors"
    save_file(parts("light", training.settings)[0].state_dict(), other)
    with pytest.raises(InputError, match=r"^snapshot 3\.safetensors: of another network than cut mid \(.*second"):
        SnapshotField(other, "mid", training.settings)
    other.write_bytes(b"short")
    with pytest.raises(InputError, match=r"^snapshot 3\.safetensors: not readable"):
        SnapshotField(other, "mid", training.settings)


@pytest.mark.parametrize("split", ["mid", "grid", "light"])
def test_a_replay_is_the_cloud_bit_for_bit(split: str, train) -> None:
    training = train(split)
    field = ReplayedField(split, training.settings)
    for step in training.steps:
        field.follow(step)
        assert field.drift == 0
    assert field.done == training.tail.done == 12
    for name, tensor in training.tail.state().tensors.items():
        assert torch.equal(tensor, field.state().tensors[name]), name
    assert torch.equal(field.embed(POSITIONS), training.tail.part(POSITIONS).detach())


def test_a_replay_follows_bfloat16(train, training) -> None:
    half = train(settings=replace(training.settings, precision="bfloat16"))
    field = ReplayedField("mid", half.settings)
    for step in half.steps:
        field.follow(step)
    assert torch.equal(field.embed(POSITIONS), half.tail.part(POSITIONS).detach())


def test_what_a_replay_cannot_follow_names_the_step(training) -> None:
    field = ReplayedField("mid", training.settings)
    for step in training.steps[:3]:
        field.follow(step)
    before = field.embed(POSITIONS)
    with pytest.raises(InputError, match=r"^step 4: the replay stands before step 3; a step that was not heard"):
        field.follow(training.steps[4])
    assert torch.equal(field.embed(POSITIONS), before)
    field.follow(training.steps[3])
    strange = ReplayedField("mid", replace(training.settings, seed=4))
    with pytest.raises(InputError, match=r"^step 0: the replayed embeddings are \d+% off the heard ones"):
        strange.follow(training.steps[0])
    shorter = ReplayedField("mid", replace(training.settings, samples=7))
    with pytest.raises(InputError, match=r"^step 0: the replayed embeddings have another shape than the heard ones"):
        shorter.follow(training.steps[0])


@pytest.mark.parametrize("split", ["mid", "light"])
def test_a_fit_comes_nearer_than_no_fit(split: str, train) -> None:
    training = train(split)
    shape = Shape(levels=4, rows_log2=10, base=4, finest=32)
    width = training.steps[0].points().embeddings.shape[-1]
    fitted, unfitted = (FittedField(shape, width, 1e-2, 2) for _ in range(2))
    for _ in range(20):
        for step in training.steps[8:11]:
            fitted.fit([step.points()])
    last = training.steps[11].points()  # which is not learnt from, one update of the cloud later
    wanted = last.embeddings.view(-1, width)

    def error(field: FittedField) -> float:
        return float((field.embed(last.positions) - wanted).square().mean() / wanted.square().mean())

    assert error(unfitted) == pytest.approx(1) and error(fitted) < 0.5
    assert (float(fitted.embed(POSITIONS).min()) >= 0) == (split == "mid")  # after a ReLU, nothing is negative
    again = FittedField(shape, width, 1e-2, 9)
    again.load(fitted.state())
    fitted.fit([last])
    again.fit([last])
    assert torch.equal(fitted.embed(POSITIONS), again.embed(POSITIONS))
