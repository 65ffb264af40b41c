"""What an attacker asks the query oracle, and what it is told: samples in, payloads out, as bytes. Sans-I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from wire import arrays
from wire.errors import DecodeError
from wire.payload import Meta, Payload

PATH = "/query"
SPENT = "queries are answered; accepted: no more than"
"""What an oracle that has given all its answers says of itself."""

MAX_QUERY_BYTES = 16 << 20
"""A picture of two megapixels with room to spare, a scan of a million points."""


def ask(sample: Mapping[str, np.ndarray]) -> bytes:
    """A sample's input arrays as a question. InputError names an array that cannot travel."""
    return arrays.pack(sample, {})


def asked(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of :func:`ask`. Raises DecodeError."""
    found, _ = arrays.unpack(data)
    if not found:
        raise DecodeError("a question without arrays; accepted: a sample's inputs")
    return found


def answer(parts: Sequence[Payload]) -> bytes:
    """What would have left the edge: every part's tensors, role, layout and meta."""
    tensors: dict[str, np.ndarray] = {}
    meta: dict[str, Meta] = {"parts": len(parts)}
    for number, part in enumerate(parts):
        tensors |= {f"{number}/{name}": tensor.detach().cpu().numpy() for name, tensor in part.tensors.items()}
        meta |= {f"{number}/role": part.role, f"{number}/layout": part.layout}
        meta |= {f"{number}/meta/{key}": value for key, value in part.meta.items()}
    return arrays.pack(tensors, meta)


def answered(data: bytes) -> tuple[Payload, ...]:
    """The inverse of :func:`answer`. Raises DecodeError."""
    found, meta = arrays.unpack(data)
    count = meta.get("parts")
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= len(meta):
        raise DecodeError(f"an answer of {count!r} parts; accepted: a whole number")
    payloads = []
    for number in range(count):
        own = f"{number}/"
        tensors = {k.removeprefix(own): torch.from_numpy(a) for k, a in found.items() if k.startswith(own)}
        facts = {k.removeprefix(f"{own}meta/"): v for k, v in meta.items() if k.startswith(f"{own}meta/")}
        try:
            payloads.append(Payload(str(meta[f"{own}role"]), str(meta[f"{own}layout"]), tensors, facts))
        except (KeyError, ValueError) as error:
            raise DecodeError(f"part {number} of an answer: {error}") from error
    return tuple(payloads)
