"""The floor that learns nothing: where gradients are long, there is a surface.

A point that weighs nothing in its pixel has no gradient, so the mean norm of the gradients by place is a map of the
scene's surfaces. No network and no field is needed for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from attacker.attacks.base import Grants, Inverter, Needs, SessionInfo
from attacker.attacks.image.choices import number
from attacker.attacks.radiance.heard import HeardStep, View
from attacker.attacks.radiance.online import OnlineInverter, Pictured
from attacker.attacks.radiance.posing import AT_ONCE, samples_of
from attacker.attacks.radiance.settings import own, victims
from attacker.attacks.radiance.shelf import Shelf
from attacker.attacks.stateless import Untrained
from victims.base import State
from wire.payload import Meta

BRIGHT: Final = 0.99
"""This quantile of a picture is white."""


@dataclass(frozen=True)
class GradientNormsSettings:
    """cells: of the voxel grid, a side. keep_every: steps after which it is kept for a restart. views: of the victim's
    training, which this floor does not need."""

    cells: int = number(64, 4, 512)
    views: int = number(0, 0, 1_000_000)
    keep_every: int = number(100, 1, 1_000_000)

    PAPER: ClassVar[Mapping[str, Meta]] = {}


class NormMap:
    """The mean norm of all gradients by cell of the cube [-1, 1]: sums and counts float32 (cells ** 3,)."""

    def __init__(self, cells: int) -> None:
        self.cells = cells
        self.sums = torch.zeros(cells**3)
        self.counts = torch.zeros(cells**3)

    def add(self, positions: Tensor, norms: Tensor) -> None:
        """positions (N, 3), norms (N,)."""
        place = ((positions + 1) / 2 * self.cells).long().clamp_(0, self.cells - 1)
        flat = (place[:, 0] * self.cells + place[:, 1]) * self.cells + place[:, 2]
        self.sums.index_add_(0, flat, norms)
        self.counts.index_add_(0, flat, torch.ones_like(norms))

    def mean(self) -> Tensor:
        """(cells, cells, cells) by x, y, z; 0 where nothing was heard."""
        return (self.sums / self.counts.clamp(min=1)).view(self.cells, self.cells, self.cells)

    def at(self, mean: Tensor, positions: Tensor) -> Tensor:
        """``mean`` between the cells' middles, (N,) at positions (N, 3)."""
        grid = positions.flip(1).view(1, 1, 1, -1, 3)  # grid_sample counts the last axis first
        found = F.grid_sample(mean[None, None], grid, mode="bilinear", padding_mode="border", align_corners=False)
        return found.view(-1)


class _Norms:
    """A :class:`attacker.attacks.radiance.online.Listening`."""

    def __init__(self, cells: int, samples: int) -> None:
        self._map, self._samples = NormMap(cells), samples
        self._steps = 0

    def learn(self, heard: HeardStep) -> None:
        for points in heard.chunked(AT_ONCE):
            self._map.add(points.positions, points.gradients.norm(dim=-1).view(-1))
        self._steps += 1

    def picture(self, asked: View) -> Pictured:
        image, depth = shown(self._map, asked, self._samples)
        return Pictured({"image": image, "depth": depth}, {"learnt": self._steps})

    def state(self) -> State:
        return State({"sums": self._map.sums.clone(), "counts": self._map.counts.clone()}, {"steps": self._steps})

    def load(self, state: State) -> None:
        self._map.sums, self._map.counts = state.tensors["sums"].clone(), state.tensors["counts"].clone()
        self._steps = int(state.meta["steps"])  # type: ignore[arg-type]


def shown(norms: NormMap, camera: View, samples: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A grey image float32 (H, W, 3), the sum of the map along each pixel's ray, and the depth (H, W) of its middle."""
    height, width = camera.size
    mean = norms.mean()
    sums, middles = [], []
    for pixels in torch.split(torch.arange(height * width, dtype=torch.int32), max(1, AT_ONCE // samples)):
        positions, distances, _ = samples_of(camera, pixels, samples)
        found = norms.at(mean, positions).view(distances.shape)
        total = found.sum(1)
        sums.append(total)
        middles.append((found * distances).sum(1) / total.clamp(min=1e-30))
    grey = torch.cat(sums)
    white = float(torch.quantile(grey, BRIGHT))
    levels = (grey / white if white > 0 else torch.zeros_like(grey)).clamp(0, 1).view(height, width, 1)
    return levels.expand(-1, -1, 3).contiguous().numpy(), torch.cat(middles).view(height, width).numpy()


class GradientNorms(Untrained):
    """Needs the line and nothing else."""

    name = "gradient-norms"
    modality = "radiance"
    settings = GradientNormsSettings
    needs = Needs("wire", "none", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError, one line, where settings do not do."""
        settings = own(GradientNormsSettings, grants.settings, self.name)
        samples = victims(GradientNormsSettings, grants.settings, self.name).samples
        shelf = None if grants.work is None else Shelf(grants.work / session.session)
        return OnlineInverter(self.name, lambda: _Norms(settings.cells, samples), shelf, settings.keep_every)
