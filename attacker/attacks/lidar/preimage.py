"""The floor that reads the site list to its end: all voxels that are consistent with it.

A voxel can be occupied only if every site whose window holds it is active, level by level down to the voxels. This is
the largest input with the transmitted sites; the true one lies inside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.lidar.sites import DOWNSAMPLINGS, Ints, consistent, unkey
from attacker.attacks.lidar.transmitted import Transmitted, level_name, transmitted
from attacker.attacks.stateless import Stateless, Untrained
from wire.errors import InputError
from wire.payload import Meta
from wire.seeds import generator

LIMIT = 1_000_000
"""More voxels than this are returned as a sample of this many."""


def preimage(heard: Transmitted) -> tuple[Ints, dict[str, Meta]]:
    """All voxels consistent with the transmitted sites: keys in level 0's grid, and the count per level."""
    coords, counts = heard.coords, dict[str, Meta]()
    flat = np.zeros(0, np.int64)
    for level in range(heard.depth - 1, -1, -1):
        shape = heard.levels[level].shape
        flat = consistent(coords, DOWNSAMPLINGS[level], shape)
        if level == 0:  # the voxel grid has a layer above the range, where no point can fall
            flat = flat[flat < heard.cells[0] * shape[1] * shape[2]]
        else:
            coords = unkey(np.sort(flat), shape)
        counts[f"candidates_{level_name(level)}"] = len(flat)
    return flat, counts


class _Inverter(Stateless):
    def __init__(self, attack: str, limit: int, seed: int) -> None:
        self._attack, self._limit, self._seed = attack, limit, seed

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        out = []
        for frame in frames:
            heard = transmitted(frame)
            flat, counts = preimage(heard)
            sampled = len(flat) > self._limit
            meta: dict[str, Meta] = {"voxels": len(flat), "sampled": sampled, **counts}
            if sampled:
                rng = generator(self._seed, "attack.preimage", 0, frame.frame)
                flat = flat[rng.choice(len(flat), self._limit, replace=False)]
            points = heard.points(unkey(np.sort(flat), heard.levels[0].shape))
            meta["points"] = len(points)
            out.append(Reconstruction(frame.session, (frame.frame,), self._attack, {"points": points}, meta))
        return out


class Preimage(Untrained):
    """Every voxel consistent with the active sites; above ``limit`` voxels a seeded sample, and meta says so."""

    name = "preimage"
    modality = "lidar"
    needs = Needs("wire", "none")

    def __init__(self, limit: int = LIMIT) -> None:
        self.limit = limit

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter for any LiDAR split point. ``grants.settings``: ``seed`` of the sample, a whole number >= 0."""
        seed = grants.settings.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"attack setting seed is {seed!r}; accepted: a whole number from 0")
        return _Inverter(self.name, self.limit, seed)
