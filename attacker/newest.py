"""The newest frame that was captured, for whoever wants to look at what crossed the wire."""

from __future__ import annotations

import threading

import numpy as np
import torch

from attacker.attacks.base import CapturedFrame
from wire.arrays import pack
from wire.payload import Meta, Payload


class NewestFrame:
    """Thread-safe; holds one frame, so that looking never costs more memory than one exchange."""

    def __init__(self) -> None:
        self.count = 0  # grows by one with each captured frame
        self._frame: CapturedFrame | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: CapturedFrame) -> None:
        """This frame is the newest now."""
        with self._changed:
            self.count += 1
            self._frame = frame
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more comes: whoever waits is answered now."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def after(self, count: int, wait_s: float) -> tuple[int, CapturedFrame] | None:
        """The newest frame and its count if that is above ``count``; waits up to ``wait_s`` seconds for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self.count > count, timeout=wait_s)
            return (self.count, self._frame) if self._frame is not None and self.count > count else None


def packed_payload(frame: CapturedFrame) -> bytes | None:
    """The first payload of the last turn that left the edge, as :func:`wire.arrays.pack` bytes; None without one.

    Meta: ``session``, ``frame``, ``role``, ``layout``, ``bytes``, and what travelled with it under ``meta.KEY``.
    """
    up = [part for part in frame.parts if part.direction == "up"]
    if not up:
        return None
    payload = max(up, key=lambda part: (part.turn, -part.part)).payload
    meta: dict[str, Meta] = {
        "session": frame.session,
        "frame": frame.frame,
        "role": payload.role,
        "layout": payload.layout,
        "bytes": sum(part.payload.nbytes for part in up),
        **{f"meta.{key}": value for key, value in payload.meta.items()},
    }
    return pack(_arrays(payload), meta)


def _arrays(payload: Payload) -> dict[str, np.ndarray]:
    """Tensors as NumPy knows them; bfloat16, which it does not, as float32."""
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().cpu().numpy()
        for name, tensor in payload.tensors.items()
    }
