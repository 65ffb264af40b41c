"""A folder as Stable Diffusion's are, but tiny and of random weights: whichever size a victim looks at."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.attacks.image.prior import Prior, load_prior, normalise
from attacker.attacks.image.quiet import quiet
from attacker.registry import attack
from victims.base import Sample
from victims.image.victim import OwnNetwork, own_victim
from victims.registry import VICTIMS
from wire.errors import InputError

TRAINED, FACTOR, LENGTH = 64, 8, 77
START, END = "<|startoftext|>", "<|endoftext|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Factor 8, latents of 64, PNDM, noise prediction, no text beside the cross attention."""
    made = tmp_path_factory.mktemp("prior") / "sd"
    torch.manual_seed(2)
    with quiet():
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 4, 8),
            norm_num_groups=2,
        ).save_pretrained(made / "vae")
        UNet2DConditionModel(
            sample_size=TRAINED,
            block_out_channels=(8, 8, 8, 8),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
        ).save_pretrained(made / "unet")
        PNDMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            skip_prk_steps=True,
            set_alpha_to_one=False,
            steps_offset=1,
        ).save_pretrained(made / "scheduler")
    words = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    vocabulary = {word: i for i, word in enumerate([*words, "ca", "cat</w>", START, END])}
    tokenizer = made / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
    (tokenizer / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
    told = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH}
    told |= {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    (tokenizer / "tokenizer_config.json").write_text(json.dumps(told))
    _write_text_encoder(made / "text_encoder", vocabulary)
    parts = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel", "scheduler": "PNDMScheduler"}
    index = {"_class_name": "StableDiffusionPipeline", **{part: ["diffusers", kind] for part, kind in parts.items()}}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    (made / "model_index.json").write_text(json.dumps(index))
    return made


def _write_text_encoder(folder: Path, vocabulary: dict[str, int]) -> None:
    """With the names of the published files, which transformers itself no longer writes."""
    config = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, projection_dim=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=LENGTH, bos_token_id=vocabulary[START],
        eos_token_id=vocabulary[END], pad_token_id=vocabulary[END],
    )  # fmt: skip
    with quiet():
        CLIPTextModel(config).save_pretrained(folder)
    path = folder / "model.safetensors"
    tensors = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(path).items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(LENGTH)[None]
    save_file(tensors, path, metadata={"format": "pt"})


def by_hand(prior: Prior, noise: Tensor, text: Tensor, steps: int) -> Tensor:
    """DDIM, equation 12 of Song et al. with sigma 0, on the noise levels of Stable Diffusion; the U-Net says noise."""
    kept = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    x, stride = noise, 1000 // steps
    for time in [stride * i + 1 for i in reversed(range(steps))]:
        said = prior.unet(x, time, text, return_dict=False)[0]
        a = kept[time]
        b = kept[time - stride] if time >= stride else kept[0]
        x = b**0.5 * (x - (1 - a) ** 0.5 * said) / a**0.5 + (1 - b) ** 0.5 * said
    return x


@pytest.mark.parametrize("steps", [1, 4])
def test_sampling_is_ddim_whatever_scheduler_the_folder_names(folder: Path, steps: int) -> None:
    prior = load_prior(folder, side=64, dtype=torch.float64)
    noise, text = prior.noise(2, 3), prior.embed(["a cat", "a dog"])
    assert noise.shape == (2, 4, 8, 8) and text.shape == (2, LENGTH, 16)
    with torch.no_grad():
        found, again = (prior.sample(noise, text, steps=steps) for _ in range(2))
        wanted = by_hand(prior, noise, text, steps)
    assert torch.equal(found, again)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [64, 72, 224])
def test_pictures_and_gradients_at_sides_that_halve_evenly_and_not(folder: Path, side: int) -> None:
    """72 has latents of 9, then 5, 3 and 2; 224, which torchvision's networks look at, 28, 14, 7 and 4."""
    prior = load_prior(folder, side=side, dtype=torch.float64)
    noise = prior.noise(1, 5).requires_grad_()
    made = prior.generate(normalise(noise), steps=2)
    assert made.shape == (1, 3, side, side)
    weights = torch.randn(made.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((made * weights).sum(), noise)
    assert bool((gradient != 0).all())  # the rim too
    way = prior.noise(1, 6)
    with torch.no_grad():
        sides = [(prior.generate(normalise(noise + h * way), steps=2) * weights).sum() for h in (1e-6, -1e-6)]
    assert float((gradient * way).sum()) == pytest.approx(float(sides[0] - sides[1]) / 2e-6, rel=1e-4)


def test_the_same_networks_at_another_side(folder: Path) -> None:
    large = load_prior(folder)
    assert (large.side, large.latent) == (512, (4, 64, 64))
    small = large.at(64)
    alone = load_prior(folder, side=64)
    assert (small.side, small.latent) == (alone.side, alone.latent) == (64, (4, 8, 8))
    with torch.no_grad():
        assert torch.equal(small.generate(small.noise(1, 0), steps=1), alone.generate(alone.noise(1, 0), steps=1))
    assert small.digest() == large.digest()


def test_sides_that_it_does_not_make(folder: Path) -> None:
    for side, why in (
        (100, "makes pictures whose side is a multiple of 8 pixels; asked for 100x100"),
        (520, "makes pictures of at most 512x512 pixels; asked for 520x520"),
    ):
        with pytest.raises(InputError) as caught:
            load_prior(folder, side=side)
        assert str(caught.value) == f"{folder}: {why}"


def test_a_step_more_than_there_are_levels_is_refused(folder: Path) -> None:
    """Its first level is left out, as its configuration says (``steps_offset``)."""
    prior = load_prior(folder, side=8)
    with torch.no_grad(), pytest.raises(InputError, match=r"^1000 sampling steps; sd accepts 1 to 999$"):
        prior.sample(prior.noise(1, 0), steps=1000)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> OwnNetwork:
    torch.manual_seed(3)
    made = own_victim("photographs", nn.Sequential(nn.Conv2d(3, 6, 5, 4, 2), nn.ReLU(), nn.Conv2d(6, 2, 3)), 64)
    monkeypatch.setitem(sys.modules, "photographs", SimpleNamespace(VICTIM=made))
    monkeypatch.setitem(VICTIMS, "photographs", "photographs:VICTIM")
    return made


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("diffusion", {"iterations": 4, "steps": 2, "polish": 2, "prompt": "a cat"}),
        ("decoder", {"iterations": 8}),
        ("prior-sample", {"steps": 2}),
    ],
)
def test_attacks_rebuild_pictures_of_the_victims_size(
    folder: Path, network: OwnNetwork, name: str, settings: dict[str, object]
) -> None:
    secret = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    sample = Sample("one", {"image": secret})
    (payload,) = next(network.cut("1", {}).head().exchange(sample))
    frame = CapturedFrame("5e55", 0, 0, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])
    told = {"seed": 0, **settings} | ({} if name == "prior-sample" else {"weights": "random"})
    session = SessionInfo("5e55", "photographs", "1", "", ("dense",))
    (made,) = attack(name).open(session, Grants({"prior": folder}, settings=told)).observe([frame])
    assert made.arrays["image"].shape == (64, 64, 3)
    if "curve" in made.arrays:
        feature = made.arrays["curve"][:, 1]
        assert feature[-1] < feature[0]
