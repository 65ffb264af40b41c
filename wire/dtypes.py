"""Tensors as bytes and back, without a copy where memory allows it."""

from __future__ import annotations

import math

import numpy as np
import torch

from wire.errors import DecodeError, InputError
from wire.pb import frame_pb2 as pb

ALIGN = 64
"""Tensors begin at multiples of this: a cache line, and the widest vector load of common processors."""

CODES: dict[torch.dtype, int] = {
    torch.float32: pb.F32,
    torch.float16: pb.F16,
    torch.bfloat16: pb.BF16,
    torch.int32: pb.I32,
    torch.int16: pb.I16,
    torch.uint8: pb.U8,
    torch.int64: pb.I64,
    torch.int8: pb.I8,
    torch.float64: pb.F64,
    torch.bool: pb.BOOL,
}
"""torch dtype -> ``DType`` of ``proto/frame.proto``."""

DTYPES: dict[int, torch.dtype] = {code: dtype for dtype, code in CODES.items()}
"""``DType`` -> torch dtype."""


def aligned(offset: int) -> int:
    """``offset`` rounded up to a multiple of :data:`ALIGN`."""
    return -(-offset // ALIGN) * ALIGN


def code(name: str, tensor: torch.Tensor) -> int:
    """The ``DType`` of a tensor. InputError names the tensor, its dtype and those that travel."""
    found = CODES.get(tensor.dtype)
    if found is None:
        accepted = ", ".join(str(dtype).removeprefix("torch.") for dtype in CODES)
        raise InputError(f"tensor {name!r} has dtype {tensor.dtype}; accepted: {accepted}")
    return found


def to_bytes(tensor: torch.Tensor) -> memoryview:
    """The elements in row-major order. A view of the tensor's memory; a copy where it is strided or not on the CPU."""
    if tensor.numel() == 0:
        return memoryview(b"")  # an empty array has no memory that could be cast
    whole = tensor.detach().cpu().contiguous()
    flat = whole.as_strided((whole.numel(),), (1,))  # a single element counts as contiguous with any stride
    return memoryview(flat.view(torch.uint8).numpy().data)  # bf16 has no numpy dtype, bytes have


def buffer(nbytes: int) -> np.ndarray:
    """Uninitialised uint8 (nbytes,) that begins at a multiple of :data:`ALIGN`."""
    raw = np.empty(nbytes + ALIGN, np.uint8)
    shift = -raw.ctypes.data % ALIGN
    return raw[shift : shift + nbytes]


def from_bytes(data: np.ndarray, dtype: torch.dtype, shape: tuple[int, ...], offset: int) -> torch.Tensor:
    """A view of ``data`` (uint8, writable) as a tensor: ``shape`` elements from byte ``offset`` on.

    DecodeError for a bool tensor with bytes other than 0 and 1, which torch would read as it pleases.
    """
    count = math.prod(shape)
    if count == 0:
        return torch.empty(shape, dtype=dtype)
    flat = data[offset : offset + count * dtype.itemsize]
    if dtype is torch.bool and int(flat.max()) > 1:
        raise DecodeError(f"bool tensor of shape {shape} holds the byte {int(flat.max())}; accepted: 0, 1")
    return torch.from_numpy(flat).view(dtype).reshape(shape)
