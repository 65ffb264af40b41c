"""The size of the picture that features come from: it travels with them."""

from __future__ import annotations

from attacker.attacks.base import CapturedFrame
from wire.errors import InputError


def size_of(frame: CapturedFrame) -> tuple[int, int]:
    """Height and width of the picture, in pixels. InputError names a frame without features, or whose size is none."""
    payloads = frame.payloads("up", "features")
    if len(payloads) != 1:
        raise InputError(f"frame {frame.frame}: {len(payloads)} payloads of features; accepted: 1")
    size = payloads[0].meta.get("input")
    if not (isinstance(size, tuple) and len(size) == 2 and all(isinstance(side, int) and side > 0 for side in size)):
        raise InputError(f"frame {frame.frame}: of a picture {size}; accepted: height and width in pixels")
    return int(size[0]), int(size[1])
