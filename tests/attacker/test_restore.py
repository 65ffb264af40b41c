"""A listener that was killed: what it finds again, and what it must give up because it was not kept whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from attacker.attacks.base import CapturedFrame, Grants, Needs, Reconstruction, SessionInfo
from attacker.capture import Capture
from attacker.config import AttackerConfig
from attacker.frames import RawFrame
from attacker.knowledge import KnowledgeCard
from attacker.process import Attacker
from attacker.reconstructions import Reconstructions
from attacker.sessions import Ear, Sessions
from wire.record import read


class Learner:
    """Learns from every frame, and makes nothing."""

    name, modality = "toy", "toy"
    needs = Needs("wire", "none", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Learner:
        return self

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        return []

    def rewind(self, incarnation: int, step: int) -> None: ...

    def finish(self) -> Sequence[Reconstruction]:
        return []


def test_frames_whose_payloads_are_gone_are_lost_by_name(
    traffic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six frames were captured, two of them whole; one was learnt from before the kill."""
    capture, ear = Capture(tmp_path / "capture", "first", 1 << 30, first=2), Ear(Sessions())
    for record in traffic.session_records(traffic.opening() + traffic.inference(range(6), size=50)):
        for event in ear.feed(record):
            capture.write(event)
    capture.close()
    before = Reconstructions(tmp_path / "reconstructions", 1 << 30)
    before.learnt("toy", traffic.SESSION.hex(), 0, [0])
    before.close()
    monkeypatch.setattr("attacker.granting.registered", lambda name: Learner())
    config = AttackerConfig.model_validate(
        {"mirror": "127.0.0.1:0", "folder": tmp_path, "mode": "lossless", "attacks": ({"name": "toy"},)}
    )
    attacker = Attacker(config, KnowledgeCard("wire", "none"))
    attacker.start()
    attacker.restore()
    deadline = time.monotonic() + 30
    while attacker.state()["learnt"] < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert attacker.stop(20)
    noted = {"learnt": list[int](), "failure": list[int]()}
    for found in read(tmp_path / "reconstructions"):
        noted[found.topic] += found.json()["frames"]  # type: ignore[operator]
    assert noted == {"learnt": [0, 1], "failure": [2, 3, 4, 5]}
    assert attacker.state()["captured"] == 6
    # A third life finds everything settled.
    again = Attacker(config, KnowledgeCard("wire", "none"))
    again.restore()
    assert again.state()["attacks"]["toy"]["offered"] == 0
    again.start()
    assert again.stop(20)
    assert sum(1 for _ in read(tmp_path / "reconstructions")) == 3


def test_a_frame_whose_last_line_a_kill_has_cut_off_is_told_again(traffic, tmp_path: Path) -> None:
    """The lab counts these lines: what the listener restores as captured must stand in its record, once."""
    capture, ear = Capture(tmp_path / "capture", "full", 1 << 30), Ear(Sessions())
    for record in traffic.session_records(traffic.opening() + traffic.inference(range(3), size=50)):
        for event in ear.feed(record):
            if not (isinstance(event, RawFrame) and event.frame == 2):
                capture.write(event)
    capture.close()
    config = AttackerConfig.model_validate({"mirror": "127.0.0.1:0", "folder": tmp_path, "mode": "lossless"})
    for _ in range(2):  # and a second restart finds it there
        attacker = Attacker(config, KnowledgeCard("wire", "none"))
        attacker.start()
        attacker.restore()
        assert attacker.state()["restored"] == 3
        assert attacker.stop(20)
        assert [r.json()["frame"] for r in read(tmp_path / "capture") if r.topic == "frame"] == [0, 1, 2]
