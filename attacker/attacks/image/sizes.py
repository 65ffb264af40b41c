"""The size of the picture that features come from: it travels with them."""

from __future__ import annotations

from attacker.attacks.base import CapturedFrame
from wire.errors import InputError


def side_of(frame: CapturedFrame) -> int:
    """Side of the square picture, in pixels. InputError names a frame without features, or of another shape."""
    payloads = frame.payloads("up", "features")
    if len(payloads) != 1:
        raise InputError(f"frame {frame.frame}: {len(payloads)} payloads of features; accepted: 1")
    size = payloads[0].meta.get("input")
    if not (isinstance(size, tuple) and len(size) == 2 and size[0] == size[1] and isinstance(size[0], int)):
        raise InputError(f"frame {frame.frame}: of a picture {size}; accepted: height and width, equal")
    return size[0]
