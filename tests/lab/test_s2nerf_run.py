"""A whole study of a radiance field, small, over processes: split training against the unsplit one, pictures that were
rebuilt, and the tables that are made of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from lab.execute import Finished, execute
from lab.metrics.radiance import PSNR, levels
from lab.radiance_course import VICTIM, against, asked_for, course, curve, followed
from lab.recorded import outcomes
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.studies.base import Settings
from lab.studies.demo_radiance import caption
from lab.studies.radiance import UNTRAINED
from lab.studies.s2nerf_sheets import gain
from lab.studies.s2nerf_views import views
from lab.telling import results_of
from victims.base import silent

OPTIONS = {
    "steps": 8, "rays": 32, "samples": 8, "side": 12, "views": 7, "levels": 2, "rows_log2": 8, "base": 4, "finest": 16,
    "precisions": "float32", "curve": 2, "chunk_points": 128, "mean-view.rooms": 1, "mean-view.room_views": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    settings = Settings(splits=("mid",), options=OPTIONS)
    return execute("s2nerf-utility", settings, tmp_path_factory.mktemp("runs"), None, silent)


def test_split_equals_unsplit_and_the_sums_hold(finished: Finished) -> None:
    summary = json.loads((finished.folder.path / "summary.json").read_text())
    told = summary["unsplit"]
    # Seven views, of which the third is held out: one picture after four steps and one at the end.
    assert (told["steps"], told["steps_equal"], told["most_loss"]) == (8, 8, 0.0)
    assert (told["pictures"], told["pictures_equal"], told["most"]) == (2, 2, 0.0)
    frames = summary["frames"]
    assert (frames["sent"], frames["answered"], frames["captured"], frames["inverted"]) == (10, 10, 10, 2)
    assert set(summary["scores"]) == {"surrogate-solved", UNTRAINED, "gradient-norms", "mean-view"}
    assert {found["psnr"]["n"] for found in summary["scores"].values()} == {1}  # pictures on the way give no rows


def test_figures_are_those_of_the_recorded_pictures(finished: Finished) -> None:
    (result,) = results_of(finished.folder)
    folder = RunFolder(result.folder)
    true = dict(asked_for(folder))
    assert [int(truth.meta["step"]) for truth in true.values()] == [4, 8]
    renders = {frame: found["image"] for frame, found in outcomes(folder.edge) if "image" in found}
    by_hand = {
        frame: peak_signal_noise_ratio(truth.truth["image"], levels(renders[frame])) for frame, truth in true.items()
    }
    found = {p.frame: p.values["psnr"] for p in course(folder.path) if p.row == VICTIM}
    assert found == pytest.approx(by_hand)
    assert [step for step, _ in curve([folder.path], VICTIM, "psnr")] == [4, 8]
    assert dict(curve([folder.path], VICTIM, "psnr"))[4] == pytest.approx(by_hand[min(true)])
    assert followed(course(folder.path)) == {"view-002"}
    # Against its own render the victim is perfect, and the attacks are measured against that render.
    theirs = against(folder.path, folder.path, "psnr")
    assert theirs[VICTIM] == 100.0
    assert set(theirs) == {VICTIM, "surrogate-solved", UNTRAINED, "gradient-norms", "mean-view"}


def test_gains_are_differences_of_what_was_scored(finished: Finished) -> None:
    results = results_of(finished.folder)
    scores = read_scores(RunFolder(results[0].folder))
    means = [np.mean(list(scores.of(row, "psnr").values())) for row in ("gradient-norms", UNTRAINED)]
    found = gain(results, "gradient-norms", UNTRAINED, PSNR)
    assert found is not None
    assert found.mean == pytest.approx(means[0] - means[1])
    assert (found.n, found.low) == (1, None)
    said = caption(results[0])
    ours, floor = (scores.of(row, "psnr_affine")[9] or 0.0 for row in ("gradient-norms", UNTRAINED))
    verb = "beats" if ours > floor else "does not beat"
    assert f"gradient-norms {verb}" in said


def test_the_report_shows_the_views_and_every_table(finished: Finished) -> None:
    page = finished.report.read_text()
    for title in (
        "The same views, photographed",
        "What the training is worth to its user",
        "Split training against the unsplit one",
        "Gain over the untrained surrogate",
        "Luminance and shape",
        "Over the steps of the training",
        "Who knows what",
    ):
        assert title in page, title
    sheet = views(results_of(finished.folder))
    assert sheet is not None
    assert sheet.picture.startswith(b"\x89PNG")
    assert any("frames answered" in line for line in finished.lines)
