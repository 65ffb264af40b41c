"""Weights on disk: safetensors files of ours, published OpenPCDet checkpoints, and what identifies both."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wire.errors import InputError

State = Mapping[str, Tensor]


class WeightsError(InputError):
    """The file does not hold weights that fit; the message says which and why."""


def digest(state: State) -> str:
    """SHA-256 (hex) over name, dtype, shape and little-endian bytes of every tensor, sorted by name."""
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def save(state: State, path: Path, *, half: bool = False) -> None:
    """Write ``state`` atomically; ``half`` stores floating-point tensors as float16.  WeightsError if not finite.

    BatchNorm's batch counters are left out: they say nothing once training is over.
    """
    kept = {}
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        tensor = tensor.detach().cpu()
        kept[name] = (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
    if broken := [name for name, tensor in kept.items() if not bool(torch.isfinite(tensor).all())]:
        raise WeightsError(f"{path}: not written, values not finite in {_some(broken)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    save_file(kept, temporary)
    os.replace(temporary, path)


def load(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, floating-point ones as float32."""
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: not readable as safetensors ({error})") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}


def load_openpcdet(path: Path) -> dict[str, Tensor]:
    """``model_state`` of an OpenPCDet checkpoint (.pth), read without running any code from it."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, OSError, EOFError, ... here
        raise WeightsError(f"{path}: not readable as a checkpoint of plain tensors ({_first_line(error)})") from error
    if not isinstance(stored, Mapping) or not isinstance(stored.get("model_state"), Mapping):
        raise WeightsError(f"{path}: no model_state inside, so it is no OpenPCDet checkpoint")
    state = {k: v for k, v in stored["model_state"].items() if isinstance(v, Tensor) and k != "global_step"}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def install(network: nn.Module, state: State, origin: str) -> None:
    """Put ``state`` into ``network``; WeightsError lists everything that does not fit.

    Sparse kernels in spconv 1.x layout (z, y, x, in, out) or in the layout (z, y, x, out, in) of early 2.x CPU
    versions are turned into (out, z, y, x, in).  origin: the file, for the message.
    """
    wanted = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    shapes = {name: tensor.shape for name, tensor in wanted.items()}
    axes = _kernel_axes(given, shapes)
    fitted = {name: _turned(tensor, axes) for name, tensor in given.items() if name in wanted}
    problems = []
    if missing := sorted(wanted.keys() - given.keys()):
        problems.append(f"missing {_some(missing)}")
    if unexpected := sorted(given.keys() - wanted.keys()):
        problems.append(f"unexpected {_some(unexpected)}")
    if wrong := [
        f"{name} {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in fitted.items()
        if tensor.shape != wanted[name].shape
    ]:
        problems.append(f"shapes differ: {_some(wrong)}")
    if broken := [name for name, tensor in fitted.items() if not bool(torch.isfinite(tensor).all())]:
        problems.append(f"values not finite in {_some(broken)}")
    if problems:
        raise WeightsError(f"{origin} does not fit {type(network).__name__}: {'; '.join(problems)}")
    network.load_state_dict(fitted, strict=False)  # only batch counters are absent


# Orders of axes that turn older spconv kernels into (out, z, y, x, in).
_OLDER_LAYOUTS = ((4, 0, 1, 2, 3), (3, 0, 1, 2, 4))


def _kernel_axes(given: State, shapes: Mapping[str, torch.Size]) -> tuple[int, ...] | None:
    """The order of axes that makes every sparse kernel fit; None when they fit as they are, or never.

    Decided on all kernels at once: one with as many inputs as outputs fits under both orders.
    """
    kernels = [(tensor, shapes[name]) for name, tensor in given.items() if tensor.ndim == 5 and name in shapes]
    if all(tensor.shape == shape for tensor, shape in kernels):
        return None
    for order in _OLDER_LAYOUTS:
        if all(tensor.permute(order).shape == shape for tensor, shape in kernels):
            return order
    return None


def _turned(tensor: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    return tensor.permute(axes).contiguous() if axes is not None and tensor.ndim == 5 else tensor


def _some(items: list[str], limit: int = 6) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
