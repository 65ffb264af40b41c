"""Gaussian noise on active sites and on a share of the empty ones.

Source: "distributed" in ConcreTizer (arXiv 2503.06986), figure 8. The paper noises the whole grid. At the first split
point that is 11.8 million sites of 32 channels (1.5 GB a frame), so here a stated share ``fill`` of the empty sites is
drawn anew for every frame; ``fill`` 1 is the paper's.
"""

from __future__ import annotations

import numpy as np
import torch

from defenses.empty_sites import cells, distinct, sites, skip
from defenses.feature_centric import FeatureCentric, gaussian
from defenses.settings import Settings
from wire.errors import InputError
from wire.payload import Payload

MAX_PAYLOAD_BYTES = 256 * 1024 * 1024
"""A payload that the filling would make larger is refused before anything is allocated."""


class Distributed(FeatureCentric):
    """``feature_centric``, and n ~ N(0, sigma^2) on ``round(fill x empty)`` empty sites, which thereby become active.

    Settings: ``strength`` 0..10 (default 1; 0 adds neither noise nor sites) and ``fill`` 0..1 (default 0.05).
    Layout: ``sparse_voxels`` only, since a dense tensor has no empty sites. Empty sites are those of the grid, for
    every batch number up to the highest one present (one batch where there is no site), drawn without repetition from
    this frame's stream and merged in the order batch, z, y, x.
    Energy added: sigma^2 x (active + filled) x channels: more than ``feature_centric`` at the same strength, so compare
    at equal strength and at equal energy. Bytes added: filled x (16 + 4 x channels).
    A filled site carries sigma's energy only, so a listener that thresholds energy finds the true sites again where
    sigma is small. No guarantee: :meth:`mechanism` is None.
    """

    name = "distributed"
    fill: float

    def _read(self, settings: Settings) -> None:
        self.fill = settings.number("fill", 0.05, 0.0, 1.0)

    def _noised(self, payload: Payload, sigma: float, rng: np.random.Generator) -> tuple[Payload, int, int]:
        """As the base class; sites and values include the filled. Raises InputError for a payload above the cap."""
        grid = self._grid(payload)
        coords = payload.tensors["coords"].detach().cpu().numpy()
        clean = payload.tensors["features"]
        channels = clean.shape[1]
        batches = int(coords[:, 0].max()) + 1 if len(coords) else 1
        empty = batches * grid[0] * grid[1] * grid[2] - len(coords)
        filled = round(self.fill * empty)
        size = (len(coords) + filled) * (16 + clean.element_size() * channels)
        if size > MAX_PAYLOAD_BYTES:
            raise InputError(
                f"defense {self.name}: fill {self.fill:g} adds {filled} sites of {channels} channels and makes a "
                f"payload of {size / 2**20:.0f} MiB; accepted: up to {MAX_PAYLOAD_BYTES / 2**20:.0f} MiB; lower fill"
            )

        noised, _, _ = super()._noised(payload, sigma, rng)
        taken = cells(coords, grid)
        added = skip(distinct(rng, empty, filled), taken)
        noise = gaussian(rng, (filled, channels), sigma).to(device=clean.device, dtype=clean.dtype)
        order = np.argsort(np.concatenate((taken, added)), kind="stable")
        merged = np.concatenate((coords, sites(added, grid)))[order]
        values = torch.cat((noised.tensors["features"], noise))[torch.from_numpy(order).to(clean.device)]
        tensors = dict(payload.tensors)
        tensors["coords"] = torch.from_numpy(merged).to(payload.tensors["coords"].device)
        tensors["features"] = values
        return Payload(payload.role, payload.layout, tensors, payload.meta), len(merged), values.numel()

    def _grid(self, payload: Payload) -> tuple[int, int, int]:
        if payload.layout != "sparse_voxels":
            raise InputError(f"defense {self.name}: payload layout {payload.layout!r}; accepted: sparse_voxels")
        grid = payload.meta.get("grid")
        if not isinstance(grid, tuple) or len(grid) != 3:
            raise InputError(f"defense {self.name}: meta grid is {grid!r}; accepted: three whole numbers z, y, x")
        return int(grid[0]), int(grid[1]), int(grid[2])
