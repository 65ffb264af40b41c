"""A run folder as edge and listener leave it, written with their own record writers; the command line; a prior."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lab import cli
from lab.runfolder import RunFolder, write_whole
from lab.studies.registry import STUDIES
from tests.contract.tiny_prior import write_tiny_prior
from tests.lab.small_cifar import write_small_cifar
from wire import arrays
from wire.record import RecordWriter

MakeRun = Callable[..., RunFolder]

FRAMES = 10
SCRIPT = Path(__file__).with_name("swept.py")


def street_like(seed: int, points: int = 3000) -> np.ndarray:
    """Ground, two walls and a box in the `street` preset's range (float32 (N, 4)); plus a few points out of range."""
    rng = np.random.default_rng(seed)
    n = points // 4
    ground = np.stack([rng.uniform(0, 25, n), rng.uniform(-12, 12, n), rng.normal(-1.7, 0.02, n)], 1)
    wall = np.stack([rng.uniform(0, 25, n), np.where(rng.random(n) < 0.5, 9.0, -8.0), rng.uniform(-1.7, 0.9, n)], 1)
    box = np.stack([rng.uniform(9, 13, n), rng.uniform(1, 3, n), rng.uniform(-1.7, -0.2, n)], 1)
    far = np.stack([rng.uniform(26, 60, n), rng.uniform(-30, 30, n), rng.uniform(-1.7, 3, n)], 1)
    xyz = np.concatenate([ground, wall, box, far])
    return np.hstack([xyz, rng.random((len(xyz), 1))]).astype(np.float32)


@dataclass
class Ended:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def eavesplit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs a command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["eavesplit", *words])
        try:
            cli.main()
            code = 0
        except SystemExit as leave:
            code = int(leave.code or 0)
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def tiny_prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole prior's folder with random weights. Read only: copy it before you break it."""
    return write_tiny_prior(tmp_path_factory.mktemp("prior") / "tiny")


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The study of ``swept.py``, in the registry."""
    spec = importlib.util.spec_from_file_location("swept", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "swept", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(STUDIES, "swept", "swept:STUDY")
    return module


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Builds runs of ten frames on ten streets with two attacks: `coordinates` (coarse) and `concretizer` (good).

    swaps: first frame of a segment -> its defense, in order.
    """

    def build(
        *,
        frames: int = FRAMES,
        failed: int = 0,
        attacks: tuple[str, ...] = ("coordinates", "concretizer"),
        skip: tuple[tuple[str, int], ...] = (),
        empty: tuple[tuple[str, int], ...] = (),
        points: int = 3000,
        scans: list[np.ndarray] | None = None,
        swaps: dict[int, dict[str, object]] | None = None,
    ) -> RunFolder:
        resolved = {
            "seed": 7,
            "profile": "quick",
            "victim": {"name": "second", "split": "conv3.0", "preset": "street", "weights_sha256": "ab" * 32},
            "knowledge": {"vantage": "wire", "victim": "white"},
        }
        run = RunFolder.create(
            tmp_path / "runs", "concretizer-depths", resolved, datetime(2026, 11, 21, 10, 4, 11, tzinfo=UTC)
        )
        defenses = [{"name": "none", "settings": {}}, *(swaps or {}).values()]
        write_whole(run.edge / "segments.json", json.dumps(dict(enumerate(defenses))))
        with (
            RecordWriter(run.edge, max_bytes=1 << 30) as edge,
            RecordWriter(run.reconstructions, max_bytes=1 << 30) as heard,
        ):
            for frame in range(frames):
                scan = scans[frame] if scans else street_like(frame, points)
                boxes = {"boxes": np.array([[11, 2, -1, 4, 2, 1.5, 0]], np.float32), "labels": np.array([0])}
                truth = {"points": scan} | {f"truth.{k}": v for k, v in boxes.items()}
                name = f"street-{1_000_000 + frame}-0"
                edge.write("sample", arrays.pack(truth, {"frame": frame, "name": name, "digest": "00"}), log_ns=frame)
                bad = frame < failed
                if not bad:
                    found = boxes | {"scores": np.array([0.9], np.float32)}
                    edge.write("outcome", arrays.pack(found, {"frame": frame}), log_ns=frame)
                segment = sum(frame >= first for first in swaps or {})
                row = {
                    "frame": frame, "segment": segment, "capture": 0.1, "head": 200.0 + frame, "defend": 1.0,
                    "encode": 2.0, "queue": 3.0, "wire": 40.0, "decode": 2.0, "tail": 150.0, "reply": 5.0,
                    "total": 410.0 + frame, "payload_bytes": 1000, "wire_up": 1100, "wire_down": 90,
                    "error": "broken" if bad else None,
                }  # fmt: skip
                edge.write("stages", json.dumps(row).encode(), log_ns=frame)
                for attack in attacks:
                    if (attack, frame) in skip:
                        continue
                    coarse = 0.8 if attack == "coordinates" else 0.1
                    inside = scan[(scan[:, 0] < 25.6) & (np.abs(scan[:, 1]) < 12.8) & (scan[:, 2] < 1), :3]
                    rebuilt = np.unique(np.round(inside / coarse), axis=0).astype(np.float32) * np.float32(coarse)
                    if (attack, frame) in empty:
                        rebuilt = rebuilt[:0]
                    meta = {
                        "session": "5e", "frames": (frame,), "attack": attack,
                        "decode_ms": 1.0, "wait_ms": 3.0, "invert_ms": 20.0 if attack == "coordinates" else 900.0,
                    }  # fmt: skip
                    heard.write("reconstruction", arrays.pack({"points": rebuilt}, meta), log_ns=frame)
        return run

    return build


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's files, small, of noise; no other data on this machine, and no shipped prior."""
    monkeypatch.setenv("EAVESPLIT_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("lab.studies.image_files.PRIOR", "nowhere")
    return write_small_cifar(tmp_path / "pictures")
