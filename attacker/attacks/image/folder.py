"""Networks from a folder in the diffusers layout: safetensors only, from disk only, complete or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from attacker.attacks.image.quiet import quiet
from wire.errors import InputError

LAYOUT = "a folder in the diffusers layout with vae, unet, scheduler, text_encoder and tokenizer"


def config(folder: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    """The configuration of ``part`` (empty: the folder itself). InputError where it is missing or no JSON object."""
    path = folder / part / name
    if not path.is_file():
        raise InputError(f"{folder}: holds no {Path(part) / name}; accepted: {LAYOUT}")
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds a {type(found).__name__}; accepted: a JSON object")
    return found


def stored(folder: Path, part: str, kind: str) -> None:
    """InputError where ``part`` holds no safetensors at all. kind: class of the network that they are to be."""
    if not any((folder / part).glob("*.safetensors")):
        raise InputError(f"{folder / part}: not readable as {kind} (it holds no safetensors)")


def network(kind: Any, folder: Path, part: str, dtype: torch.dtype) -> nn.Module:
    """The network of class ``kind`` (of diffusers or transformers) in ``folder``/``part``: frozen, in eval mode.

    InputError where its weights are missing, incomplete, of other shapes than its configuration says, or not stored as
    safetensors (a pickle is never read).
    """
    library = kind.__module__.partition(".")[0]
    options: dict[str, Any] = {"torch_dtype": dtype, "low_cpu_mem_usage": False}
    if library == "transformers":
        options = {"dtype": dtype}
    try:
        with quiet():
            loaded, info = kind.from_pretrained(
                folder / part, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder / part}: not readable as {kind.__name__} ({first_line(error)})") from error
    if absent := sorted(info["missing_keys"]):
        raise InputError(f"{folder / part}: lacks {len(absent)} weights of {kind.__name__}, first {absent[0]}")
    if wrong := info.get("mismatched_keys"):
        raise InputError(f"{folder / part}: {len(wrong)} weights of other shapes than its config.json says")
    network: nn.Module = loaded
    return network.eval().requires_grad_(False)


def first_line(error: Exception) -> str:
    """What a library said, short enough for a line of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:160] if lines else type(error).__name__
