"""The two layouts of the LiDAR modality and what makes a payload of them valid."""

from __future__ import annotations

import torch

from victims.base import register_layout
from wire.errors import DecodeError
from wire.payload import Payload

SPARSE_VOXELS = "sparse_voxels"
DETECTIONS = "detections"

MAX_DETECTIONS = 10_000
"""More boxes than any decoder of ours gives; a reply that claims more is refused."""


def _tensor(payload: Payload, name: str, dtype: torch.dtype, columns: int | None) -> torch.Tensor:
    tensor = payload.tensors.get(name)
    if tensor is None:
        raise DecodeError(f"{payload.layout}: tensor {name!r} is missing; got {', '.join(payload.tensors) or 'none'}")
    shape = tuple(tensor.shape)
    dims = 1 if columns is None else 2
    if tensor.dtype != dtype or len(shape) != dims or (columns and columns > 0 and shape[1] != columns):
        want = {None: "(N,)", -1: "(N, C)"}.get(columns, f"(N, {columns})")
        raise DecodeError(f"{payload.layout}: {name} is {tensor.dtype} {shape}; accepted: {dtype} {want}")
    return tensor


def _finite(payload: Payload, name: str, tensor: torch.Tensor) -> None:
    broken = int((~torch.isfinite(tensor)).sum())
    if broken:
        raise DecodeError(f"{payload.layout}: {broken} of {tensor.numel()} values of {name} are not finite")


def _triple(payload: Payload, key: str) -> tuple[int, int, int]:
    value = payload.meta.get(key)
    if not (isinstance(value, tuple) and len(value) == 3 and all(type(v) is int and 0 < v < 1 << 20 for v in value)):
        raise DecodeError(f"{payload.layout}: meta {key} is {value!r}; accepted: three whole numbers from 1 to 2^20-1")
    z, y, x = value
    return int(z), int(y), int(x)


def sparse_voxels(payload: Payload) -> None:
    """coords int32 (N, 4) of batch, z, y, x, strictly ascending and inside the grid; features float32 (N, C), finite.

    meta: ``grid`` and ``stride`` (z, y, x), ``range`` (x0, y0, z0, x1, y1, z1 in metres), ``voxel`` (z, y, x sizes in
    metres). N may be 0. Raises DecodeError.
    """
    if set(payload.tensors) != {"coords", "features"}:
        raise DecodeError(f"{SPARSE_VOXELS}: tensors are {', '.join(payload.tensors)}; accepted: coords, features")
    coords = _tensor(payload, "coords", torch.int32, 4)
    features = _tensor(payload, "features", torch.float32, -1)
    if len(coords) != len(features):
        raise DecodeError(f"{SPARSE_VOXELS}: {len(coords)} coords but {len(features)} features")
    z, y, x = _triple(payload, "grid")
    _triple(payload, "stride")
    for key, count in (("range", 6), ("voxel", 3)):
        value = payload.meta.get(key)
        if not (isinstance(value, tuple) and len(value) == count and all(abs(float(v)) < 1e6 for v in value)):
            raise DecodeError(f"{SPARSE_VOXELS}: meta {key} is {value!r}; accepted: {count} numbers in metres")
    if len(coords) == 0:
        return
    limit = torch.tensor([1 << 16, z, y, x], dtype=torch.int32)
    if bool((coords < 0).any()) or bool((coords >= limit).any()):
        raise DecodeError(f"{SPARSE_VOXELS}: a site lies outside the grid {(z, y, x)}")
    b, cz, cy, cx = coords.long().unbind(1)
    key_ = ((b * z + cz) * y + cy) * x + cx
    if not bool((key_[1:] > key_[:-1]).all()):
        raise DecodeError(f"{SPARSE_VOXELS}: sites repeat or are not in the order batch, z, y, x")
    _finite(payload, "features", features)


def detections(payload: Payload) -> None:
    """boxes float32 (K, 7), scores float32 (K,), labels int64 (K,): 0 car, 1 pedestrian, 2 cyclist. DecodeError."""
    boxes = _tensor(payload, "boxes", torch.float32, 7)
    scores = _tensor(payload, "scores", torch.float32, None)
    labels = _tensor(payload, "labels", torch.int64, None)
    if not len(boxes) == len(scores) == len(labels) <= MAX_DETECTIONS:
        counts = f"{len(boxes)} boxes, {len(scores)} scores, {len(labels)} labels"
        raise DecodeError(f"{DETECTIONS}: {counts}; accepted: as many of each, at most {MAX_DETECTIONS}")
    _finite(payload, "boxes", boxes)
    _finite(payload, "scores", scores)


register_layout(SPARSE_VOXELS, sparse_voxels)
register_layout(DETECTIONS, detections)
