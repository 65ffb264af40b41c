"""Named arrays and a little meta in one block of bytes: safetensors, with the meta as JSON in its metadata."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from wire.errors import DecodeError, InputError
from wire.payload import Meta

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)


def pack(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Meta]) -> bytes:
    """Serialise. arrays: name -> array of any shape, dtype one of :data:`DTYPES`; meta: JSON-able, tuples as lists.

    Raises InputError naming the array or key that cannot be stored.
    """
    ready: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        value = np.asarray(array)
        if value.dtype.name not in DTYPES:
            raise InputError(f"array {name!r} has dtype {value.dtype}; accepted: {', '.join(DTYPES)}")
        # the writer stores memory as it lies: own the layout and the byte order (ascontiguousarray would make 0-d 1-d)
        ready[name] = np.array(value, dtype=value.dtype.newbyteorder("<"), order="C", copy=None)
    try:
        text = json.dumps({"order": list(arrays), "meta": dict(meta)})
    except (TypeError, ValueError) as error:
        raise InputError(f"meta cannot be stored: {error}") from error
    return safetensors.numpy.save(ready, metadata={"eavesplit": text})


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Meta]]:
    """The inverse of :func:`pack`: arrays in their first order, lists in meta as tuples. Raises DecodeError."""
    try:
        loaded = safetensors.numpy.load(data)
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        extra = json.loads(header["__metadata__"]["eavesplit"])
        order, meta = extra["order"], extra["meta"]
        arrays = {name: loaded[name] for name in order}
        if len(arrays) != len(loaded) or not isinstance(meta, dict):
            raise ValueError("the list of names does not match the arrays")
    except (SafetensorError, ValueError, KeyError, TypeError, struct.error, RecursionError) as error:
        raise DecodeError(f"{len(data)} bytes are no packed arrays: {error}") from error
    return arrays, {key: tuple(v) if isinstance(v, list) else v for key, v in meta.items()}
