"""The training of the small victims: killed and resumed it is the same; what it does to pictures and rates, by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from victims.base import weights_folder
from victims.image.augmentation import flipped_and_shifted
from victims.image.cifar import FILES, read
from victims.image.mapping import read_checkpoint
from victims.image.preprocessing import pictures_of
from victims.image.publishing import Top1, stored, top1, train_and_publish
from victims.image.training import RECIPES, ImageTraining, rate_at, train
from victims.image.vit import cifar_vit
from victims.registry import victim
from wire.errors import InputError

RNG = np.random.default_rng(6)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("jpeg-train", "jpeg-test", "lossless", "lossless-test"):
        images, labels = RNG.integers(0, 256, (16, 32, 32, 3), np.uint8), RNG.integers(0, 10, 16)
        np.savez(folder / FILES[name], images=images, labels=labels)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "epochs", "cut"), [("cifar-resnet20", 2, 3), ("cifar-resnet20-contrastive", 2, 3), ("cifar-vit", 5, 3)]
)
def test_a_resumed_training_is_the_uninterrupted_one(
    name: str, epochs: int, cut: int, data: str, tmp_path: Path
) -> None:
    settings = ImageTraining(name, data, epochs=epochs, batch=8)
    whole = train(tmp_path / "whole", settings)
    assert train(tmp_path / "parts", settings, until=cut) is None  # in the middle of an epoch
    parts = train(tmp_path / "parts", settings)
    assert whole is not None and parts is not None
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, parts.network.state_dict()[key]), key
    assert [(r.epoch, r.loss, r.right) for r in whole.curve] == [(r.epoch, r.loss, r.right) for r in parts.curve]
    assert [r.epoch for r in whole.curve] == list(range(1, epochs + 1))
    with pytest.raises(
        InputError, match=r"cifar-.+\.ckpt: is of a training with .+ seed=0 .+; these settings are .+ seed=1 "
    ):
        train(tmp_path / "parts", replace(settings, seed=1))


def test_contrastive_features_never_see_a_label(data: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("jpeg-train",):
        with np.load(Path(data) / FILES[name]) as held:
            np.savez(other / FILES[name], images=held["images"], labels=(held["labels"] + 3) % 10)
    settings = ImageTraining("cifar-resnet20-contrastive", data, epochs=2, batch=8)
    ours = train(tmp_path / "ours", settings)
    theirs = train(tmp_path / "theirs", replace(settings, data=str(other)))
    assert ours is not None and theirs is not None
    changed = {k for k, v in ours.network.state_dict().items() if not torch.equal(v, theirs.network.state_dict()[k])}
    assert changed == {"fc.weight", "fc.bias"}
    begun = victim("cifar-resnet20").network({"weights": "random", "seed": 0})  # type: ignore[attr-defined]
    assert not torch.equal(begun.conv1.weight, ours.network.conv1.weight)  # and yet they learnt


def test_what_is_published_is_what_was_measured(data: str, tmp_path: Path) -> None:
    settings = ImageTraining("cifar-resnet20", data, epochs=1, batch=8)
    card = train_and_publish(tmp_path, settings)
    weights = card.with_suffix(".safetensors")
    assert weights == tmp_path / "weights" / "cifar-resnet20.safetensors"
    network = victim("cifar-resnet20").network({"weights": str(weights)})  # type: ignore[attr-defined]
    pictures = read(Path(data), "jpeg-test")
    score = top1(network, pictures_of(pictures.images), torch.from_numpy(pictures.labels))
    text = card.read_text()
    assert f"| `jpeg-test` | of the test split, through JPEG | 16 | {100 * score.right / 16:.1f} |" in text
    assert "--set victim=cifar-resnet20 --set data=FOLDER --seed 0 --set epochs=1 --set batch=8`" in text
    assert data not in text


def test_stored_weights_keep_statistics_whole() -> None:
    state = {
        "k": torch.tensor([[1 / 3]]),
        "bn.running_var": torch.tensor([1e-9]),
        "bn.num_batches_tracked": torch.tensor(3),
    }
    kept = stored(state)
    assert set(kept) == {"k", "bn.running_var"} and kept["k"].dtype == torch.float16
    assert float(kept["bn.running_var"]) == pytest.approx(1e-9)  # float16 has no such number


def test_every_augmented_picture_is_a_crop_of_the_padded_one() -> None:
    pictures = torch.from_numpy(RNG.integers(1, 256, (40, 3, 8, 8), np.uint8))
    changed = flipped_and_shifted(pictures, torch.Generator().manual_seed(0), shift=2).numpy()
    seen = set()
    for before, after in zip(pictures.numpy(), changed, strict=True):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)))
        crops = {
            (y, x, f): padded[:, y : y + 8, x : x + 8][:, :, ::f] for y in range(5) for x in range(5) for f in (1, -1)
        }
        (found,) = [where for where, crop in crops.items() if (crop == after).all()]
        seen.add(found)
    assert len({y for y, _, _ in seen}) == len({x for _, x, _ in seen}) == 5 and len({f for _, _, f in seen}) == 2


def test_a_glimpse_of_all_patches_is_the_whole_picture() -> None:
    torch.manual_seed(0)
    network, x = cifar_vit(width=16, depth=2).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        # Attention does not know an order: all patches, shuffled, give the same answer.
        torch.testing.assert_close(network.glimpse(x, 1.0, torch.Generator()), network(x), atol=1e-5, rtol=1e-4)
        half = network.glimpse(x, 0.5, torch.Generator())
    assert half.shape == (2, 10) and not torch.allclose(half, network(x), atol=1e-3)


def test_the_rate_by_hand() -> None:
    assert rate_at(0, 100, 2.0) == pytest.approx(0.2) and rate_at(20, 100, 2.0) == pytest.approx(2.0)
    assert rate_at(10, 100, 2.0) == pytest.approx(1.1) and rate_at(60, 100, 2.0) == pytest.approx(1.0)
    assert 0 < rate_at(99, 100, 2.0) < 0.001


def test_an_interval_of_a_share() -> None:
    # z^2 = 3.8415: (.5 + .1921) / 1.3841 = .5, and 1.96 * sqrt(.025 + .0096) / 1.3841 = .2634.
    assert Top1(5, 10).interval() == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_settings_that_cannot_be(data: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        ImageTraining("resnet50")
    assert str(caught.value) == f"image training: victim 'resnet50'; accepted: {', '.join(RECIPES)}"
    with pytest.raises(
        InputError, match=r"^image training: batch 1, epochs 0, pictures 0; accepted: a batch of at least 2"
    ):
        ImageTraining(batch=1)
    with pytest.raises(
        InputError, match=r"^image training needs pictures: set data to a folder with the CIFAR-10 array"
    ):
        train(tmp_path, ImageTraining())
    with pytest.raises(InputError, match=r"^image training: batch 128 of 16 pictures; accepted: no more$"):
        train(tmp_path, ImageTraining(data=data))


@pytest.mark.real
@pytest.mark.parametrize("name", ["cifar-resnet20", "cifar-vit"])
def test_the_shipped_victims_recognise_as_their_cards_say(name: str, real_data: Path) -> None:
    weights = weights_folder() / f"{name}.safetensors"
    network = victim(name).network({"weights": "shipped"})  # type: ignore[attr-defined]
    assert set(read_checkpoint(weights)) == {k for k in network.state_dict() if not k.endswith("num_batches_tracked")}
    pictures = read(real_data / "images", "jpeg-test", 500)
    score = top1(network, pictures_of(pictures.images), torch.from_numpy(pictures.labels))
    row = next(line for line in weights.with_suffix(".md").read_text().splitlines() if line.startswith("| `jpeg-test`"))
    stated = float(row.split("|")[4])
    low, high = score.interval()
    assert 100 * low - 1 < stated < 100 * high + 1
