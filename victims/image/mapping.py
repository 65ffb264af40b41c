"""Published checkpoints, read without running code from them, with their keys turned into torchvision's names.

| checkpoint | inside | keys |
| --- | --- | --- |
| torchvision's ResNets and ViTs | the tensors themselves | as they are |
| CIFAR ResNets (akamaster/pytorch_resnet_cifar10) | under ``state_dict`` | ``module.`` dropped, ``linear`` is ``fc`` |
| FastestDet, ESPNet | the tensors themselves | as they are: our modules have the published names |
| CLIP (transformers) | ``model.safetensors`` of a folder | as they are, those of the image encoder only |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from victims.image.resnet import ResNet, cifar_resnet
from wire.errors import InputError


def checkpoint_file(path: Path) -> Path:
    """The file that ``path`` names: of a folder in transformers' layout its ``model.safetensors``; it may be absent."""
    return path / "model.safetensors" if path.is_dir() else path


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a torch checkpoint (``weights_only``), under torchvision's names.

    A folder in transformers' layout stands for its ``model.safetensors``. Floating-point tensors come as float32,
    BatchNorm's batch counters are left out. InputError where the file is not readable or holds no tensors.
    """
    path = checkpoint_file(path)
    if not path.is_file():
        raise InputError(f"weights {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            stored: object = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise InputError(f"weights {path}: not readable ({_first(error)})") from error
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, EOFError and others here
        raise InputError(f"weights {path}: not readable as a checkpoint of plain tensors ({_first(error)})") from error
    if isinstance(stored, Mapping):
        stored = next((stored[key] for key in ("state_dict", "model_state") if key in stored), stored)
    if not isinstance(stored, Mapping) or not stored or not all(isinstance(t, Tensor) for t in stored.values()):
        raise InputError(f"weights {path}: accepted is a mapping of names to tensors, plain or under state_dict")
    return {
        _named(name): tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in stored.items()
        if not name.endswith("num_batches_tracked")
    }


def _named(key: str) -> str:
    key = key.removeprefix("module.")
    return "fc." + key.removeprefix("linear.") if key.startswith("linear.") else key


def install(network: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Put ``state`` into ``network``; InputError counts and names what does not fit. origin: the file, for messages."""
    wanted = {k: v.shape for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    problems = [
        f"{len(keys)} {what} (first {keys[0]})"
        for what, keys in (
            ("missing", sorted(wanted.keys() - state.keys())),
            ("unexpected", sorted(state.keys() - wanted.keys())),
            ("of another shape", sorted(k for k in wanted.keys() & state.keys() if state[k].shape != wanted[k])),
            ("not finite", sorted(k for k in state if not bool(torch.isfinite(state[k]).all()))),
        )
        if keys
    ]
    if problems:
        raise InputError(f"{origin} does not fit {type(network).__name__}: {', '.join(problems)}")
    network.load_state_dict(dict(state), strict=False)  # only batch counters are absent


def published_cifar_resnet(path: Path) -> ResNet:
    """The CIFAR ResNet in ``path``, its depth taken from the number of its blocks; in eval mode."""
    state = read_checkpoint(path)
    blocks = len({key.split(".")[1] for key in state if key.startswith("layer1.")})
    if not blocks:
        raise InputError(f"weights {path}: no layer1 inside, so it is no CIFAR ResNet")
    network = cifar_resnet(6 * blocks + 2)
    install(network, state, f"weights {path}")
    return network.eval()


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
