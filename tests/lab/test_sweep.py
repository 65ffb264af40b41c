"""Sweeps: what ``--over`` may say, trials as run folders, failures that cost nothing else, and a kill in the middle."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from lab.axes import Axis, parse_axis, trials
from lab.runfolder import RunFolder
from lab.studies.base import Settings
from lab.sweep import sheet, sweep
from victims.base import silent
from wire.errors import InputError

SCRIPT = Path(__file__).with_name("swept.py")
PATIENCE_S = 200.0


def settings(log: Path) -> Settings:
    return Settings(options={"log": str(log)})


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def noted(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("strength=0,0.5,1", [0, 0.5, 1]),
        ("split=conv2.0,conv3.0", ["conv2.0", "conv3.0"]),
        ("tls=true,false", [True, False]),
        ("link=lan, 5g", ["lan", "5g"]),
        ("view=camera", ["camera"]),
        ("seed=1,1,2", [1, 2]),
    ],
)
def test_values_are_numbers_booleans_or_words_each_once(text: str, values: list[object]) -> None:
    assert parse_axis(text) == Axis(text.partition("=")[0], values)


def test_the_product_is_in_order_with_the_last_axis_fastest(swept: ModuleType) -> None:
    made = trials(swept.STUDY, Settings(), ["strength=0,2", "link.delay_ms=5,7", "split=conv2.0,conv4.0"])
    assert [list(trial.values.values()) for trial in made] == [
        [a, b, c] for a in (0, 2) for b in (5, 7) for c in ("conv2.0", "conv4.0")
    ]
    last = made[-1].cells[0].stream
    assert (last.defense_settings, last.link, last.split) == ({"strength": 2.0}, {"delay_ms": 7}, "conv4.0")
    assert len({trial.id for trial in made}) == 8


def test_a_trial_is_named_by_what_it_resolves_to(swept: ModuleType) -> None:
    made = trials(swept.STUDY, Settings(), ["defense=none,feature_centric", "strength=0,1"])
    ids = [trial.id for trial in made]
    assert ids[0] == ids[1]  # without a defense its strength changes nothing
    assert len(set(ids)) == 3
    assert [t.id for t in trials(swept.STUDY, Settings(), ["strength=1.0"])] == [ids[3]]  # 1 and 1.0 come to the same


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (["power=1"], r"--over power: no such path; .*split, link, seed.*link\.delay_ms.*options of swept .*strength"),
        (["options.power=1"], "options.power: no such path"),
        (["link.speed=1"], r"link\.speed: no such path.*link\.rate_mbps"),
        (["link=dsl"], "--over link=dsl; accepted: lan, wifi, 5g, lte, satellite"),
        (["link.delay_ms=-1"], "link.delay_ms=-1.*greater than or equal to 0"),
        (["split=conv9"], "--over split=conv9; accepted: .*conv2.0"),
        (["seed=-1"], "--over seed=-1; accepted: a whole number from 0"),
        (["tls=1"], "--over tls=1; accepted: true, false"),
        (["profile=fast"], "accepted: quick, cpu, paper"),
        (["defense=fog"], "--over defense=fog: defense 'fog' does not exist; accepted: none"),
        (["strength=-1"], "--over strength=-1: .*accepted: a number from 0"),
        (["strength=much"], "--over strength=much: swept cannot take it"),
        (["strength="], "accepted: path=a,b,c"),
        (["strength"], "accepted: path=a,b,c"),
        (["strength=1", "options.strength=2"], "given twice"),
        (["link=lan", "link.delay_ms=2"], "given twice; accepted: each path once, either link or its figures"),
        ([f"strength={','.join(map(str, range(101)))}", f"seed={','.join(map(str, range(100)))}"], "10100 trials"),
        ([], "--over is missing; accepted: path=a,b,c with settings split"),
    ],
)
def test_bad_axes_are_refused_before_anything_starts(
    over: list[str], said: str, swept: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as error:
        sweep("swept", settings(tmp_path / "log"), over, tmp_path / "runs", None, silent)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()
    assert noted(tmp_path / "log") == []


def test_a_failing_trial_is_recorded_with_its_reason_and_tried_again_on_resume(
    swept: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, told = tmp_path / "log", []

    def progress(done: float, total: float, text: str = "") -> None:
        told.append((done, total, text))

    # 13 is no strength that a defense accepts, so the study's own limit is what fails here.
    monkeypatch.setattr("lab.axes.build", lambda *_: None)
    done = sweep("swept", settings(log), ["strength=13,0.5"], tmp_path, None, progress)
    assert [(o.status, o.reason) for o in done.outcomes] == [("failed", "unlucky strength"), ("finished", "")]
    assert done.lines[0] == "failed: strength=13: unlucky strength"
    failed = json.loads((done.outcomes[0].folder.path / "failed.json").read_text())
    assert failed == {"trial": {"strength": 13}, "reason": "unlucky strength"}
    rows = list(csv.DictReader((done.folder.path / "sweep.csv").read_text().splitlines()))
    assert [(r["strength"], r["status"], r["reason"]) for r in rows] == [
        ("13", "failed", "unlucky strength"),
        ("0.5", "finished", ""),
    ]
    trial = done.outcomes[1].folder
    assert float(rows[1]["coordinates.f1_15.mean"]) == trial.read_summary()["scores"]["coordinates"]["f1_15"]["mean"]
    assert trial.report.exists()
    assert RunFolder.open(trial.path).config["study"] == "swept"
    assert "strength=0.5" in done.made.read_text(encoding="utf-8")
    assert any("trial 2 of 2 (strength=0.5)" in text for _, _, text in told)
    again = sweep("swept", Settings(), [], tmp_path, done.folder.path, silent)
    assert [outcome.status for outcome in again.outcomes] == ["failed", "finished"]
    assert noted(log).count("started 0 13.0") == 2
    assert noted(log).count("started 0 0.5") == 1


def test_values_that_are_wrong_only_together_fail_alone(swept: ModuleType) -> None:
    made = trials(swept.STUDY, Settings(), ["seed=0,1", "strength=0,1"])
    assert [trial.reason for trial in made] == ["", "", "", "seed 1 with strength 1; accepted: any other pair"]


def test_a_sweep_survives_a_kill_and_repeats_no_finished_trial(swept: ModuleType, tmp_path: Path) -> None:
    log, root = tmp_path / "log", tmp_path / "runs"
    over = ["strength=0,0.5,1", "link=lan"]
    environment = {**os.environ, "SWEPT_HANG": "1.0", "PYTHONPATH": str(SCRIPT.parents[2])}
    command = [sys.executable, str(SCRIPT), str(root), str(log), *over]
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + PATIENCE_S
        while "started 0 1.0" not in noted(log):
            assert process.poll() is None, "the sweep ended by itself"
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    (folder,) = root.iterdir()
    finished = [path.parent for path in folder.glob("cells/*/report.html")]
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for f in finished for path in files(f)}
    assert len(finished) == 2
    assert not (folder / "sweep.csv").exists()

    resumed = sweep("swept", Settings(), [], root, folder, silent)

    assert [outcome.status for outcome in resumed.outcomes] == ["finished"] * 3
    started = [line for line in noted(log) if line.startswith("started")]
    assert started == ["started 0 0.0", "started 0 0.5", "started 0 1.0", "started 0 1.0"]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for f in finished for path in files(f)} == before
    other = sweep("swept", settings(log), over, tmp_path / "uninterrupted", None, silent)
    assert (folder / "sweep.csv").read_text() == (other.folder.path / "sweep.csv").read_text()


def test_a_resumed_sweep_keeps_its_study_and_its_axes(swept: ModuleType, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "sweep-swept", {"settings": {}, "over": ["strength=0"]})
    with pytest.raises(InputError, match="a run of sweep-swept, not of sweep-demo-lidar"):
        sweep("demo-lidar", Settings(), [], tmp_path, folder.path, silent)
    with pytest.raises(InputError, match=r"goes over strength=0"):
        sweep("swept", Settings(), ["strength=1"], tmp_path, folder.path, silent)


def test_the_table_for_people_shows_axes_and_headline_figures_and_leaves_the_rest_to_the_csv() -> None:
    rows = [
        {
            "trial": "ab", "strength": 1, "link.delay_ms": 7, "status": "finished", "reason": "", "cell": "a cell",
            "frames.sent": 4, "link.within_band": True, "latency_ms.head.p50": 1.0, "latency_ms.total.p50": 90.25,
            "concretizer.f1_15.mean": 0.98765, "concretizer.f1_15.low": 0.9, "concretizer.chamfer.mean": 0.1,
            "utility.agreement.mean": None,
        },
        {"trial": "cd", "strength": 13, "link.delay_ms": 7, "status": "failed", "reason": "unlucky"},
    ]  # fmt: skip
    made = sheet(rows, "f1_15")
    assert list(made.columns) == [
        "strength", "link.delay_ms", "status", "cell", "link.within_band", "latency_ms.total.p50",
        "concretizer.f1_15.mean", "utility.agreement.mean",
    ]  # fmt: skip
    assert [entry.text for entry in made.rows[0]] == ["1", "7", "finished", "a cell", "True", "90.25", "0.9877", "–"]
    assert [entry.why for entry in made.rows[1][3:]] == ["unlucky"] * 5
