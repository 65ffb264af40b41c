"""Names, whole files, resuming and pruning."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from lab.runfolder import NAME, RunFolder, prune, runs, write_whole
from wire import arrays
from wire.errors import InputError
from wire.record import RecordWriter

MakeRun = Callable[..., RunFolder]
MOMENT = datetime(2026, 11, 21, 10, 4, 11, tzinfo=UTC)


def test_the_name_is_the_time_in_utc_and_the_study(tmp_path: Path) -> None:
    paris = MOMENT.astimezone(timezone(timedelta(hours=1)))
    first = RunFolder.create(tmp_path, "lidar-demo", {}, paris)
    second = RunFolder.create(tmp_path, "lidar-demo", {}, MOMENT)
    assert first.name == "2026-11-21T10-04-11_lidar-demo"
    assert second.name == "2026-11-21T10-04-11_lidar-demo~2"
    assert NAME.fullmatch(first.name)
    assert NAME.fullmatch(second.name)


def test_what_was_asked_is_read_back(tmp_path: Path) -> None:
    resolved = {"seed": 3, "data": tmp_path, "nothing": None, "victim": {"range": (0.0, 1.0), "layouts": {"b", "a"}}}
    config = RunFolder.open(RunFolder.create(tmp_path, "x", resolved, MOMENT).path).config
    assert config["seed"] == 3
    assert config["data"] == str(tmp_path)
    assert "nothing" not in config
    assert config["victim"] == {"range": [0.0, 1.0], "layouts": ["a", "b"]}
    assert config["versions"]["numpy"] == np.__version__
    assert config["environment"]["cores"] >= 1
    assert config["created"] == "2026-11-21T10:04:11+00:00"


@pytest.mark.parametrize("study", ["", "Up", "a/b", "-x"])
def test_a_study_must_be_a_name(tmp_path: Path, study: str) -> None:
    with pytest.raises(InputError, match="accepted: lower-case"):
        RunFolder.create(tmp_path, study, {})


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.toml").write_text("= nonsense")
    with pytest.raises(InputError, match="no valid TOML"):
        RunFolder.open(tmp_path)
    with pytest.raises(InputError, match="has not finished"):
        RunFolder(tmp_path).read_summary()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_whole(tmp_path / "a.txt", "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_resumed_run_knows_the_answered_frames(make_run: MakeRun) -> None:
    run = make_run(frames=5, failed=2)
    assert run.frames_done() == {2, 3, 4}
    with RecordWriter(run.edge, max_bytes=1 << 20) as edge:  # after a restart: a new segment
        edge.write("outcome", arrays.pack({}, {"frame": 7}), log_ns=0)
    assert run.frames_done() == {2, 3, 4, 7}
    assert RunFolder(run.path / "cells" / "none").frames_done() == set()


def test_summaries_hold_no_nan(make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_run(frames=1).write_summary({"mean": float("nan")})


def test_cells_are_run_folders_of_their_own(make_run: MakeRun) -> None:
    run = make_run(frames=1)
    assert run.cells() == [run]
    cell = run.cell("depth-2", {"split": "conv3.0"})
    assert run.cells() == [cell]
    assert cell.config["split"] == "conv3.0"
    assert run.cell("depth-2", {"split": "other"}).config["split"] == "conv3.0"  # a resumed cell keeps its settings


def test_prune_keeps_the_newest_and_touches_nothing_else(tmp_path: Path) -> None:
    made = [RunFolder.create(tmp_path, "x", {}, MOMENT + timedelta(hours=h)) for h in range(4)]
    (tmp_path / "notes").mkdir()
    assert runs(tmp_path) == made
    made[0].write_summary({})
    assert prune(tmp_path, 1, only_unfinished=True) == [made[1].path, made[2].path]
    assert prune(tmp_path, 1) == [made[0].path]
    assert runs(tmp_path) == [made[3]]
    assert (tmp_path / "notes").is_dir()
    with pytest.raises(InputError, match="--keep -1"):
        prune(tmp_path, -1)


def test_a_guarded_listeners_records_are_found(make_run: MakeRun) -> None:
    run = make_run(frames=1)
    run.reconstructions.rename(run.path / "moved")
    (run.path / "listener").mkdir()
    (run.path / "moved").rename(run.path / "listener" / "reconstructions")
    assert run.reconstructions == run.path / "listener" / "reconstructions"
