"""Folders that are no prior: each one clear line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from attacker.attacks.image.autoencoder import load_autoencoder
from attacker.attacks.image.prior import load_prior
from wire.errors import InputError

Broken = Callable[..., Path]


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_prior(folder, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_no_folder(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert refusal(gone) == f"prior {gone}: no such folder; accepted: a folder in the diffusers layout"


def test_no_scheduler(broken: Broken) -> None:
    folder = broken()
    (folder / "scheduler" / "scheduler_config.json").unlink()
    assert refusal(folder) == (
        f"{folder}: holds no scheduler/scheduler_config.json; accepted: a folder in the diffusers layout with vae, "
        "unet, scheduler, text_encoder and tokenizer"
    )


def test_no_tokenizer(broken: Broken) -> None:
    folder = broken()
    for path in (folder / "tokenizer").iterdir():
        path.unlink()
    (folder / "tokenizer").rmdir()
    assert refusal(folder) == f"{folder}: holds no tokenizer; accepted: a folder in the diffusers layout"


def test_a_tokenizer_that_contradicts_itself(broken: Broken) -> None:
    folder = broken()
    path = folder / "tokenizer" / "tokenizer.json"
    told = json.loads(path.read_text())
    told["model"]["merges"].append(["a", "zebra"])
    path.write_text(json.dumps(told))
    assert re.match(re.escape(f"{folder / 'tokenizer'}: not readable as a CLIP tokenizer ("), refusal(folder))


def test_other_latents(broken: Broken) -> None:
    folder = broken()
    edit(folder / "unet" / "config.json", in_channels=8)
    assert refusal(folder) == f"{folder}: its U-Net takes latents of 8 channels, its autoencoder makes 4"


def test_another_latent_size(tiny_folder: Path) -> None:
    wanted = f"{tiny_folder}: makes pictures of at most 32x32 pixels; asked for 64x64"
    assert refusal(tiny_folder, side=64) == wanted


def test_other_text(broken: Broken) -> None:
    folder = broken()
    edit(folder / "text_encoder" / "config.json", hidden_size=48)
    assert refusal(folder) == f"{folder}: its U-Net takes text of width 64, its text encoder gives 48"


def test_other_prediction(broken: Broken) -> None:
    folder = broken()
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type="flow")
    assert refusal(folder) == f"{folder}: its scheduler predicts 'flow'; accepted: epsilon, v_prediction"


def test_a_unet_that_wants_more_than_text(broken: Broken) -> None:
    folder = broken()
    edit(folder / "unet" / "config.json", addition_embed_type="text_time")
    wanted = f"{folder}: its U-Net wants 'text_time' beside the text; accepted: U-Nets that take text alone"
    assert refusal(folder) == wanted


def test_configuration_that_is_no_json(broken: Broken) -> None:
    folder = broken()
    (folder / "unet" / "config.json").write_text("{")
    assert refusal(folder).startswith(f"{folder / 'unet' / 'config.json'}: not readable as JSON (")
    (folder / "unet" / "config.json").write_text("[]")
    assert refusal(folder) == f"{folder / 'unet' / 'config.json'}: holds a list; accepted: a JSON object"


def test_a_missing_weight_is_not_made_up(broken: Broken) -> None:
    folder = broken()
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.bias"]
    save_file(tensors, path)
    assert refusal(folder) == f"{folder / 'unet'}: lacks 1 weights of UNet2DConditionModel, first conv_in.bias"


def test_weights_of_another_shape_or_none_or_garbage(broken: Broken) -> None:
    folder = broken()
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "conv_in.bias": tensors["conv_in.bias"][:3].clone()}, path)
    start = re.escape(f"{folder / 'unet'}: ")
    assert re.match(start + "(not readable as UNet2DConditionModel|1 weights of other shapes)", refusal(folder))
    path.write_bytes(b"garbage")
    assert re.match(start + r"not readable as UNet2DConditionModel \(.+\)$", refusal(folder))
    path.unlink()
    assert re.match(start + r"not readable as UNet2DConditionModel \(.+\)$", refusal(folder))


def test_a_pickle_is_never_read(broken: Broken) -> None:
    folder = broken()
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")
    assert refusal(folder).startswith(f"{folder / 'unet'}: not readable as UNet2DConditionModel (")


def test_an_autoencoder_of_another_class(broken: Broken) -> None:
    folder = broken()
    edit(folder / "vae" / "config.json", _class_name="VQModel")
    wanted = f"{folder / 'vae' / 'config.json'}: class 'VQModel'; accepted: AutoencoderTiny, AutoencoderKL"
    assert refusal(folder) == wanted


def test_sides_that_an_autoencoder_cannot_take(tiny_folder: Path) -> None:
    import torch

    autoencoder = load_autoencoder(tiny_folder / "vae")
    with pytest.raises(InputError) as caught:
        autoencoder.encode(torch.zeros(1, 3, 32, 33))
    assert str(caught.value) == (
        "a picture of 33x32 pixels does not fit the autoencoder; accepted: sides that are multiples of 2"
    )
