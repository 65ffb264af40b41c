"""Detectors, segmenter and CLIP: against transformers, hand computation, and the shapes that their papers state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.studies.image_files import weights_of
from tests.contract.victim import check_victim
from victims.base import Sample
from victims.image.clip import ClipImageEncoder, image_encoder_keys, text_encoder
from victims.image.detections import fastestdet_boxes, suppressed, yolo_boxes
from victims.image.espnet import ESPNet, ESPNetC
from victims.image.fastestdet import ShuffleBlock, fastestdet
from victims.image.mapping import install, read_checkpoint
from victims.image.pictures import fitted, squeezed
from victims.image.preprocessing import CITYSCAPES_BGR, CLIP, PLAIN_BGR, pictures_of
from victims.image.published import CLIP_VIT_B_32, ESPNET_512, FASTESTDET, YOLO_V2
from victims.image.split import Split, where
from victims.image.victim import ImageVictim
from victims.image.yolo import ANCHORS, YoloV2
from wire.errors import InputError

RNG = np.random.default_rng(4)
RANDOM = {"weights": "random", "seed": 1}


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("chosen", "split", "names"),
    [
        (FASTESTDET, "backbone.stage2.1", {"boxes", "scores", "classes"}),
        (ESPNET_512, "level3_0", {"class_map"}),
    ],
)
def test_the_contract(chosen: ImageVictim, split: str, names: set[str]) -> None:
    outcome, _ = check_victim(chosen, split, RANDOM, Sample("noise", {"image": noise(*chosen.size)}))
    assert set(outcome.arrays) == names


@pytest.mark.parametrize("chosen", [FASTESTDET, ESPNET_512, YOLO_V2, CLIP_VIT_B_32])
def test_every_offered_split_point_is_a_cut(chosen: ImageVictim) -> None:
    with torch.device("meta"):  # no need to fill the weights
        possible = set(where(chosen.build()))
    assert {chosen.layers.get(name, name) for name in chosen.splits} <= possible


def test_gradients_reach_the_pixels_through_preprocessing_and_head() -> None:
    head = Split(ESPNET_512.network(RANDOM), "b2").head
    pixels = pictures_of(noise(32, 64)[None]).requires_grad_()
    head(ESPNET_512.preprocessing.normalised(pixels)).square().sum().backward()
    assert pixels.grad is not None and bool((pixels.grad.abs().sum((2, 3)) > 0).all())


# --- preprocessing ---


def test_preprocessing_as_the_authors_write_it() -> None:
    image = noise(4, 6)
    bgr = image[:, :, ::-1].astype(np.float64)
    given_to_espnet = (bgr - [72.3923, 82.9089, 73.1584]) / [45.3192, 46.1529, 44.9148] / 255
    ours = CITYSCAPES_BGR.normalised(pictures_of(image[None]))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(ours, given_to_espnet, atol=1e-6)
    np.testing.assert_allclose(
        PLAIN_BGR.normalised(pictures_of(image[None]))[0, 0].numpy() * 255, image[:, :, 2], atol=1e-4
    )


def test_pictures_are_cut_or_squeezed_to_any_shape() -> None:
    image = noise(20, 24)
    assert (fitted(image, (20, 12)) == image[:, 6:18]).all() and (fitted(image, (6, 24)) == image[7:13]).all()
    assert fitted(image, (9, 5)).shape == (9, 5, 3)
    halves = np.zeros((8, 16, 3), np.uint8)
    halves[:, 8:] = 200
    narrow = squeezed(halves, (4, 4))
    assert (narrow[:, 0] < 30).all() and (
        narrow[:, 3] > 170
    ).all()  # both ends are there; the filter overshoots a little
    assert squeezed(halves, (8, 16)) is halves


def test_an_attack_on_squares_is_told_of_another_shape() -> None:
    assert FASTESTDET.side == 352
    with pytest.raises(InputError, match=r"^espnet-512 looks at 512x256 pictures; accepted here: a victim of squares$"):
        _ = ESPNET_512.side


# --- detections ---


def test_a_cell_of_fastestdet_by_hand() -> None:
    grid = np.zeros((1, 85, 22, 22), np.float32)
    grid[0, 0, 5, 3], grid[0, 5 + 14, 5, 3] = 0.9, 0.8
    grid[0, 1:5, 5, 3] = [np.arctanh(0.5), 0.0, 0.0, np.log(3)]  # tanh .5 and 0; sigmoid .5 and .75
    found = fastestdet_boxes({"logits": grid})
    x, y = 3.5 / 22, 5 / 22
    np.testing.assert_allclose(found["boxes"], [[0, 0, x + 0.25, y + 0.375]], atol=1e-6)  # left and top end at the edge
    np.testing.assert_allclose(found["scores"], [0.9**0.6 * 0.8**0.4], rtol=1e-6)
    assert found["classes"].tolist() == [14]


def test_a_cell_of_yolo_by_hand() -> None:
    grid = np.full((1, 5, 85, 13, 13), -9.0, np.float32)
    grid[0, 2, :4, 6, 4] = [0.0, 0.0, 0.0, np.log(0.5)]
    grid[0, 2, 4, 6, 4], grid[0, 2, 5 + 7, 6, 4] = np.log(9), 9.0
    found = yolo_boxes({"logits": grid.reshape(1, -1, 13, 13)})
    width, height = ANCHORS[2][0] / 13, ANCHORS[2][1] / 26
    x, y = 4.5 / 13, 6.5 / 13
    np.testing.assert_allclose(
        found["boxes"], [[x - width / 2, y - height / 2, x + width / 2, y + height / 2]], atol=1e-6
    )
    np.testing.assert_allclose(found["scores"], [0.9 / (1 + 79 * np.exp(-18))], rtol=1e-5)
    assert found["classes"].tolist() == [7]


def test_suppression_by_hand() -> None:
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1.8], [0, 0, 2, 0.8], [0, 0, 2, 2]], float)
    scores, classes = np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 1, 2])
    assert suppressed(boxes, scores, classes).tolist() == [
        0,
        2,
        3,
    ]  # IoU .9 of one class goes; .4, and another class, stay


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_what_suppression_leaves_does_not_overlap_and_covers_the_rest(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.random((count, 2))
    boxes = np.concatenate([low, low + rng.random((count, 2))], 1)
    scores, classes = rng.random(count), rng.integers(0, 2, count)
    kept = suppressed(boxes, scores, classes)

    def overlap(a: np.ndarray, b: np.ndarray) -> float:
        shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
        return float(shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared))

    assert sorted(kept, key=lambda i: -scores[i]) == kept.tolist()
    for i in range(count):
        better = [k for k in kept if k != i and classes[k] == classes[i] and scores[k] > scores[i]]
        covered = any(overlap(boxes[k], boxes[i]) > 0.45 for k in better)
        assert covered != (i in kept)


# --- networks ---


def test_sizes_and_shapes_as_published() -> None:
    detector = fastestdet().eval()
    assert round(sum(p.numel() for p in detector.parameters()) / 1e6, 2) == 0.24
    with torch.inference_mode():
        answer = detector(torch.rand(1, 3, 352, 352))
        assert answer.shape == (1, 85, 22, 22)
        np.testing.assert_allclose(answer[:, 5:].sum(1), 1, atol=1e-5)
        assert ESPNetC().eval()(torch.zeros(1, 3, 64, 128)).shape == (1, 20, 8, 16)
        assert ESPNet().eval()(torch.zeros(1, 3, 64, 128)).shape == (1, 20, 64, 128)
        tiny = YoloV2((1, 1, 1, 1), classes=3, width=8).eval()
        assert tiny(torch.zeros(1, 3, 96, 64)).shape == (1, 5 * 8, 3, 2)


def test_a_shuffle_passes_even_channels_and_works_on_odd_ones() -> None:
    block, x = ShuffleBlock(8, 16, 1).eval(), torch.rand(1, 16, 4, 4)
    block.branch_main = nn.Identity()
    out = block(x)
    assert torch.equal(out[:, :8], x[:, [0, 2, 4, 6, 8, 10, 12, 14]]) and torch.equal(out[:, 8:], x[:, 1::2])


# --- CLIP ---

SIZES = {"width": 32, "depth": 3, "heads": 4, "hidden": 48, "embedding": 20}


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole CLIP model of random weights as transformers stores it."""
    from transformers import CLIPConfig, CLIPModel

    common = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "projection_dim": 20,
    }
    config = CLIPConfig(
        text_config={**common, "vocab_size": 50, "max_position_embeddings": 12},
        vision_config={**common, "image_size": 32, "patch_size": 8},
        projection_dim=20,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    model = CLIPModel(config)
    for parameter in model.parameters():  # fresh ones are too small to tell layers apart
        nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder


def test_clip_gives_what_transformers_gives_at_every_layer(clip_folder: Path) -> None:
    from transformers import CLIPVisionModelWithProjection

    theirs = CLIPVisionModelWithProjection.from_pretrained(clip_folder).eval()
    ours = ClipImageEncoder(32, 8, **SIZES).eval()
    install(ours, image_encoder_keys(read_checkpoint(clip_folder)), "clip")
    x = CLIP.normalised(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        wanted = theirs(x, output_hidden_states=True)
        for layer in range(3):
            split = Split(ours, f"vision_model.encoder.layers.{layer}")
            torch.testing.assert_close(split.head(x), wanted.hidden_states[layer + 1], atol=1e-5, rtol=1e-4)
        end = Split(ours, "visual_projection")
        torch.testing.assert_close(end.head(x), wanted.image_embeds, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(end(x).norm(dim=1), torch.ones(2))


def test_a_study_takes_a_clip_folder_and_grants_its_tensors_alone(clip_folder: Path, tmp_path: Path) -> None:
    tiny = ImageVictim(
        "tiny-clip", lambda: ClipImageEncoder(32, 8, **SIZES), (32, 32), ("visual_projection",), keys=image_encoder_keys
    )
    file = weights_of({"weights": str(clip_folder)}, tiny)
    assert file == clip_folder / "model.safetensors"  # not the text encoder's folder: a listener could read all of it
    digests = {tiny.cut("visual_projection", {"weights": str(path)}).weights_sha256 for path in (file, clip_folder)}
    assert len(digests) == 1
    with pytest.raises(InputError) as caught:
        weights_of({"weights": str(tmp_path)}, tiny)
    assert str(caught.value) == (
        f"--set weights={tmp_path}: holds no model.safetensors; accepted: a checkpoint, a folder of transformers, "
        "shipped or random"
    )


def test_the_text_encoder_where_the_folder_has_one(clip_folder: Path, tmp_path: Path) -> None:
    embedding = text_encoder(clip_folder)(torch.tensor([[0, 5, 49]])).text_embeds
    assert embedding.shape == (1, 20)
    with pytest.raises(InputError, match=r": holds no config\.json; accepted: a folder of a whole CLIP model$"):
        text_encoder(tmp_path)
    with pytest.raises(InputError, match=r"model\.safetensors: no such file$"):
        CLIP_VIT_B_32.network({"weights": str(tmp_path)})


def test_only_yolos_trunk_has_torchvisions_names() -> None:
    with torch.device("meta"):
        names = {key for key in YOLO_V2.build().state_dict() if not key.endswith("num_batches_tracked")}
    assert {"layer2.0.downsample.0.weight", "layer4.2.bn3.bias", "head.0.weight", "detect.bias"} <= names
    assert not any(name.startswith("fc.") for name in names)
    # 48 convolutions in blocks of three: L12 to L48 end blocks 4, 8, 12, 16, as in ResNet-50.
    assert [YOLO_V2.points.index(YOLO_V2.layers[name]) + 1 for name in ("L12", "L24", "L36", "L48")] == [4, 8, 12, 16]
