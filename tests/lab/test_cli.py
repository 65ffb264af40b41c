"""The command line as a new user meets it: help that teaches, and one clear line for everything that is off."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.lab.conftest import Ended


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "nonsense"], "there are: demo-lidar"),
        (["run", "concretizer", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["run", "concretizer", "--split", "conv9"], "there are: conv2.0"),
        (["run", "concretizer", "--profile", "huge"], "accepted: quick, cpu, paper"),
        (["run", "concretizer", "--record", "some"], "accepted: auto, full, first, features, heads, none"),
        (["run", "concretizer", "--set", "novalue"], "accepted: KEY=VALUE"),
        (["run", "concretizer", "--resume", "nowhere"], "nowhere"),
        (["demo", "banana"], "there are: lidar, image"),
        (["demo", "lidar", "--strength", "-3"], "-3"),
        (["demo", "lidar", "--defense", "magic"], "feature_centric"),
        (["demo", "lidar", "--device", "abacus"], "accepted: auto, cpu, cuda"),
        (["train", "dragon"], "accepted: victim, image-victim, "),
        (["attack", "nowhere"], "no capture in it"),
        (["report", "nowhere"], "no run folder"),
        (["serve", "dragon", "--config", "x.toml"], "there are: edge, link, cloud, attacker, console"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(
    words: list[str], expected: str, tmp_path: Path, eavesplit: Callable[..., Ended]
) -> None:
    done = eavesplit(*words)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()  # nothing was started


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fl_x": 10**400}, "a.png: fl_x is 1000"),
        ({"w": 10**400}, "a.png: w is 1000"),
        ({"frames": [{"file_path": "a\0.png"}]}, "file_path 'a\\x00.png'; accepted"),
        ({"scene_hint": {"near": 1e9}}, "near is 1e+09; accepted: 0 to "),
    ],
)
def test_a_scene_that_cannot_be_trained_on_is_one_line(
    change: dict[str, object], expected: str, tmp_path: Path, eavesplit: Callable[..., Ended]
) -> None:
    pose = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    frames = [{"file_path": name, "transform_matrix": pose} for name in ("a.png", "b.png")]
    (tmp_path / "transforms.json").write_text(json.dumps({"fl_x": 9.0, "frames": frames, **change}))
    for study in ("s2nerf-surrogate", "demo-radiance"):
        done = eavesplit("run", study, "--data", str(tmp_path))
        assert done.returncode == 2
        assert expected in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_gpu_is_refused_for_radiance_only_where_it_is_named(
    eavesplit: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for command in (("run", "s2nerf-utility"), ("demo", "radiance"), ("demo", "radiance", "--live")):
        done = eavesplit(*command, "--device", "cuda")
        assert done.returncode == 2
        assert "--device cuda: radiance runs on the CPU" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert "--set stepz: no option of this study" in eavesplit("run", "s2nerf-utility", "--set", "stepz=4").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "demo-lidar", "--nosuch"), "No such option: --nosuch"),
        (("run", "demo-lidar", "--frames", "some"), "unable to parse string as an integer"),
        (("bench", "wire", "--rounds", "2"), "greater than or equal to 3"),
        (("nosuch",), "No such command 'nosuch'"),
        (("run",), "Missing argument"),
    ],
)
def test_a_mistake_in_the_words_is_told_and_no_traceback(
    words: tuple[str, ...], said: str, eavesplit: Callable[..., Ended]
) -> None:
    done = eavesplit(*words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", "").split())
    assert "Traceback" not in done.stderr


def test_help_teaches_with_an_example(eavesplit: Callable[..., Ended]) -> None:
    for command in ("demo", "run", "train", "attack", "report", "serve"):
        assert "Example: eavesplit" in " ".join(eavesplit(command, "--help").stdout.split())


def test_help_is_quick_because_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = "import sys, lab.cli; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'grpc', 'plotly')))"
    environment = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False, timeout=60).returncode == 0


def test_list_shows_what_there_is(eavesplit: Callable[..., Ended]) -> None:
    shown = eavesplit("list").stdout
    for name in ("second", "conv3.0", "feature_centric", "distributed", "concretizer-aware", "preimage", "demo-lidar"):
        assert name in shown


def test_runs_are_listed_and_pruned(tmp_path: Path, eavesplit: Callable[..., Ended]) -> None:
    for second in range(3):
        folder = tmp_path / "runs" / f"2026-01-01T00-00-0{second}_trial"
        folder.mkdir(parents=True)
        (folder / "run.toml").write_text('study = "trial"\n')
    shown = eavesplit("runs", "list").stdout
    assert shown.count("unfinished") == 3
    eavesplit("runs", "prune", "--keep", "1")
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["2026-01-01T00-00-02_trial"]


def test_doctor_says_what_is_there_and_how_to_mend_the_rest(eavesplit: Callable[..., Ended]) -> None:
    done = eavesplit("doctor")
    assert "torch: installed" in done.stdout
    assert "landlock" in done.stdout
    for line in done.stdout.splitlines():
        if line.startswith("bad"):
            assert "->" in line


def test_ctrl_c_leaves_a_run_that_can_go_on_and_says_how(
    eavesplit: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.studies.demo_lidar.run_cell", interrupted)
    done = eavesplit("demo", "lidar")
    (folder,) = Path("runs").iterdir()
    assert done.returncode == 130
    assert f"go on with: eavesplit run demo-lidar --resume runs/{folder.name}" in done.stderr


def test_doctor_fails_when_the_main_job_cannot_run(
    eavesplit: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab.doctor import Check

    monkeypatch.setattr("lab.doctor.checks", lambda: iter([Check("torch", "bad", "absent", "pip install -e .")]))
    done = eavesplit("doctor")
    assert done.returncode == 1
    assert "torch: absent  ->  pip install -e ." in done.stdout
