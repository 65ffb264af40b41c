"""Picture metrics against hand computation, and what a network or a crowd of candidates says of a reconstruction."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lab.metrics.base import Answer, Declarations, scorer
from lab.metrics.pictures import CAP_DB, PictureScorer, psnr, psnr_printed, ssim
from victims.base import Sample
from victims.image.preprocessing import pictures_of
from victims.image.victim import CIFAR_RESNET20
from wire.errors import InputError

RNG = np.random.default_rng(0)
RANDOM = {"victim": "cifar-resnet20", "weights": "random", "seed": 3}


def noise(side: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 (side, side, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def sample(image: np.ndarray, name: str = "one", **truth: int) -> Sample:
    return Sample(name, {"image": image}, {key: np.array(value) for key, value in truth.items()})


def test_psnr_by_hand() -> None:
    true, rebuilt = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)
    rebuilt[0, 0, 0] = 16  # 256 in squares, over 192 values
    assert psnr(true, rebuilt) == pytest.approx(10 * math.log10(65025 / (256 / 192)))
    assert psnr_printed(true, rebuilt) == pytest.approx(10 * math.log10(255 / (16 / 192)))
    assert psnr(true, true) == psnr_printed(true, true) == CAP_DB


def test_equal_pictures_lie_above_the_smallest_error_there_is() -> None:
    rebuilt = np.zeros((224, 224, 3), np.uint8)
    rebuilt[5, 5, 2] = 1
    assert 99 < psnr(np.zeros_like(rebuilt), rebuilt) < CAP_DB


def by_the_definition(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM as Wang et al. print it: every 11x11 window inside the picture, weighted by a Gaussian of deviation 1.5."""
    place = np.arange(-5, 6)
    row = np.exp(-(place**2) / (2 * 1.5**2))
    weight = np.outer(row, row) / np.outer(row, row).sum()
    total = []
    for channel in range(3):
        for y in range(a.shape[0] - 10):
            for x in range(a.shape[1] - 10):
                u, v = (p[y : y + 11, x : x + 11, channel].astype(float) / 255 for p in (a, b))
                mu, mv = (weight * u).sum(), (weight * v).sum()
                uu, vv = (weight * (u - mu) ** 2).sum(), (weight * (v - mv) ** 2).sum()
                uv = (weight * (u - mu) * (v - mv)).sum()
                c1, c2 = 0.01**2, 0.03**2
                total.append((2 * mu * mv + c1) * (2 * uv + c2) / ((mu**2 + mv**2 + c1) * (uu + vv + c2)))
    return float(np.mean(total))


def test_ssim_is_the_printed_definition() -> None:
    smooth = np.cumsum(np.ones((24, 20, 3)) * 9, axis=0).astype(np.uint8)
    worse = np.clip(smooth.astype(int) + np.random.default_rng(1).integers(-40, 40, smooth.shape), 0, 255)
    for other in (worse.astype(np.uint8), noise(32)[:24, :20]):
        assert ssim(smooth, other) == pytest.approx(by_the_definition(smooth, other), abs=1e-9)
    assert ssim(smooth, smooth) == pytest.approx(1)
    assert ssim(noise(8), noise(8)) is None


def test_a_reconstruction_is_found_again_faded_and_shifted_in_colour() -> None:
    pictures = [noise(seed=i) for i in range(6)]
    measure = PictureScorer()
    faded = (pictures[2] * 0.2 + np.array([90, 10, 60])).astype(np.uint8)
    assert measure.score(sample(pictures[2]), {"image": faded}, RNG).values["reid"] is None  # nobody was enrolled
    measure.enroll([sample(p) for p in [*pictures, pictures[2]]])  # one was streamed twice
    assert measure.score(sample(pictures[2]), {"image": faded}, RNG).values["reid"] == 1
    assert measure.score(sample(pictures[3]), {"image": faded}, RNG).values["reid"] == 0
    gray = np.full_like(faded, 128)
    assert [measure.score(sample(p), {"image": gray}, RNG).values["reid"] for p in pictures] == [0] * 6


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(2, 12))
def test_by_chance_one_in_n_is_found(seed: int, count: int) -> None:
    """Whatever is rebuilt, it can be the nearest to one candidate at most."""
    pictures = [noise(16, seed + i) for i in range(count)]
    measure = PictureScorer()
    measure.enroll([sample(p) for p in pictures])
    rebuilt = {"image": noise(16, seed + 99)}
    assert sum(measure.score(sample(p), rebuilt, RNG).values["reid"] or 0 for p in pictures) <= 1


def test_floats_are_clamped_and_rounded_as_they_are_shown() -> None:
    true = np.zeros((16, 16, 3), np.uint8)
    true[..., 0] = 255
    floats = np.zeros((16, 16, 3), np.float32)
    floats[..., 0], floats[..., 1], floats[0, 0, 2] = 1.7, -0.4, np.nan
    assert PictureScorer().score(sample(true), {"image": floats}, RNG).values["psnr"] == CAP_DB


