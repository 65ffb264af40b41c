"""A sweep through the command line and real processes, killed again and again: finished trials are never touched."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

TRIALS, KILLS = 24, 5
PATIENCE_S = 3600.0
LEFT_S = 90.0
"""A listener that works off its queue may take half a minute to end."""


def start(tmp_path: Path, *words: str) -> subprocess.Popen[bytes]:
    with (tmp_path / "log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "lab.cli", *words], cwd=tmp_path, stdout=log, stderr=log)


def finished(folder: Path) -> list[Path]:
    """Trials that have all their files: the report is the last."""
    return [path.parent for path in sorted(folder.glob("cells/*/report.html"))]


def digests(trials: list[Path]) -> dict[str, tuple[int, str]]:
    """Every file's time of change and content."""
    files = [path for trial in trials for path in sorted(trial.rglob("*")) if path.is_file()]
    return {str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files}


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all have ended; an orphan that nobody reaps has ended too."""
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def kill(running: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """SIGKILL for the command line alone; returns the processes it had started."""
    started = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.wait()
    return started


def wait_for_folder(tmp_path: Path, running: subprocess.Popen[bytes]) -> Path:
    deadline = time.monotonic() + 120
    while not (found := list((tmp_path / "runs").glob("*_sweep-tiny/cells"))):
        assert running.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found[0].parent


@pytest.mark.soak
@pytest.mark.usefixtures("plugin")
def test_twenty_four_runs_survive_kills_and_none_is_repeated(tmp_path: Path) -> None:
    chance = random.Random(9)
    strengths = ",".join(str(n / 4) for n in range(1, TRIALS // 2 + 1))
    running = start(tmp_path, "sweep", "tiny", "--over", f"strength={strengths}", "--over", "seed=1,2")
    folder = wait_for_folder(tmp_path, running)
    deadline = time.monotonic() + PATIENCE_S
    kills = 0
    while running.poll() is None:
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
        time.sleep(0.1)
        if kills == KILLS or len(finished(folder)) < (kills + 1) * TRIALS // (KILLS + 2):
            continue
        time.sleep(chance.uniform(0.0, 8.0))  # anywhere in the next trial
        orphans = kill(running)
        kills += 1
        until = time.monotonic() + LEFT_S
        while not gone(orphans):
            assert time.monotonic() < until, f"left behind: {[p.cmdline() for p in orphans if p.is_running()]}"
            time.sleep(0.2)
        done = finished(folder)
        before = digests(done)
        running = start(tmp_path, "sweep", "tiny", "--resume", str(folder.relative_to(tmp_path)))
        while running.poll() is None and len(finished(folder)) == len(done):
            time.sleep(0.2)
        assert digests(done) == before
    assert running.returncode == 0, (tmp_path / "log").read_text()[-2000:]
    assert kills == KILLS
    assert digests(done) == before
    told = json.loads((folder / "sweep.json").read_text())["trials"]
    assert [trial["status"] for trial in told] == ["finished"] * TRIALS
    assert len({trial["id"] for trial in told}) == TRIALS
    for trial in told:
        (summary,) = trial["cells"].values()
        assert summary["frames"]["answered"] == summary["frames"]["inverted"] == 6
    print(f"{TRIALS} runs, killed {kills} times, no finished one touched, no process left behind")


@pytest.mark.soak
@pytest.mark.usefixtures("plugin")
def test_a_killed_sweep_leaves_no_process_and_goes_on(tmp_path: Path) -> None:
    running = start(tmp_path, "sweep", "tiny", "--over", "strength=1,10", "--frames", "3")
    folder = wait_for_folder(tmp_path, running)
    deadline = time.monotonic() + 200
    while len(finished(folder)) < 1:
        assert running.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    orphans = kill(running)
    while not gone(orphans):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.1)
    before = digests(finished(folder))
    again = start(tmp_path, "sweep", "tiny", "--resume", str(folder.relative_to(tmp_path)))
    assert again.wait(250) == 1  # one trial fails: its source does not exist
    assert digests(finished(folder)) == before
    told = {t["values"]["strength"]: t for t in json.loads((folder / "sweep.json").read_text())["trials"]}
    assert (told[1]["status"], told[10]["status"]) == ("finished", "failed")
    assert "source 'nowhere'; accepted: procedural" in told[10]["reason"]
