"""The layouts of split training and what makes a payload of them valid: what may cross, and nothing else.

No layout has room for a picture: rays name pixels by number, gradients have the shape of embeddings.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch

from victims.base import register_layout
from victims.radiance.camera import fault
from wire.errors import DecodeError
from wire.payload import Payload

RAYS: Final = "rays"
EMBEDDINGS: Final = "embeddings"
GRADIENTS: Final = "gradients"
ACKNOWLEDGEMENT: Final = "acknowledgement"

MOST_RAYS: Final = 1 << 16
"""Of one part."""
MOST_SAMPLES: Final = 1 << 12
MOST_PARTS: Final = 1 << 16
MOST_WIDTH: Final = 64
MOST_SIDE: Final = 1 << 14
FOCAL: Final = (1e-3, 1e6)
"""Pixels; the readers of scenes refuse by the same bounds what would be refused here."""
CENTRE: Final = (-1e6, 1e6)
"""Pixels."""
NEAR: Final = (0.0, 100.0)
"""Half sides of the box."""
STEEPEST: Final = 1e18
"""Gradients beyond this have no square in float32, which Adam needs."""

_PART: Final = ("step", "part", "parts")
_RAYS: Final = (*_PART, "train", "view", "size", "focal", "centre", "near", "box")
_FLOATS: Final = (torch.float32, torch.bfloat16)


def rays(payload: Payload) -> None:
    """pose float32 (3, 4), rigid; pixels int32 (R,), numbers inside the picture.

    meta: ``step``, ``part`` of ``parts``, ``train`` (false: gradients will not follow), ``view`` (the picture's
    number), ``size`` (height, width), ``focal`` and ``centre`` (x, y, pixels), ``near`` and ``box`` (in the unit of the
    pose, inside [-1, 1]). Raises DecodeError.
    """
    _names(payload, ("pose", "pixels"), _RAYS)
    pose, pixels = payload.tensors["pose"], payload.tensors["pixels"]
    _shaped(payload, "pose", (torch.float32,), (3, 4))
    wrong = fault(pose.double().numpy().astype(np.float64))
    if wrong:
        raise DecodeError(f"{RAYS}: the pose is no rigid transform: {wrong}")
    _counted(payload, "view", MOST_PARTS << 8)
    if type(payload.meta["train"]) is not bool:
        raise DecodeError(f"{RAYS}: meta train is {payload.meta['train']!r}; accepted: true, false")
    size = payload.meta["size"]
    if not (isinstance(size, tuple) and len(size) == 2 and all(type(v) is int and 0 < v <= MOST_SIDE for v in size)):
        raise DecodeError(f"{RAYS}: meta size is {size!r}; accepted: height and width, from 1 to {MOST_SIDE}")
    _numbers(payload, "focal", 2, *FOCAL)
    _numbers(payload, "centre", 2, *CENTRE)
    box = _numbers(payload, "box", 6, -1.001, 1.001)
    if any(low >= high for low, high in zip(box[:3], box[3:], strict=True)):
        raise DecodeError(f"{RAYS}: meta box is {box}; accepted: a lower corner below an upper corner")
    near = payload.meta["near"]
    if type(near) is not float or not NEAR[0] <= near <= NEAR[1]:
        raise DecodeError(f"{RAYS}: meta near is {near!r}; accepted: a number from {NEAR[0]:g} to {NEAR[1]:g}")
    if pixels.dtype != torch.int32 or pixels.ndim != 1 or not 0 < len(pixels) <= MOST_RAYS:
        raise DecodeError(
            f"{RAYS}: pixels is {pixels.dtype} {tuple(pixels.shape)}; "
            f"accepted: torch.int32 (R,), R from 1 to {MOST_RAYS}"
        )
    least, most, count = int(pixels.min()), int(pixels.max()), int(size[0]) * int(size[1])
    if least < 0 or most >= count:
        raise DecodeError(f"{RAYS}: pixels run from {least} to {most}; accepted: 0 to {count - 1}")


def embeddings(payload: Payload) -> None:
    """embeddings float32 or bfloat16 (R, S, E); distances float32 (R, S), not descending. meta: ``step``, ``part``,
    ``parts``. Raises DecodeError."""
    _names(payload, ("embeddings", "distances"), _PART)
    count, samples, _ = _points(payload, "embeddings")
    _shaped(payload, "distances", (torch.float32,), (count, samples))
    distances = payload.tensors["distances"]
    _finite(payload, "distances")
    if bool((distances[:, 1:] < distances[:, :-1]).any()):
        raise DecodeError(f"{EMBEDDINGS}: distances descend along a ray; accepted: ascending ones")


def gradients(payload: Payload) -> None:
    """gradients float32 or bfloat16 (R, S, E). meta: ``step``, ``part``, ``parts``. Raises DecodeError."""
    _names(payload, ("gradients",), _PART)
    _points(payload, "gradients")


def acknowledgement(payload: Payload) -> None:
    """No tensors. meta: ``step``, ``part``, ``parts`` as of the gradients that it answers. Raises DecodeError."""
    _names(payload, (), _PART)


def _names(payload: Payload, tensors: tuple[str, ...], meta: tuple[str, ...]) -> None:
    for what, found, accepted in (("tensors", payload.tensors, tensors), ("meta", payload.meta, meta)):
        if set(found) != set(accepted):
            raise DecodeError(
                f"{payload.layout}: {what} are {', '.join(sorted(found)) or 'none'}; "
                f"accepted: {', '.join(sorted(accepted)) or 'none'}"
            )
    _counted(payload, "step", 1 << 40)
    _counted(payload, "part", MOST_PARTS)
    _counted(payload, "parts", MOST_PARTS)
    if int(payload.meta["part"]) >= int(payload.meta["parts"]):  # type: ignore[arg-type]
        raise DecodeError(f"{payload.layout}: part {payload.meta['part']} of {payload.meta['parts']}")


def _counted(payload: Payload, key: str, most: int) -> None:
    value = payload.meta[key]
    if type(value) is not int or not 0 <= value <= most:
        raise DecodeError(f"{payload.layout}: meta {key} is {value!r}; accepted: a whole number from 0 to {most}")


def _numbers(payload: Payload, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
    value = payload.meta[key]
    right = isinstance(value, tuple) and len(value) == count
    if not right or not all(type(v) is float and low <= v <= high for v in value):  # type: ignore[union-attr]
        raise DecodeError(
            f"{payload.layout}: meta {key} is {value!r}; accepted: {count} numbers from {low:g} to {high:g}"
        )
    return tuple(float(v) for v in value)  # type: ignore[union-attr]


def _shaped(payload: Payload, name: str, dtypes: tuple[torch.dtype, ...], shape: tuple[int, ...]) -> None:
    tensor = payload.tensors[name]
    if tensor.dtype not in dtypes or tuple(tensor.shape) != shape:
        kinds = " or ".join(map(str, dtypes))
        raise DecodeError(
            f"{payload.layout}: {name} is {tensor.dtype} {tuple(tensor.shape)}; accepted: {kinds} {shape}"
        )


def _points(payload: Payload, name: str) -> tuple[int, int, int]:
    """The checked shape of a value per ray, sample and channel."""
    tensor = payload.tensors[name]
    shape, most = tuple(tensor.shape), (MOST_RAYS, MOST_SAMPLES, MOST_WIDTH)
    if tensor.dtype not in _FLOATS or len(shape) != 3 or not all(0 < s <= m for s, m in zip(shape, most, strict=True)):
        raise DecodeError(
            f"{payload.layout}: {name} is {tensor.dtype} {shape}; "
            f"accepted: torch.float32 or torch.bfloat16 (R, S, E), at most {most}"
        )
    _finite(payload, name)
    return shape[0], shape[1], shape[2]


def bounded(tensor: torch.Tensor) -> bool:
    """Whether every value is finite and below :data:`STEEPEST`. One pass: both extremes are NaN where any value is."""
    low, high = torch.aminmax(tensor)
    return float(low) > -STEEPEST and float(high) < STEEPEST


def _finite(payload: Payload, name: str) -> None:
    tensor = payload.tensors[name]
    if bounded(tensor):
        return
    broken = int((~(tensor.abs() < STEEPEST)).sum())
    raise DecodeError(
        f"{payload.layout}: {broken} of {tensor.numel()} values of {name} are not finite or beyond {STEEPEST:g}"
    )


register_layout(RAYS, rays)
register_layout(EMBEDDINGS, embeddings)
register_layout(GRADIENTS, gradients)
register_layout(ACKNOWLEDGEMENT, acknowledgement)
