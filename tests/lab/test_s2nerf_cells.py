"""A small cell of each study that attacks a radiance field, over processes: what all rows of their tables rest on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path

import numpy as np
import pytest

from lab.radiance_course import asked_for, step_of
from lab.recorded import Rebuilt, noted, reconstructions
from lab.runfolder import RunFolder
from lab.scores import Scores, read_scores
from lab.studies.base import CellResult, Settings
from lab.studies.links import cells_of
from lab.studies.radiance import UNTRAINED
from lab.studies.registry import study
from lab.studies.s2nerf_scene_aided import AIDED, DEAF, REFINED
from victims.base import silent

STEPS, VIEWS, HELD_OUT = 12, 10, 2
TINY = {
    "steps": STEPS, "rays": 16, "samples": 4, "levels": 2, "rows_log2": 6, "base": 4, "finest": 16, "chunk_points": 32,
    "side": 12, "views": VIEWS, "curve": 2, "seeds": 1,
}  # fmt: skip
"""Four parts a step; pictures of the held-out views after 6 steps and after 12. SSIM's window is 11 pixels wide."""

ROWS = {
    "s2nerf-surrogate": ("surrogate", "surrogate-fit", "surrogate-replay", UNTRAINED),
    "s2nerf-scene-aided": (AIDED, REFINED, DEAF, UNTRAINED),
    "s2nerf-defense": ("surrogate-solved", "surrogate-weighted", UNTRAINED),
}
OWN = {
    "s2nerf-surrogate": {"surrogate-fit.fit_levels": 2, "surrogate-fit.fit_rows_log2": 8},
    "s2nerf-scene-aided": {"leaks": "1", **{f"{row}.aided_steps": 3 for row in (AIDED, REFINED, DEAF)}},
    "s2nerf-defense": {"c": 1.2, "r": 1e-4},
}
DEFENSES = {"s2nerf-defense": "gradient-norm-noise"}

Ran = Mapping[str, CellResult]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """One cell of each study. The defense's is the one with noise, without the cell that it refers to."""
    results = {}
    for name, rows in ROWS.items():
        found, options = study(name), {**TINY, "attacks": ",".join(rows), **OWN[name]}
        cells = cells_of(found, Settings(options=options))
        cell = next(cell for cell in cells if cell.stream.defense == DEFENSES.get(name, "none"))
        folder = RunFolder.create(tmp_path_factory.mktemp("runs"), name, {"seed": 0}).cell(cell.id, {"seed": 0})
        results[name] = found.run(replace(cell, reference=""), folder.path, silent)
    return results


def scores_of(result: CellResult) -> Scores:
    return read_scores(RunFolder(result.folder))


def made_by(result: CellResult, row: str) -> list[Rebuilt]:
    """By frame."""
    found = reconstructions(RunFolder(result.folder).reconstructions, row)
    return sorted(found, key=lambda picture: picture.frame)


def told_by(picture: Rebuilt, key: str) -> float:
    """What the attack says of a picture."""
    return float(str(picture.meta[f"attack.{key}"]))


def differ(result: CellResult, one: str, other: str) -> list[bool]:
    """Of each picture, whether two rows made another one."""
    pairs = zip(made_by(result, one), made_by(result, other), strict=True)
    return [not np.array_equal(a.arrays["image"], b.arrays["image"]) for a, b in pairs]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_scored_on_every_held_out_view(name: str, ran: Ran) -> None:
    result = ran[name]
    scores, folder = scores_of(result), RunFolder(result.folder)
    last = {frame: truth.name for frame, truth in asked_for(folder) if step_of(truth) == STEPS}
    assert len(set(last.values())) == HELD_OUT
    assert set(scores.attacks) == set(ROWS[name])
    for row in ROWS[name]:
        for metric in scores.metrics:
            values = scores.of(row, metric)
            assert list(values) == sorted(last), (row, metric)
            assert all(value is not None and isfinite(value) for value in values.values()), (row, metric, values)
    assert result.summary["utility"]["victim_psnr"]["n"] == HELD_OUT


