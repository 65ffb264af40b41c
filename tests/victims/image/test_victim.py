"""Image victims keep the contract; their streams go on past a bad picture; the view shows what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.contract.victim import check_victim
from victims.base import Sample, validate
from victims.image.cifar import FILES
from victims.image.pictures import read_picture
from victims.image.preprocessing import IMAGENET, pictures_of
from victims.image.victim import CIFAR_RESNET20, CIFAR_VIT, RESNET18, RESNET50, VIT_B, ImageVictim, own_victim
from victims.image.view import VIEW
from victims.readable import readable
from victims.registry import victim
from victims.view import Image as Shown
from victims.view import Text, view
from wire.errors import DecodeError, InputError
from wire.payload import Payload

RNG = np.random.default_rng(2)
SAMPLE = Sample("noise", {"image": RNG.integers(0, 256, (32, 32, 3), np.uint8)})
RANDOM = {"weights": "random", "seed": 3}


@pytest.mark.parametrize(
    ("chosen", "split"), [(CIFAR_RESNET20, "layer2.2"), (CIFAR_RESNET20, "avgpool"), (CIFAR_VIT, CIFAR_VIT.splits[2])]
)
def test_the_contract(chosen: ImageVictim, split: str) -> None:
    outcome, _ = check_victim(chosen, split, RANDOM, SAMPLE)
    whole = chosen.network(RANDOM)
    with torch.inference_mode():
        wanted = whole(IMAGENET.normalised(pictures_of(SAMPLE.arrays["image"][None])))
    assert np.allclose(outcome.arrays["logits"], wanted.numpy(), atol=1e-5)


def test_seeds_make_weights_and_names_are_registered() -> None:
    digests = {CIFAR_RESNET20.cut("layer1.0", {**RANDOM, "seed": s}).weights_sha256 for s in (3, 3, 4)}
    assert len(digests) == 2
    assert victim("cifar-resnet20") is CIFAR_RESNET20 and victim("vit-b-16") is VIT_B


def test_the_papers_layers_are_where_they_are_said_to_be() -> None:
    # 16 convolutions in blocks of two: L4 ends block 2. 48 in blocks of three: L12 to L48 end blocks 4, 8, 12, 16.
    assert [RESNET18.points.index(RESNET18.layers[name]) + 1 for name in ("L4", "L8", "L12", "L16")] == [2, 4, 6, 8]
    assert [RESNET50.points.index(RESNET50.layers[name]) + 1 for name in ("L12", "L24", "L36", "L48")] == [4, 8, 12, 16]
    assert VIT_B.layers["L3"] == "encoder.layers.encoder_layer_2"
    assert {"L4", "layer1.0"} <= set(RESNET18.splits)


def test_a_network_of_your_own() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 5))
    mine = own_victim("mine", network, 16)
    assert mine.splits == ("0", "1", "2")
    sample = Sample("x", {"image": RNG.integers(0, 256, (16, 16, 3), np.uint8)})
    outcome, _ = check_victim(mine, "1", {}, sample)
    assert outcome.arrays["logits"].shape == (1, 5)


def test_bad_settings_and_bad_cuts() -> None:
    with pytest.raises(InputError) as caught:
        RESNET18.cut("L4", {})
    assert str(caught.value) == "resnet18 ships no weights; accepted: --set weights=PATH, or weights=random"
    with pytest.raises(
        InputError, match=r"^ResNet cannot be cut at 'layer9': it does not exist; it can be cut at conv1"
    ):
        CIFAR_RESNET20.cut("layer9", RANDOM)
    with pytest.raises(InputError, match=r"^setting seed is -1; accepted: a whole number from 0$"):
        CIFAR_RESNET20.cut("layer1.0", {"weights": "random", "seed": -1})
    wrong = Sample("y", {"image": np.zeros((28, 28, 3), np.uint8)})
    with pytest.raises(InputError, match=r"^y: image uint8 \(28, 28, 3\); accepted: uint8 \(32, 32, 3\)$"):
        next(CIFAR_RESNET20.cut("layer1.0", RANDOM).head().exchange(wrong))


def test_features_of_another_split_are_refused_by_the_tail() -> None:
    tail = CIFAR_RESNET20.cut("layer2.2", RANDOM).tail()
    payload = Payload("features", "dense", {"features": torch.zeros(1, 16, 32, 32)}, {"input": (32, 32)})
    with pytest.raises(DecodeError) as caught:
        tail.reply(payload)
    assert str(caught.value) == "layer2.2: features (1, 16, 32, 32); accepted: (1, 32, 16, 16)"


@pytest.mark.parametrize(
    ("tensors", "meta", "line"),
    [
        ({}, (4, 4), "dense: 0 tensors; accepted: 1 to 16"),
        (
            {"f": torch.zeros(2, 3)},
            (4, 4),
            "dense: f is torch.float32 (2, 3); accepted: torch.float32 (1, C, H, W), (1, T, D) or (1, K)",
        ),
        ({"f": torch.tensor([[1.0, torch.inf]])}, (4, 4), "dense: 1 of 2 values of f are not finite"),
        ({"f": torch.zeros(1, 3)}, (0, 4), "dense: meta input is (0, 4); accepted: height and width, from 1 to 65535"),
    ],
)
def test_payloads_that_are_not_dense(tensors: dict[str, torch.Tensor], meta: tuple[int, int], line: str) -> None:
    with pytest.raises(DecodeError) as caught:
        validate(Payload("features", "dense", tensors, {"input": meta}))
    assert str(caught.value) == line


def test_a_stream_goes_on_past_a_bad_picture(tmp_path: Path) -> None:
    for name, side in (("a", 40), ("c", 64)):
        Image.fromarray(RNG.integers(0, 256, (side, side + 3, 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    stream = CIFAR_RESNET20.samples(str(tmp_path), {})
    assert next(stream).name == "a"
    with pytest.raises(InputError, match=r"b\.png: no picture"):
        next(stream)
    last = next(stream)
    assert last.name == "c" and last.arrays["image"].shape == (32, 32, 3) and not last.truth
    with pytest.raises(StopIteration):
        next(stream)


def test_frames_are_counted_after_what_can_be_read(tmp_path: Path) -> None:
    for name in "bdef":
        Image.fromarray(np.full((32, 32, 3), ord(name), np.uint8)).save(tmp_path / f"{name}.png")
    for name in "acg":
        (tmp_path / f"{name}.png").write_bytes(b"no picture")
    stream = CIFAR_RESNET20.samples(str(tmp_path), {"frames": 3})
    met: list[str] = []
    while True:
        try:
            met.append(next(stream).name)
        except StopIteration:
            break
        except InputError as error:
            met.append(str(error).removeprefix(f"{tmp_path}/"))
    bad = "no picture; accepted: PNG, JPEG, WEBP, BMP"
    assert met == [f"a.png: {bad}", "b", f"c.png: {bad}", "d", "e"]


def test_a_folder_without_a_readable_picture_is_refused_before_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    Image.new("RGBA", (9, 9)).save(tmp_path / "b.png")
    with pytest.raises(InputError) as caught:
        CIFAR_RESNET20.samples(str(tmp_path), {"frames": 1})
    assert str(caught.value) == (
        f"{tmp_path}: none of its 2 pictures can be read; the first: {tmp_path}/a.png: no picture; "
        "accepted: PNG, JPEG, WEBP, BMP"
    )
    np.savez(tmp_path / "none.npz", images=np.zeros((0, 32, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"none\.npz: holds no pictures$"):
        CIFAR_RESNET20.samples(str(tmp_path / "none.npz"), {})
    for name in "cd":
        Image.new("RGB", (32, 32)).save(tmp_path / f"{name}.png")
    opened: list[str] = []

    def opening(path: Path) -> np.ndarray:
        opened.append(path.stem)
        return read_picture(path)

    monkeypatch.setattr("victims.image.victim.read_picture", opening)
    stream = CIFAR_RESNET20.samples(str(tmp_path), {})
    assert opened == ["a", "b", "c"]  # up to the first that can be read
    assert [sample.name for sample in readable(stream)] == ["c", "d"]
    assert opened == ["a", "b", "c", "d"]  # none of them twice


def test_streams_of_arrays_carry_their_labels(tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
    np.savez(tmp_path / FILES["lossless"], images=images, labels=np.array([5, 6, 7]))
    samples = list(CIFAR_RESNET20.samples(str(tmp_path), {"frames": 2}))
    assert [int(s.truth["label"]) for s in samples] == [5, 6]
    assert (samples[1].arrays["image"] == images[1]).all()


def test_procedural_scenes_are_clips_of_their_own() -> None:
    samples = list(CIFAR_RESNET20.samples("procedural", {"frames": 6, "seed": 2, "frames_per_scene": 3}))
    assert [s.meta["group"] for s in samples] == ["scene-0000"] * 3 + ["scene-0001"] * 3
    assert len({s.digest() for s in samples}) == 6
    assert all(s.arrays["image"].shape == (32, 32, 3) and not s.truth for s in samples)


def test_views() -> None:
    assert view("image") is VIEW
    shown = VIEW.sample(SAMPLE)
    assert isinstance(shown, Shown) and (shown.pixels == SAMPLE.arrays["image"]).all()
    maps = torch.zeros(1, 2, 2, 3)
    maps[0, 1] = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    sheet = VIEW.payload(Payload("features", "dense", {"features": maps}))
    # The strongest channel comes first; 5 is white; tiles are one pixel apart.
    assert isinstance(sheet, Shown) and sheet.pixels[:, :, 0].tolist() == [
        [0, 51, 102, 0, 0, 0, 0],
        [153, 204, 255, 0, 0, 0, 0],
    ]
    tokens = torch.zeros(1, 5, 2)
    tokens[0, 2] = torch.tensor([3.0, 4.0])  # the second patch, behind the class token
    sheet = VIEW.payload(Payload("features", "dense", {"features": tokens}))
    assert isinstance(sheet, Shown) and sheet.pixels[:, :, 0].tolist() == [[0, 255], [0, 0]]
    assert isinstance(VIEW.payload(Payload("result", "dense", {"logits": torch.zeros(1, 10)})), Text)
    rebuilt = VIEW.reconstruction({"image": np.array([[[0.5, 2.0, np.nan]]])})
    assert isinstance(rebuilt, Shown) and rebuilt.pixels.tolist() == [[[128, 255, 0]]]
