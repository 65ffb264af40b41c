"""The radiance field's network and the three places where it is cut.

The network is the published code's (S2NeRF, after torch-ngp): hash grid; density 2L -> 64 (ReLU) -> 16, of which the
first is the logarithm of the density and fifteen go on; colour 16 + 15 -> 64 -> 64 -> 3 with the view direction in
spherical harmonics. No layer has a bias. The view direction never enters the cloud's part.

=========  ==========================  ==============================  ==========
cut        in the cloud                on the edge                     crosses
=========  ==========================  ==============================  ==========
``mid``    grid, first density layer   second density layer, colour    64 values
``grid``   grid                        both density layers, colour     2L values
``light``  grid, density layers        colour                          16 values
=========  ==========================  ==============================  ==========

``light`` is ours: the paper's light version is not described in what we have. It leaves the least work to the edge and
gives the most away: the first of the values that cross *is* the density, so the cloud holds the shape of the scene
without any attack, and only its colours are left to guess.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from victims.radiance.hash_grid import HashGrid
from victims.radiance.settings import Training
from victims.radiance.spherical_harmonics import COMPONENTS, spherical_harmonics
from wire.errors import InputError

WIDTH: Final = 64
GEOMETRY: Final = 15
STEEPEST: Final = 15.0

SPLITS: Final = ("mid", "grid", "light")


def check_split(split: str) -> None:
    """InputError for a cut that does not exist."""
    if split not in SPLITS:
        raise InputError(f"split {split!r} does not exist in splitnerf; there are: {', '.join(SPLITS)}")


def embedding_width(split: str, settings: Training) -> int:
    """Values per sample that cross at a cut."""
    check_split(split)
    return {"mid": WIDTH, "grid": 2 * settings.levels, "light": 1 + GEOMETRY}[split]


def crossing_bytes(split: str, settings: Training, rays: int, *, train: bool) -> int:
    """What crosses of so many rays' samples: embeddings and float32 distances down, and of a step gradients up."""
    values = embedding_width(split, settings) * settings.crossing.itemsize
    return rays * settings.samples * ((2 if train else 1) * values + 4)


class CloudPart(nn.Module):
    """Positions (N, 3) in the cube [-1, 1] to embeddings (N, E)."""

    def __init__(self, split: str, settings: Training) -> None:
        super().__init__()
        check_split(split)
        self.split = split
        self.grid = HashGrid(settings.levels, settings.rows_log2, settings.base, settings.finest)
        if split != "grid":
            self.first = nn.Linear(self.grid.width, WIDTH, bias=False)
        if split == "light":
            self.second = nn.Linear(WIDTH, 1 + GEOMETRY, bias=False)

    def forward(self, positions: Tensor) -> Tensor:
        """The embeddings; what crosses after a ReLU is not negative (``mid``)."""
        features: Tensor = self.grid(positions)
        if self.split != "grid":
            features = F.relu(self.first(features))
        return self.second(features) if self.split == "light" else features


class EdgePart(nn.Module):
    """Embeddings and view directions to density and colour. Its gradients can be differentiated again."""

    def __init__(self, split: str, settings: Training) -> None:
        super().__init__()
        check_split(split)
        self.split = split
        if split == "grid":
            self.first = nn.Linear(2 * settings.levels, WIDTH, bias=False)
        if split != "light":
            self.second = nn.Linear(WIDTH, 1 + GEOMETRY, bias=False)
        self.colour1 = nn.Linear(COMPONENTS + GEOMETRY, WIDTH, bias=False)
        self.colour2 = nn.Linear(WIDTH, WIDTH, bias=False)
        self.colour3 = nn.Linear(WIDTH, 3, bias=False)

    def forward(self, embeddings: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Densities (R, S) and colours (R, S, 3) in 0..1 from embeddings (R, S, E) and unit directions (R, 3)."""
        if self.split == "grid":
            embeddings = F.relu(self.first(embeddings))
        if self.split != "light":
            embeddings = self.second(embeddings)
        density: Tensor = _Exp.apply(embeddings[..., 0])  # type: ignore[no-untyped-call]
        weight = self.colour1.weight
        # A ray's samples share their direction: its share of the first layer is worked out once a ray.
        hidden = F.linear(embeddings[..., 1:], weight[:, COMPONENTS:])
        hidden = hidden + F.linear(spherical_harmonics(directions), weight[:, :COMPONENTS])[:, None]
        hidden = F.relu(self.colour2(F.relu(hidden)))
        return density, torch.sigmoid(self.colour3(hidden))


class _Exp(torch.autograd.Function):
    """``exp`` whose derivative is bounded, as in the published code: a density that shot up can come down again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return gradient * torch.exp(x.clamp(-STEEPEST, STEEPEST))


def parts(split: str, settings: Training) -> tuple[CloudPart, EdgePart]:
    """Both halves with fresh weights: the cloud's from ``seed``, the edge's from ``edge_seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        cloud = CloudPart(split, settings)
        # Another stream: with equal seeds the layers must not begin alike.
        torch.manual_seed(settings.edge_seed ^ 0x5EED_ED6E)
        edge = EdgePart(split, settings)
    return cloud, edge