@pytest.mark.parametrize("name", ROWS)
def test_every_frame_is_answered_heard_and_learnt_from(name: str, ran: Ran) -> None:
    result, pictures = ran[name], 2 * HELD_OUT
    assert result.summary["frames"] == {
        "sent": STEPS + pictures, "answered": STEPS + pictures, "failed": 0, "captured": STEPS + pictures, "missed": 0,
        "inverted": pictures, "lost": 0, "duplicated": 0, "dropped": 0, "learnt": STEPS,
    }  # fmt: skip
    learnt = noted(RunFolder(result.folder).reconstructions, "learnt")
    assert {row: len(frames) for row, frames in learnt.items()} == dict.fromkeys(ROWS[name], STEPS)
    for row in ROWS[name]:
        told = [(told_by(p, "step"), told_by(p, "missed"), told_by(p, "restarts")) for p in made_by(result, row)]
        assert told == [(6, 0, 0)] * HELD_OUT + [(12, 0, 0)] * HELD_OUT, row
        inner = 0 if row in (UNTRAINED, DEAF) else 3 if name == "s2nerf-defense" else 1
        assert told_by(made_by(result, row)[-1], "learnt") == inner * STEPS, row


@pytest.mark.parametrize("name", ROWS)
def test_what_was_learnt_is_seen_in_the_scores(name: str, ran: Ran) -> None:
    """No row has the untrained surrogate's pictures, nor its scores."""
    result = ran[name]
    floor = scores_of(result).of(UNTRAINED, "psnr")
    for row in ROWS[name][:-1]:
        assert all(differ(result, row, UNTRAINED)), row
        assert all(value != floor[frame] for frame, value in scores_of(result).of(row, "psnr").items()), row


def test_a_replay_makes_the_pictures_that_the_clouds_own_half_makes(ran: Ran) -> None:
    """The snapshots are the very networks of the step at which a picture is asked for; the fitted field is another."""
    result = ran["s2nerf-surrogate"]
    assert not any(differ(result, "surrogate", "surrogate-replay"))
    assert all(differ(result, "surrogate", "surrogate-fit"))
    assert [told_by(picture, "drift") for picture in made_by(result, "surrogate-replay")] == [0.0] * 4


def test_what_leaks_is_granted_and_never_scored(ran: Ran) -> None:
    result = ran["s2nerf-scene-aided"]
    leaks = sorted((result.folder / "leaks").iterdir())
    assert {path.stem for path in leaks} == {AIDED, REFINED, DEAF}
    guard = result.summary["knowledge"]["guard"]
    assert sorted(map(Path, guard["read"])) == leaks
    assert not any(Path(path).is_relative_to(result.folder / "edge") for path in [*guard["read"], *guard["write"]])
    names = {name for found in result.summary["columns"]["leaked"].values() for name in found}
    truths = [truth for _, truth in asked_for(RunFolder(result.folder))]
    assert len(names) == 1 and not names & {truth.name for truth in truths}
    for path in leaks:
        with np.load(path) as leak:
            for image in leak["images"]:
                assert not any(np.array_equal(image, truth.truth["image"]) for truth in truths)
    # Each row has learnt from something else: the gradients and the leak, a pose of its own beside them, the leak.
    for one, other in ((AIDED, REFINED), (AIDED, DEAF), (REFINED, DEAF)):
        assert all(differ(result, one, other))
    turned = {row: told_by(made_by(result, row)[-1], "pose_turned") for row in (AIDED, REFINED, DEAF)}
    assert turned[AIDED] == turned[DEAF] == 0 < turned[REFINED]


def test_who_knows_the_noise_weighs_its_steps(ran: Ran) -> None:
    """Both rows hear the same and solve for their pixels; the card tells c and r to the one that weighs."""
    result = ran["s2nerf-defense"]
    assert result.summary["knowledge"]["defense_settings"] == {"c": 1.2, "r": 1e-4}
    assert result.summary["defense"]["measured"]["sigma"] > 0
    assert all(differ(result, "surrogate-solved", "surrogate-weighted"))