def test_another_size_has_no_value_and_says_why() -> None:
    scored = PictureScorer().score(sample(noise(32)), {"image": noise(16)}, RNG)
    assert set(scored.values.values()) == {None}
    assert "16x16" in scored.notes[0]
    with pytest.raises(InputError, match=r"found \(3, 32, 32\)"):
        PictureScorer().score(sample(noise(32)), {"image": np.zeros((3, 32, 32))}, RNG)


def test_top_1_is_the_victims_own_opinion_of_both() -> None:
    measure = scorer("image", RANDOM)
    network = CIFAR_RESNET20.network(RANDOM)
    for seed in range(6):
        true, rebuilt = noise(seed=seed), noise(seed=seed + 50)
        with torch.no_grad():
            classes = network(CIFAR_RESNET20.preprocessing.normalised(pictures_of(np.stack([true, rebuilt])))).argmax(1)
        values = measure.score(sample(true), {"image": rebuilt}, RNG).values
        assert values["top1"] == float(classes[0] == classes[1])
    assert "top1" not in {m.name for m in scorer("image", {}).metrics}
    assert set(values) == {m.name for m in measure.metrics}
    assert Declarations.of(measure)["psnr"].unit == "dB"


def test_utility_counts_right_and_unchanged_answers() -> None:
    def logits(first: int) -> dict[str, np.ndarray]:
        return {"logits": np.eye(10, dtype=np.float32)[[first]]}

    true, found, undefended = (3, 5, 5, 1), (3, 5, 0, 2), (3, 4, 0, 1)
    answers = [
        Answer(sample(noise(), str(i), label=label), logits(a), logits(b), str(i))
        for i, (label, a, b) in enumerate(zip(true, found, undefended, strict=True))
    ]
    useful = PictureScorer().utility([*answers, Answer(sample(noise()), {"boxes": np.zeros((0, 4))})], 0)
    assert (useful["accuracy"].mean, useful["accuracy"].n) == (0.5, 4)
    assert (useful["agreement"].mean, useful["agreement"].n) == (0.5, 4)
    assert not PictureScorer().utility([Answer(sample(noise()), logits(1))], 0)


@pytest.fixture
def alexnet(tmp_path: Path) -> tuple[Path, Path, dict[str, torch.Tensor], list[torch.Tensor]]:
    """A random AlexNet with torchvision's names, and random linear weights with those of LPIPS."""
    generator = torch.Generator().manual_seed(1)
    shapes = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
    state = {f"features.{i}.weight": torch.randn(s, generator=generator) * 0.05 for i, s in shapes.items()}
    state |= {f"features.{i}.bias": torch.randn(s[0], generator=generator) * 0.05 for i, s in shapes.items()}
    linear = [torch.rand(s[0], generator=generator) for s in shapes.values()]
    save_file({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / "alexnet.safetensors")
    save_file(
        {f"lin{k}.model.1.weight": w.view(1, -1, 1, 1).clone() for k, w in enumerate(linear)},
        tmp_path / "alex.safetensors",
    )
    return tmp_path / "alexnet.safetensors", tmp_path / "alex.safetensors", state, linear


def test_lpips_is_its_formula(alexnet: tuple[Path, Path, dict[str, torch.Tensor], list[torch.Tensor]]) -> None:
    backbone, weights, state, linear = alexnet
    given = {"lpips": str(backbone), "lpips_linear": str(weights)}
    true, rebuilt = noise(64), noise(64, 1)
    measure = scorer("image", given)
    x = torch.from_numpy(np.stack([true, rebuilt])).permute(0, 3, 1, 2).double() / 127.5 - 1
    x = (x - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    expected = 0.0
    for level, (index, stride, padding) in enumerate(((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))):
        if level in (1, 2):
            x = torch.nn.functional.max_pool2d(x, 3, 2)
        w, b = state[f"features.{index}.weight"].double(), state[f"features.{index}.bias"].double()
        x = torch.nn.functional.conv2d(x, w, b, stride, padding).relu()
        unit = x / x.norm(dim=1, keepdim=True).clamp_min(1e-10)
        expected += float((linear[level].double().view(-1, 1, 1) * (unit[0] - unit[1]) ** 2).sum(0).mean())
    assert measure.score(sample(true), {"image": rebuilt}, RNG).values["lpips"] == pytest.approx(expected, rel=1e-4)
    assert measure.score(sample(true), {"image": true}, RNG).values["lpips"] == 0


def test_lpips_refuses_a_network_that_its_weights_are_not_for(
    alexnet: tuple[Path, Path, dict[str, torch.Tensor], list[torch.Tensor]], tmp_path: Path
) -> None:
    backbone, weights, state, _ = alexnet
    with pytest.raises(InputError, match="given together"):
        scorer("image", {"lpips": str(backbone)})
    del state["features.3.bias"]
    save_file(state, tmp_path / "cut.safetensors")
    measure = scorer("image", {"lpips": str(tmp_path / "cut.safetensors"), "lpips_linear": str(weights)})
    with pytest.raises(InputError, match=r"1 of 10 weights are missing .* features\.3\.bias"):
        measure.score(sample(noise()), {"image": noise(32, 1)}, RNG)
