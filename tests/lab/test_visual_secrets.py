"""The studies of picture inversion: what they would stream and grant, and their tables from a recorded run."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attacker.attacks.base import Reconstruction
from attacker.reconstructions import Reconstructions
from edge.calibration import calibrated
from edge.config import DefenseChoice, EdgeConfig
from lab.contact import TILE, Row, contact_sheet
from lab.measuring import scorer_of
from lab.metrics.base import ORACLE
from lab.parts import summarize_scores
from lab.runfolder import RunFolder
from lab.scores import Row as ScoreRow
from lab.scores import Scores, score_run
from lab.studies import visual_secrets_text as text
from lab.studies.base import CellResult, Settings
from lab.studies.black_box import Learner, fit_settings
from lab.studies.image import keep_apart, stage_ends
from lab.studies.image_tuning import depth_of
from lab.studies.registry import study
from lab.studies.visual_secrets_sheets import course_sheets
from lab.studies.visual_secrets_whitebox import STUDY, table_1
from lab.summary import differences
from tests.lab.small_cifar import COUNT, pictures
from victims.base import Sample
from victims.image import cifar
from victims.image.victim import CIFAR_RESNET20, CIFAR_VIT, RESNET18, RESNET50
from wire import arrays
from wire.errors import InputError
from wire.record import RecordWriter


@pytest.fixture
def prior(tmp_path: Path, tiny_prior: Path) -> Path:
    """A whole prior, to be broken as well."""
    return Path(shutil.copytree(tiny_prior, tmp_path / "prior"))


def asked(data: Path, **options: object) -> Settings:
    return Settings(data=(data,), options={"weights": "random", **options})


def test_cells_are_the_ends_of_all_stages() -> None:
    assert stage_ends(CIFAR_RESNET20) == ("layer1.2", "layer2.2", "layer3.2")
    assert stage_ends(RESNET18) == ("layer1.1", "layer2.1", "layer3.1", "layer4.1")
    assert stage_ends(RESNET50) == ("layer1.2", "layer2.3", "layer3.5", "layer4.2")
    assert [p[-1] for p in stage_ends(CIFAR_VIT)] == ["1", "3", "5"]


def test_rivals_get_the_same_files_and_no_streamed_picture(data: Path, prior: Path) -> None:
    cells = STUDY.cells(asked(data, prior=str(prior)))
    assert [cell.stream.split for cell in cells] == ["layer1.2", "layer2.2", "layer3.2"]
    stream = cells[0].stream
    assert [choice.row for choice in stream.attacks] == [
        "mean-picture", "nearest-picture", "prior-sample",
        "direct", "direct-waves", "decoder", "diffusion", "diffusion-polished",
    ]  # fmt: skip
    rows = {choice.row: choice for choice in stream.attacks}
    streamed = data / cifar.FILES["lossless-test"]
    auxiliary = data / cifar.FILES["jpeg-train"]
    assert all(streamed not in choice.files.values() for choice in stream.attacks)
    assert rows["direct"].files == {"auxiliary": auxiliary}
    assert rows["decoder"].files == {"auxiliary": auxiliary, "prior": prior}
    assert rows["direct"].settings["start"] == rows["decoder"].settings["start"] == "mean"
    assert rows["diffusion-polished"].name == "diffusion"
    assert "polish" not in rows["diffusion"].settings
    assert (rows["direct-waves"].name, rows["direct-waves"].files) == ("direct", rows["direct"].files)
    assert "basis" not in rows["direct"].settings
    assert rows["direct-waves"].settings["basis"] == "waves"
    assert rows["direct"].settings["weights"] == "random"
    assert (stream.knowledge.victim, stream.knowledge.queries) == ("white", 0)
    assert (stream.frames, stream.invert_after) == (16, True)
    assert cells[0].measure == {"oracle_prior": str(prior)}


def test_settings_reach_the_attack_they_name(data: Path, prior: Path) -> None:
    options = {"iterations": 7, "direct.lr": 0.3, "diffusion.steps": 4, "polish": 0, "prior": str(prior)}
    shallow, _, deep = (
        {choice.row: choice.settings for choice in cell.stream.attacks} for cell in STUDY.cells(asked(data, **options))
    )
    assert [shallow[row]["iterations"] for row in ("direct", "decoder", "diffusion")] == [7, 7, 7]
    assert shallow["direct"]["lr"] == deep["direct"]["lr"] == 0.3
    assert shallow["diffusion"]["steps"] == 4
    assert "diffusion-polished" not in shallow
    assert shallow["decoder"]["tv"] < deep["decoder"]["tv"]


def test_smoothing_goes_by_the_stage_also_within_one() -> None:
    ends = stage_ends(CIFAR_RESNET20)
    layers = ("layer1.0", "layer1.2", "layer2.0", "layer2.2", "layer3.0", "layer3.1", "layer3.2")
    assert [depth_of(CIFAR_RESNET20, layer, ends) for layer in layers] == [0, 0, 1, 1, 1, 1, 2]


def test_what_cannot_run_is_left_out_and_named(data: Path, prior: Path) -> None:
    absent = STUDY.cells(asked(data))[0].columns["absent"]
    assert set(absent) == {"prior-sample", "decoder", "diffusion", "diffusion-polished"}
    shutil.rmtree(prior / "unet")
    alone = STUDY.cells(asked(data, prior=str(prior)))[0]
    assert [choice.row for choice in alone.stream.attacks] == [
        "mean-picture",
        "nearest-picture",
        "direct",
        "direct-waves",
        "decoder",
    ]
    assert alone.columns["absent"]["diffusion"] == "the prior is an autoencoder alone"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attacks": "direct,diffusion"}, "attacks=diffusion: there is no prior"),
        ({"attacks": "directly"}, "no attack of this study; there are: mean-picture"),
        ({"set": "jpeg-train"}, "lossless-test, lossless are accepted"),
        ({"itterations": 4}, "no option of this study; there are: victim"),
        ({"iterations": 0}, "a whole number from 1"),
        ({"victim": "second"}, "looks at no pictures"),
        ({"weights": "/nowhere.pth"}, "no such file"),
        ({"weights": "shipped", "victim": "resnet50"}, "ships no weights"),
        ({"prior": "/nowhere"}, "no prior; accepted: a folder"),
        ({"auxiliary": "/nowhere"}, "no such file or folder"),
        ({"inception": "/nowhere.pt"}, "inception=/nowhere.pt: there is no such file"),
    ],
)
def test_a_wrong_setting_is_one_line(data: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        STUDY.cells(asked(data, **options))
    assert "\n" not in str(caught.value)


def test_an_auxiliary_picture_that_is_streamed_is_refused_under_any_name(data: Path, tmp_path: Path) -> None:
    others = tmp_path / "others"
    others.mkdir()
    Image.fromarray(pictures(1, 77)[0]).save(others / "a.png")
    cell = STUDY.cells(asked(data, auxiliary=str(others)))[0]
    keep_apart(cell)
    Image.fromarray(pictures(COUNT, 0)[4]).save(others / "b.png")
    with pytest.raises(InputError, match="b is streamed as cifar10_lossless_test100/00004"):
        keep_apart(cell)


def test_as_many_auxiliary_pictures_are_compared_as_an_attack_is_granted(data: Path) -> None:
    """One of 1,003 is streamed as well, behind those that attacks are granted by themselves."""
    many = pictures(1003, 5)
    many[1002] = pictures(COUNT, 0)[4]
    np.savez(data / cifar.FILES["jpeg-train"], images=many, labels=np.zeros(len(many), int))
    keep_apart(STUDY.cells(asked(data))[0])
    keep_apart(STUDY.cells(asked(data, **{"nearest-picture.auxiliary_frames": 1002}))[0])
    with pytest.raises(InputError, match="01002 is streamed as cifar10_lossless_test100/00004"):
        keep_apart(STUDY.cells(asked(data, **{"nearest-picture.auxiliary_frames": 1003}))[0])


def test_inception_scores_are_missed_only_where_no_network_was_given(data: Path, tmp_path: Path) -> None:
    (tmp_path / "inception.pt").write_bytes(b"")
    note = "Inception scores are not among our figures: no Inception network was given."
    for options, missed in (({}, True), ({"inception": str(tmp_path / "inception.pt")}, False)):
        cells = STUDY.cells(asked(data, **options))
        results = [CellResult(cell, tmp_path, {"scores": {}}) for cell in cells]
        assert (note in table_1(results).notes) is missed


def test_the_papers_values_stand_beside_their_own_layer_only(data: Path) -> None:
    cells = STUDY.cells(Settings(data=(data,), splits=("L8", "layer2.1", "layer4.1"), options={
        "weights": "random", "victim": "resnet18",
    }))  # fmt: skip
    assert [STUDY.paper(cell).get("direct", {}).get("psnr") for cell in cells] == [14.6, 14.6, None]
    assert not STUDY.paper(STUDY.cells(asked(data))[0])


def test_the_noise_study_repeats_the_stream_under_noise(data: Path) -> None:
    bare, *noised = study("visual-secrets-noise").cells(asked(data, strengths="0.5,2", kinds="gaussian,laplace"))
    assert [(c.stream.defense, c.stream.defense_settings["strength"]) for c in noised] == [
        ("gaussian", 0.5), ("gaussian", 2.0), ("laplace", 0.5), ("laplace", 2.0),
    ]  # fmt: skip
    assert {cell.reference for cell in noised} == {bare.id} == {bare.reference}
    assert {cell.stream.source for cell in noised} == {bare.stream.source}


def test_only_the_aware_network_learns_under_the_noise(data: Path) -> None:
    bare, noised = study("visual-secrets-noise").cells(asked(data, strengths="0.5", queries=32))
    assert [one["row"] for one in bare.columns["learners"]] == ["inversion-direct"]
    naive, aware = (fit_settings(noised.stream, Learner(**one)) for one in noised.columns["learners"])
    assert (naive.defense, naive.defense_settings, naive.frames) == ("none", {}, 32)
    assert (aware.defense, aware.defense_settings, aware.frames) == ("gaussian", {"strength": 0.5}, 32)
    assert naive.calibration is None
    stream = noised.stream
    chosen = DefenseChoice(name="gaussian", settings={"strength": 0.5})
    edge = EdgeConfig(
        address="127.0.0.1:1",
        victim=stream.victim,
        split=stream.split,
        victim_settings=dict(stream.victim_settings),
        source=stream.source,
        defense=chosen,
        folder=data / "edge",
    )
    cut = CIFAR_RESNET20.cut(stream.split, stream.victim_settings)
    measured = calibrated(edge, CIFAR_RESNET20, stream.split, cut.head())
    assert aware.calibration == {"rms": measured.rms, "clip": measured.clip}  # the oracle's noise is the edge's
    card = noised.stream.knowledge
    assert (card.victim, card.queries, card.defense, card.defense_name) == ("white", 32, "aware", "gaussian")
    assert bare.stream.knowledge.defense == "unaware"


def test_findings_compare_by_the_share_of_the_network(data: Path) -> None:
    settings = Settings(data=(data,), options={"victims": "cifar-resnet20,cifar-vit", "weights.cifar-vit": "random",
        "weights.cifar-resnet20": "random"})  # fmt: skip
    cells = study("visual-secrets-findings").cells(settings)
    depths = {(c.stream.victim, c.stream.split): c.columns["depth"] for c in cells}
    assert depths["cifar-resnet20", "layer2.2"] == pytest.approx(2 / 3, abs=0.03)
    assert list(depths.values())[:3] == sorted(list(depths.values())[:3])


def test_steps_and_text_have_a_row_for_each_choice(data: Path, prior: Path) -> None:
    options = {"prior": str(prior), "steps": "3,6"}
    (cell,) = study("visual-secrets-steps").cells(asked(data, **options))
    assert {c.row: c.settings.get("steps") for c in cell.stream.attacks}["diffusion-6-steps"] == 6
    cell, _ = study("visual-secrets-text").cells(asked(data, prior=str(prior)))
    prompts = {c.row: c.settings.get("prompt", "") for c in cell.stream.attacks}
    assert len(prompts) == 11
    assert (prompts["no text"], prompts["airplane"]) == ("", "a photo of an airplane")
    with pytest.raises(InputError, match="diffusion cannot run: there is no prior"):
        study("visual-secrets-text").cells(asked(data))


def test_right_words_are_the_labels_and_the_backgrounds_own() -> None:
    blue = np.full((32, 32, 3), (56, 100, 160), np.uint8)
    blue[8:24, 8:24] = 255
    sample = Sample("one", {"image": blue}, {"label": np.array(3)})
    assert text.right_word(sample, "class") == "cat"
    assert text.right_word(sample, "background") == "blue"
    assert text.right_word(Sample("two", {"image": blue}), "class") == ""


def test_what_a_listener_would_choose_has_the_lowest_loss_that_the_attack_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    store = Reconstructions(folder.reconstructions, 1 << 20)
    for word, losses in (("cat", (0.3, 0.1)), ("dog", (0.2, 0.4))):
        for frame, loss in enumerate(losses):
            image = {"image": np.zeros((4, 4, 3), np.uint8)}
            made = Reconstruction("5e55", (frame,), word, image, {"loss_feature": loss})
            store.add(made, incarnation=0, t_captured_ns=0, times_ms={})
    store.close()
    assert text.chosen(folder, ["cat", "dog"]) == {0: "dog", 1: "cat"}


def test_wrong_words_are_averaged_and_gaps_are_left_out() -> None:
    rows = [("cat", 0, 10.0), ("dog", 0, 20.0), ("cat", 1, 11.0), ("dog", 1, None)]
    scores = Scores(tuple(ScoreRow(frame, 0, "none", "s", str(frame), row, "psnr", v) for row, frame, v in rows))
    assert text.mean_of(scores, {0: ("cat", "dog"), 1: ("cat", "dog")}, "psnr") == {0: 15.0}


@pytest.fixture
def recorded(data: Path, prior: Path, tmp_path: Path) -> CellResult:
    """A cell with two attacks: ``direct`` gains 6 dB a snapshot to its end, ``decoder`` stands still at last."""
    cell = replace(STUDY.cells(asked(data, prior=str(prior)))[0], measure={})
    run = RunFolder.create(tmp_path / "runs", "visual", {"seed": 0})
    courses = {"direct": ([32, 16, 8], [0, 50, 100], [0.0, 1.0, 2.0]), "decoder": ([32, 4, 4], [0, 10, 20], [0, 5, 10])}
    images = pictures(COUNT, 0)
    with (
        RecordWriter(run.edge, max_bytes=1 << 30) as edge,
        RecordWriter(run.reconstructions, max_bytes=1 << 30) as made,
    ):
        for frame, image in enumerate(images):
            truth = {"image": image, "truth.label": np.array(frame)}
            edge.write("sample", arrays.pack(truth, {"frame": frame, "name": f"p{frame}"}), log_ns=frame)
            row = {"frame": frame, "segment": 0, "error": None}
            edge.write("stages", json.dumps(row).encode(), log_ns=frame)
            for attack, (levels, iterations, seconds) in courses.items():
                found = {
                    "image": image + np.uint8(levels[-1]),
                    "snapshots": np.stack([image + np.uint8(level) for level in levels]),
                    "snapshot_iteration": np.array(iterations),
                    "snapshot_cpu_s": np.array(seconds, np.float64),
                }
                meta = {"session": "5e", "frames": (frame,), "attack": attack}
                made.write("reconstruction", arrays.pack(found, meta), log_ns=frame)
    scores = score_run(run, scorer_of(cell), seed=0)
    summary = {"scores": summarize_scores(scores, 0), "differences": differences(scores, 0)}
    return CellResult(cell, run.path, summary)


def test_course_sheets_say_who_still_rises_and_who_leads_at_equal_effort(recorded: CellResult) -> None:
    course, equal = course_sheets(recorded)
    plateau = course.columns.index("plateau")
    assert [(row[0].text, row[plateau].text) for row in course.rows] == [
        ("direct", "still rising"),
        ("decoder", "reached"),
    ]
    assert Image.open(io.BytesIO(course.picture)).width > 800
    (row,) = equal.rows
    db = 20 * np.log10([255 / 32, 255 / 16, 255 / 8, 255 / 4])
    expected = (
        db[0] + (db[1] - db[0]) * 20 / 50 - db[3],  # after the decoder's 20 iterations
        db[2] - (db[0] + (db[3] - db[0]) * 2 / 5),  # within the 2 s that direct took
        db[2] - db[3],
    )
    assert [float(entry.text) for entry in row[1:]] == pytest.approx(expected, rel=0.01)
    assert row[1].small[-1] == "20 iterations"


def test_the_recorded_scores_find_every_picture_again(recorded: CellResult) -> None:
    for attack in ("direct", "decoder"):
        assert recorded.summary["scores"][attack]["reid"]["mean"] == 1.0
    assert ORACLE not in recorded.summary["scores"]


def test_a_contact_sheet_shows_the_very_pixels(tmp_path: Path) -> None:
    red, blue = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)
    red[..., 0], blue[:, :16, 2] = 200, 90
    (tmp_path / "sheet.png").write_bytes(
        contact_sheet({"one": [Row("original", [red, blue]), Row("direct", [None, red], captions=["", "9.5"])]})
    )
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    assert int((sheet == (200, 0, 0)).all(2).sum()) == 2 * TILE * TILE
    assert int((sheet == (0, 0, 90)).all(2).sum()) == TILE * TILE // 2
    with pytest.raises(InputError, match="no picture to show"):
        contact_sheet({"one": []})
