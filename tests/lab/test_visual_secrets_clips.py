"""The studies of photographs and of clips: what they would stream, grant and compare."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attacker.attacks.image.choices import read
from attacker.attacks.image.decoder import DecoderSettings
from lab.contact import PHOTO, Row, contact_sheet
from lab.runfolder import RunFolder
from lab.scores import Row as ScoreRow
from lab.scores import Scores
from lab.studies import visual_secrets_video as video
from lab.studies.base import CellResult, Settings
from lab.studies.image import keep_apart
from lab.studies.registry import study
from victims.image import cifar
from victims.registry import victim
from wire.errors import InputError


def picture(seed: int, side: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8))


@pytest.fixture
def data(tmp_path: Path, tiny_prior: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As EAVESPLIT_DATA has it: a video of six frames, four photographs, CIFAR-10 of noise, an autoencoder; a prior."""
    for name in ("video/drive_half_second", "images/photos", "images/cifar10"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copytree(tiny_prior, tmp_path / "prior")
    shutil.copytree(tiny_prior / "vae", tmp_path / "weights" / "taesd")
    drive = tmp_path / "video" / "drive_half_second"
    for i in range(6):
        picture(i).save(drive / f"{i}.png")
    (drive / "frames.csv").write_text("file\n" + "".join(f"{i}.png\n" for i in range(6)))
    for i in range(4):
        picture(100 + i).save(tmp_path / "images" / "photos" / f"p{i}.png")
    drawn = np.random.default_rng(7).integers(0, 255, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "images" / "cifar10" / cifar.FILES["jpeg-train"], images=drawn, labels=np.arange(20) % 10)
    monkeypatch.setenv("EAVESPLIT_DATA", str(tmp_path))
    return tmp_path


def test_each_photo_victim_streams_its_own_pictures_to_a_listener_with_others(data: Path) -> None:
    cells = study("visual-secrets-photos").cells(Settings(options={"weights": "random"}))
    assert [(cell.stream.victim, cell.stream.split, cell.stream.source) for cell in cells] == [
        ("fastestdet", "backbone.maxpool", str(data / "images/photos")),
        ("espnet-512", "b2", str(data / "video/drive_half_second")),
    ]
    for cell, others in zip(cells, ("video", "images/photos"), strict=True):
        rows = {choice.row: choice for choice in cell.stream.attacks}
        assert list(rows) == ["mean-picture", "nearest-picture", "direct", "direct-waves", "decoder"]
        assert rows["decoder"].files == {"auxiliary": data / others, "prior": data / "weights/taesd"}
        assert rows["decoder"].settings["at_once"] == 1 and rows["decoder"].settings["iterations"] == 80
        read(DecoderSettings, rows["decoder"].settings, "decoder")  # is a setting that is there
        assert cell.columns["absent"]["diffusion"] == "the prior is an autoencoder alone"
        keep_apart(cell)
    (one,) = study("visual-secrets-photos").cells(
        Settings(splits=("b3",), options={"weights": "random", "victim": "espnet-512", "iterations": 9})
    )
    assert (one.stream.split, one.stream.attacks[-1].settings["iterations"]) == ("b3", 9)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("photos", {"options": {"victim": "resnet18"}}, "--victim resnet18: .* attacks fastestdet, espnet-512$"),
        ("photos", {"splits": ("b2",)}, "of which network"),
        ("video", {"options": {"length": 3}}, "accepted: 2, 4, 8, 16$"),
        ("video", {"frames": 6}, "accepted: multiples of 4, the length of a clip$"),
        ("video", {"options": {"kinds": "drawn"}}, "accepted: real, panned$"),
        ("video", {"options": {"temporal": "much"}}, "accepted: numbers, a,b,c$"),
    ],
)
def test_a_wrong_setting_is_one_line(data: Path, name: str, asked: dict[str, object], said: str) -> None:
    options = {"weights": "random", "prior": str(data / "prior"), **asked.pop("options", {})}
    with pytest.raises(InputError, match=said) as caught:
        study(f"visual-secrets-{name}").cells(Settings(options=options, **asked))
    assert "\n" not in str(caught.value)


def test_clips_are_inverted_together_and_one_by_one(data: Path) -> None:
    options = {"weights": "random", "prior": str(data / "prior"), "length": 2, "temporal": "0.1,1", "queries": 16}
    cells = study("visual-secrets-video").cells(Settings(options=options, frames=4))
    assert [(cell.columns["clips"], "learners" in cell.columns) for cell in cells] == [
        ("real", False), ("real", True), ("panned", False), ("panned", True),
    ]  # fmt: skip
    white, black = cells[:2]
    rows = {choice.row: choice for choice in white.stream.attacks}
    joint, alone = rows["diffusion-together-0.1"], rows["diffusion"]
    assert {**joint.settings, "group": 0, "temporal": 0} == {**alone.settings, "group": 0, "temporal": 0}
    assert (joint.settings["group"], joint.settings["temporal"], joint.files) == (2, 0.1, alone.files)
    assert ["decoder-together-1", "decoder"] in white.columns["tied"]
    learners = {one["row"]: one for one in black.columns["learners"]}
    assert list(learners) == [
        "inversion-direct", "inversion-direct-together", "inversion-decoder", "inversion-decoder-together",
    ]  # fmt: skip
    clip, frame = learners["inversion-direct-together"], learners["inversion-direct"]
    assert clip["settings"].pop("frames") == 2
    assert clip["settings"]["epochs"] == 2 * frame["settings"]["epochs"]  # half as many examples: as many steps
    clip["settings"]["epochs"] = frame["settings"]["epochs"]
    assert {**clip, "row": ""} == {**frame, "row": ""}
    assert black.stream.knowledge.victim == "black" and black.stream.knowledge.queries == 16
    for cell in (white, cells[2]):
        stream = cell.stream
        groups = [s.meta["group"] for s in victim(stream.victim).samples(stream.source, stream.victim_settings)]
        assert groups[0] == groups[1] != groups[2] == groups[3]


def test_differences_are_those_of_the_same_frames(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"weights": "random", "prior": str(data / "prior"), "queries": 0, "kinds": "real"}
    (cell,) = study("visual-secrets-video").cells(Settings(options=options, frames=4))
    values = {"decoder": (10.0, 20.0, 30.0, 40.0), "decoder-together-0.1": (11.0, 22.0, 31.0, 42.0)}
    rows = [
        ScoreRow(frame, 0, "none", str(frame), f"clip-{frame // 2}", attack, metric, value)
        for attack, told in values.items()
        for frame, value in enumerate(told)
        for metric in ("psnr", "ssim")
    ]
    monkeypatch.setattr(video, "read_scores", lambda folder: Scores(tuple(rows)))
    sheet = video.together([CellResult(cell, RunFolder(data).path, {})])
    first = sheet.rows[0]
    assert [entry.text for entry in first[1:3]] == ["decoder-together-0.1 - decoder", "2"]
    assert first[3].text.startswith("1.5")


def test_a_contact_sheet_keeps_the_shape_of_a_street(tmp_path: Path) -> None:
    street = np.zeros((256, 512, 3), np.uint8)
    street[..., 1] = 180
    (tmp_path / "sheet.png").write_bytes(contact_sheet({"one": [Row("original", [street, None])]}))
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    rows, columns = np.nonzero((sheet == (0, 180, 0)).all(2))
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == (PHOTO, PHOTO // 2)
