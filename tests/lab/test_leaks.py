"""Leaked pictures: they are training views with the poses that were sent, and never views that are scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from attacker.knowledge import KnowledgeCard
from lab.leaks import Off, disturbed, with_the_edges_weights, write_leak
from lab.stream import AttackChoice, StreamSettings
from victims.radiance.camera import fault
from victims.radiance.victim import SPLITNERF, scene
from wire.errors import InputError
from wire.payload import Meta

SETTINGS: dict[str, Meta] = {"seed": 3, "side": 12, "views": 10, "steps": 8, "rays": 4, "samples": 4, "pictures": -1}


def test_a_leaked_view_was_sent_as_a_training_pose_and_is_never_scored(tmp_path: Path) -> None:
    names = write_leak(tmp_path / "leak.npz", "procedural", SETTINGS, 3)
    with np.load(tmp_path / "leak.npz") as held:
        leak = {key: held[key] for key in held.files}
    assert {key: value.shape for key, value in leak.items()} == {
        "images": (3, 12, 12, 3), "poses": (3, 3, 4), "focal": (2,), "centre": (2,),
    }  # fmt: skip
    there = {picture.name: picture for picture in scene("procedural", SETTINGS).training}
    assert len(set(names)) == 3
    samples = list(SPLITNERF.samples("procedural", SETTINGS))
    sent = [sample.arrays["pose"] for sample in samples if "colours" in sample.arrays]
    scored = {sample.name for sample in samples if "colours" not in sample.arrays}
    assert not scored & set(names)
    for name, image, pose in zip(names, leak["images"], leak["poses"], strict=True):
        assert np.array_equal(image, there[name].image)
        assert any(np.array_equal(pose, other) for other in sent)
    assert tuple(leak["focal"]) == samples[0].meta["focal"]
    assert tuple(leak["centre"]) == samples[0].meta["centre"]


def test_a_rough_pose_is_off_by_what_was_asked_for(tmp_path: Path) -> None:
    write_leak(tmp_path / "exact.npz", "procedural", SETTINGS, 2)
    write_leak(tmp_path / "rough.npz", "procedural", SETTINGS, 2, Off(5.0, 0.1))
    exact, rough = (np.load(tmp_path / f"{name}.npz")["poses"].astype(float) for name in ("exact", "rough"))
    for true, off in zip(exact, rough, strict=True):
        turned = off[:, :3] @ true[:, :3].T
        assert np.rad2deg(np.arccos((np.trace(turned) - 1) / 2)) == pytest.approx(5, abs=1e-3)
        assert np.linalg.norm(off[:, 3] - true[:, 3]) == pytest.approx(0.1, abs=1e-6)
        assert fault(off) is None


def test_no_disturbance_is_none() -> None:
    pose = np.column_stack([np.eye(3), [1.0, 2.0, 3.0]])
    assert np.array_equal(disturbed(pose, Off(), np.random.default_rng(0)), pose)


@pytest.mark.parametrize("count", [0, 9])
def test_more_pictures_than_there_are_is_answered(tmp_path: Path, count: int) -> None:
    with pytest.raises(InputError, match=f"{count} leaked pictures of room-3; accepted: 1 to 8"):
        write_leak(tmp_path / "leak.npz", "procedural", SETTINGS, count)


def test_the_edges_checkpoints_are_granted_where_the_published_mask_is_asked_for(tmp_path: Path) -> None:
    rows = [
        AttackChoice("surrogate"),
        AttackChoice("surrogate", "masked", {"published_mask": True}, {"leak": Path("a")}),
        AttackChoice("surrogate", "own", {"published_mask": True}, {"edge": Path("mine")}),
    ]
    settings = StreamSettings("splitnerf", "mid", {}, rows[:1], KnowledgeCard(leaks=("a view",)))
    assert with_the_edges_weights(settings, tmp_path) is settings and not list(tmp_path.iterdir())
    made = with_the_edges_weights(replace(settings, attacks=rows), tmp_path)
    checkpoints = tmp_path / "edge" / "checkpoints"
    assert [dict(attack.files) for attack in made.attacks] == [
        {}, {"leak": Path("a"), "edge": checkpoints}, {"edge": Path("mine")},
    ]  # fmt: skip
    assert checkpoints.is_dir()
    assert made.knowledge.leaks == ("a view", "the edge's own weights, by its newest checkpoint (masked, own)")
