"""The sparse layers in plain torch: sorted keys, one matrix product per kernel tap.  Slow, obvious, independent."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

Zyx = tuple[int, int, int]


def _keys(coords: Tensor, shape: Zyx) -> Tensor:
    b, z, y, x = coords.long().unbind(1)
    return ((b * shape[0] + z) * shape[1] + y) * shape[2] + x


def _taps(kernel: Zyx) -> list[Zyx]:
    return list(itertools.product(*(range(k) for k in kernel)))


def convolve(
    features: Tensor, coords: Tensor, shape: Zyx, weight: Tensor, out_coords: Tensor, stride: Zyx, padding: Zyx
) -> Tensor:
    """Features at ``out_coords``: sum over taps k of weight[:, k] @ features at out * stride - padding + k."""
    order = torch.argsort(_keys(coords, shape))
    keys = _keys(coords, shape)[order]
    result = features.new_zeros(len(out_coords), weight.shape[0])
    for tap in _taps(tuple(weight.shape[1:4])):
        source = out_coords.long().clone()
        source[:, 1:] = source[:, 1:] * torch.tensor(stride) - torch.tensor(padding) + torch.tensor(tap)
        inside = ((source[:, 1:] >= 0) & (source[:, 1:] < torch.tensor(shape))).all(1)
        wanted = _keys(source, shape)
        at = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        present = inside & (keys[at] == wanted)
        result[present] += features[order[at[present]]] @ weight[:, tap[0], tap[1], tap[2]].T
    return result


def strided_sites(coords: Tensor, shape: Zyx, kernel: Zyx, stride: Zyx, padding: Zyx) -> tuple[Tensor, Zyx]:
    """Canonical output sites of a strided convolution, found by brute force over windows, and their grid."""
    out_shape = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape, kernel, stride, padding, strict=True))
    found = []
    for tap in _taps(kernel):
        shifted = coords.long().clone()
        shifted[:, 1:] += torch.tensor(padding) - torch.tensor(tap)
        exact = (shifted[:, 1:] % torch.tensor(stride) == 0).all(1)
        shifted[:, 1:] //= torch.tensor(stride)
        inside = ((shifted[:, 1:] >= 0) & (shifted[:, 1:] < torch.tensor(out_shape))).all(1)
        found.append(shifted[exact & inside])
    return torch.unique(torch.cat(found), dim=0).int(), out_shape


LAYERS: list[tuple[str, str | None, Zyx, Zyx]] = [
    ("conv_input.{}", None, (1, 1, 1), (1, 1, 1)),
    ("conv1.0.{}", None, (1, 1, 1), (1, 1, 1)),
    ("conv2.0.{}", "conv2.0", (2, 2, 2), (1, 1, 1)),
    ("conv2.1.{}", None, (1, 1, 1), (1, 1, 1)),
    ("conv2.2.{}", "conv2", (1, 1, 1), (1, 1, 1)),
    ("conv3.0.{}", "conv3.0", (2, 2, 2), (1, 1, 1)),
    ("conv3.1.{}", None, (1, 1, 1), (1, 1, 1)),
    ("conv3.2.{}", "conv3", (1, 1, 1), (1, 1, 1)),
    ("conv4.0.{}", "conv4.0", (2, 2, 2), (0, 1, 1)),
    ("conv4.1.{}", None, (1, 1, 1), (1, 1, 1)),
    ("conv4.2.{}", "conv4", (1, 1, 1), (1, 1, 1)),
    ("conv_out.{}", "conv_out", (2, 1, 1), (0, 0, 0)),
]


def backbone(
    state: dict[str, Tensor], features: Tensor, coords: Tensor, shape: Zyx
) -> dict[str, tuple[Tensor, Tensor]]:
    """(coords, features) at every split point of an OpenPCDet VoxelBackBone8x in eval mode."""
    taps = {}
    for pattern, name, stride, padding in LAYERS:
        weight = state[pattern.format("0.weight")] if pattern.format("0.weight") in state else state[pattern.format(0)]
        kernel = tuple(weight.shape[1:4])
        if name is None or not (name.endswith(".0") or name == "conv_out"):
            out_coords, out_shape = coords, shape
        else:
            out_coords, out_shape = strided_sites(coords, shape, kernel, stride, padding)
        features = convolve(features, coords, shape, weight, out_coords, stride, padding)
        norm = {k: state[pattern.format(f"1.{k}")] for k in ("weight", "bias", "running_mean", "running_var")}
        scale = norm["weight"] / torch.sqrt(norm["running_var"] + 1e-3)
        features = torch.relu((features - norm["running_mean"]) * scale + norm["bias"])
        coords, shape = out_coords, out_shape
        if name is not None:
            taps[name] = (coords, features)
    return taps
