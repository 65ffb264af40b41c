"""A random share of the channels is left out of every frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from defenses.base import Calibration, Protected, Turn
from defenses.calibrate import active, calibrate_rms
from defenses.settings import Settings
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample


class ChannelDropout:
    """``round(share x channels)`` channels are zero, drawn anew for every frame; at least one stays.

    Channels are the second dimension of feature maps (B, C, H, W) and the last one of everything else: tokens
    (B, T, D), vectors (B, K), sparse sites (N, C). Every set of that size is equally likely.

    Settings: ``share`` 0..1 (default 0.25; 0 lets the very payloads pass) and ``rescale`` (default true): what stays is
    multiplied by channels / kept, so that the mean of what leaves is what came (Srivastava et al. 2014). No guarantee:
    a listener sees which channels are missing, and over the frames of a still scene it sees them all.
    """

    name = "channel_dropout"
    roles = frozenset({"features"})

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        """Raises InputError for a setting that is unknown or out of range."""
        read = Settings(self.name, settings)
        self.share = read.number("share", 0.25, 0.0, 1.0)
        self._rescale = read.flag("rescale", True)
        read.done()

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """The units that a defense which follows may count in; it needs none itself."""
        return calibrate_rms(clean, self.roles)

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample as it is."""
        return sample

    def mechanism(self) -> None:
        """None: nothing is promised."""
        return

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """Zero channels of every part of role ``features``, drawing for each tensor in order.

        Record: ``channels``, ``dropped`` (of all tensors together), ``bytes``. Raises InputError for a layout it does
        not know.
        """
        leaving, channels, dropped = [], 0, 0
        for payload in parts:
            if payload.role in self.roles and self.share > 0.0:
                tensors = dict(payload.tensors)
                for name in active(payload):
                    tensor = tensors[name].detach()
                    axis = 1 if tensor.dim() == 4 else tensor.dim() - 1
                    count = tensor.shape[axis]
                    out = _dropped(self.share, count)
                    tensors[name] = self._without(tensor, axis, turn.rng.permutation(count)[:out])
                    channels, dropped = channels + count, dropped + out
                payload = Payload(payload.role, payload.layout, tensors, payload.meta)
            leaving.append(payload)
        size = sum(payload.nbytes for payload in leaving)
        return Protected(leaving, {"channels": channels, "dropped": dropped, "bytes": size})

    def _without(self, tensor: torch.Tensor, axis: int, gone: np.ndarray) -> torch.Tensor:
        count = tensor.shape[axis]
        scaled = tensor * (count / (count - len(gone))) if self._rescale and len(gone) else tensor
        return scaled.index_fill(axis, torch.from_numpy(gone).to(tensor.device), 0.0)


def _dropped(share: float, channels: int) -> int:
    return max(0, min(channels - 1, round(share * channels)))
