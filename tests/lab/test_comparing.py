"""Reports told again: a run, a sweep, several runs on one page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.comparing import report
from lab.execute import execute
from lab.figures import write_figures
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.studies.base import Settings
from lab.sweep import sweep
from victims.base import silent
from wire.errors import InputError

pytestmark = pytest.mark.usefixtures("swept")


def run(root: Path, strength: float, seed: int = 0) -> Path:
    options = {"log": str(root / "log"), "strength": strength}
    return execute("swept", Settings(seed=seed, options=options), root, None, silent).folder.path


def body(path: Path) -> str:
    html = path.read_text(encoding="utf-8")
    return html[: html.index('<script type="application/json"')]


def mean_difference(a: Path, b: Path) -> float:
    """Of F1 at 15 cm, frame by frame, from the two runs' own scores."""
    ours, theirs = (read_scores(RunFolder(next(path.glob("cells/*")))).of("coordinates", "f1_15") for path in (a, b))
    values = [float(theirs[frame] or 0) - float(ours[frame] or 0) for frame in ours]
    return sum(values) / len(values)


def test_two_runs_stand_side_by_side_with_what_differs_and_by_how_much(tmp_path: Path) -> None:
    weak, strong = run(tmp_path, 0.2), run(tmp_path, 2.0)
    made = report([weak, strong])
    assert made.parent.parent == tmp_path
    assert made.parent.name.endswith("_comparison")
    text = body(made)
    assert "2 runs side by side" in text
    for title in (
        "conv3.0, feature_centric (defense feature_centric strength=0.2)",
        "conv3.0, feature_centric (defense feature_centric strength=2.0)",
    ):
        assert title in text
    assert f"eavesplit report {weak} {strong}" in text
    assert weak.name in text
    difference = mean_difference(weak, strong)
    assert difference < -0.05  # the stronger, the coarser
    assert f"<td>{difference:.3f}" in text
    summary = RunFolder(made.parent).read_summary()
    assert summary["study"] == "comparison"
    assert len(summary["cells"]) == 2


def test_a_comparison_is_told_again_in_its_own_folder(tmp_path: Path) -> None:
    made = report([run(tmp_path, 0.2), run(tmp_path, 2.0)])
    first = made.read_bytes()
    made.unlink()
    assert report([made.parent]) == made
    assert made.read_bytes() == first


def test_runs_of_other_samples_are_not_paired_and_say_so(tmp_path: Path) -> None:
    made = report([run(tmp_path, 0.5, seed=0), run(tmp_path, 0.5, seed=2)])
    text = body(made)
    assert "(seed 0)" in text  # the scans are called the same, but they are others
    assert "there is nothing to pair" in text
    assert "there is nothing to pair" not in body(report([run(tmp_path, 0.5), run(tmp_path, 1.0)]))


def test_the_same_run_twice_and_a_comparison_among_runs_are_refused(tmp_path: Path) -> None:
    one = run(tmp_path, 0.5)
    with pytest.raises(InputError, match="given twice"):
        report([one, one])
    made = report([one, run(tmp_path, 1.0)])
    with pytest.raises(InputError, match="a comparison cannot be compared; give the runs: "):
        report([made.parent, one])


def test_one_run_is_told_in_place_and_an_unfinished_one_says_how_to_go_on(tmp_path: Path) -> None:
    one = run(tmp_path, 0.5)
    before = (one / "report.html").read_bytes()
    (one / "report.html").unlink()
    assert report([one]) == one / "report.html"
    assert (one / "report.html").read_bytes() == before
    (next(one.glob("cells/*")) / "summary.json").unlink()
    with pytest.raises(InputError, match=f"no cell has finished; go on with `eavesplit run swept --resume {one}`"):
        report([one])


def test_a_sweep_is_told_again_and_its_trials_stand_beside_other_runs(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    done = sweep("swept", Settings(options={"log": log}), ["strength=0,1"], tmp_path, None, silent)
    folder = done.folder.path
    before = {name: (folder / name).read_bytes() for name in ("report.html", "sweep.csv", "sweep.json")}
    for name in before:
        (folder / name).unlink()
    started = Path(log).read_text()
    assert report([folder]) == folder / "report.html"
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert Path(log).read_text() == started  # nothing was run
    text = body(report([folder, run(tmp_path, 2.0)]))
    for strength in ("0.0", "1.0", "2.0"):
        assert f"feature_centric strength={strength}" in text


def test_a_sweep_in_the_making_lists_what_has_not_run(tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    done = sweep("swept", Settings(options={"log": log}), ["strength=0,1"], tmp_path, None, silent)
    (done.outcomes[1].folder.path / "report.html").unlink()  # as a kill leaves it
    text = body(report([done.folder.path]))
    assert "unfinished" in text
    assert "it has not run to its end yet" in text
    (done.outcomes[0].folder.path / "report.html").unlink()
    with pytest.raises(InputError, match="no trial has finished; go on with `eavesplit sweep swept --resume"):
        report([done.folder.path])


def test_figures_of_a_run_are_kept_small_and_say_nothing_of_the_machines_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = run(tmp_path, 0.5)
    for name, seconds in (("a", 36.0), ("b", 72.0)):  # networks that were trained for its cells
        (one / "cells" / "fits" / name).mkdir(parents=True)
        (one / "cells" / "fits" / name / "fit.json").write_text(json.dumps({"cpu_s": seconds, "wall_s": 2 * seconds}))
    monkeypatch.setattr("lab.figures.real_data", lambda: tmp_path)
    path = write_figures(RunFolder(one), tmp_path / "results" / "swept.json")
    kept = json.loads(path.read_text())
    assert kept["study"] == "swept"
    assert kept["command"] == "eavesplit run swept --set log=shared/data/log --set strength=0.5"
    assert str(tmp_path) not in path.read_text()
    summary = RunFolder(next(one.glob("cells/*/summary.json")).parent).read_summary()
    found = kept["cells"][0]["scores"]["coordinates"]["f1_15"]["mean"]
    assert found == pytest.approx(summary["scores"]["coordinates"]["f1_15"]["mean"], rel=1e-4)
    assert kept["frames"] == [summary["frames"]["sent"]]
    streamed = sum(usage["cpu_s"] for usage in summary["processes"].values())
    assert kept["cpu_hours"] == pytest.approx((streamed + 108) / 3600, rel=1e-4)
