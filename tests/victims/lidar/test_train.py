from __future__ import annotations

from pathlib import Path

import pytest
import torch

from victims.lidar import train
from victims.lidar.backbone import VoxelBackBone8x
from victims.lidar.train import Phase, VictimTraining, losses, train_victim
from victims.lidar.training_data import fill, street
from victims.lidar.weights import digest, load

SMALL = VictimTraining(
    seed=5,
    scans=3,
    backbone=Phase(steps=8, window=6.4, batch=2, peak=1e-3, on_object=1.0),
    head=Phase(steps=8, window=6.4, batch=1, peak=1e-3, on_object=1.0),
)


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans of SMALL, made once."""
    folder = tmp_path_factory.mktemp("scans")
    fill(folder, SMALL.first_scan_seed, SMALL.scans, street)
    return folder


def workplace(folder: Path, scans: Path) -> Path:
    folder.mkdir()
    (folder / "scans").symlink_to(scans)
    return folder


def test_an_interrupted_training_ends_with_the_same_bytes(
    tmp_path: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "_CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(train, "_REPORT_EVERY", 1)
    straight, broken = workplace(tmp_path / "straight", scans), workplace(tmp_path / "broken", scans)
    expected = train_victim(straight, SMALL)

    seen: list[str] = []

    def stop_at(done: float, total: float, note: str = "") -> None:
        seen.append(f"{note.split(':')[0]} {done:g}/{total:g}")
        if seen.count(seen[-1]) == 1 and seen[-1] in ("backbone 5/8", "head 7/8"):
            raise Interrupted

    for _ in range(2):
        with pytest.raises(Interrupted):
            train_victim(broken, SMALL, stop_at)
    actual = train_victim(broken, SMALL, stop_at)
    # Steps since the last checkpoint are repeated, none before it.
    expected_steps = [f"backbone {i}/8" for i in (1, 2, 3, 4, 5, 5, 6, 7, 8)]
    expected_steps += [f"head {i}/8" for i in (1, 2, 3, 4, 5, 6, 7, 7, 8)]
    assert seen == expected_steps
    assert digest(actual.state_dict()) == digest(expected.state_dict())
    for phase in ("backbone", "head"):
        curves = [
            [{k: v for k, v in row.items() if k != "seconds"} for row in losses(w, phase)] for w in (straight, broken)
        ]
        assert curves[0] == curves[1]
        assert [row["step"] for row in curves[0]] == list(range(1, len(curves[0]) + 1))

    finished: list[str] = []
    train_victim(broken, SMALL, lambda done, total, note="": finished.append(note))
    assert finished == []  # all there: nothing is trained again


def test_phase_two_leaves_the_backbone_alone(tmp_path: Path, scans: Path) -> None:
    handed: list[VoxelBackBone8x] = []
    work = workplace(tmp_path / "work", scans)
    detector = train_victim(work, SMALL, backbone_ready=handed.append)
    frozen = {k: v for k, v in handed[0].state_dict().items() if not k.endswith("num_batches_tracked")}
    after = {k: v for k, v in detector.backbone.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert digest(frozen) == digest(after) == digest(load(work / "backbone.safetensors"))
    assert not any(p.requires_grad for p in detector.parameters())
    assert not any(m.training for m in detector.modules())


def test_another_seed_gives_other_weights(tmp_path: Path, scans: Path) -> None:
    first = train_victim(workplace(tmp_path / "a", scans), SMALL)
    other = VictimTraining(seed=6, scans=3, backbone=SMALL.backbone, head=SMALL.head)
    second = train_victim(workplace(tmp_path / "b", scans), other)
    assert not torch.equal(first.dense_head.conv_cls.weight, second.dense_head.conv_cls.weight)
    assert not torch.equal(first.backbone.conv_out[0].weight, second.backbone.conv_out[0].weight)


def test_a_checkpoint_of_other_settings_is_refused(
    tmp_path: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "_CHECKPOINT_EVERY", 1)
    monkeypatch.setattr(train, "_REPORT_EVERY", 1)
    work = workplace(tmp_path / "work", scans)

    def stop(done: float, total: float, note: str = "") -> None:
        if done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_victim(work, SMALL, stop)
    other = VictimTraining(seed=6, scans=3, backbone=SMALL.backbone, head=SMALL.head)
    with pytest.raises(ValueError, match="other settings; choose another folder"):
        train_victim(work, other)
