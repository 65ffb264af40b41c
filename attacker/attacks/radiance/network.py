"""The surrogate: the listener's own network in the place of the edge's."""

from __future__ import annotations

import torch
from torch import nn

from victims.radiance.networks import GEOMETRY, WIDTH, EdgePart
from victims.radiance.settings import Training
from victims.radiance.spherical_harmonics import COMPONENTS
from wire.seeds import generator


def surrogate(split: str, told: Training, seed: int, layers: int = 3, width: int = WIDTH) -> EdgePart:
    """A network as the edge's at this cut, with weights of its own, drawn from ``seed``.

    layers, width: of its colour network; another depth or width than the edge's 3 and 64 is a surrogate of another
    architecture. There are ReLUs between all layers, whatever their number.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator(seed, "radiance.surrogate").integers(1 << 62)))
        made = EdgePart(split, told)
        if (layers, width) != (3, WIDTH):
            made.colour1 = nn.Linear(COMPONENTS + GEOMETRY, width, bias=False)
            made.add_module("colour2", _hidden(layers - 2, width))
            made.colour3 = nn.Linear(width, 3, bias=False)
    return made


def _hidden(layers: int, width: int) -> nn.Module:
    """The layers between the first and the last; before and after them stands a ReLU already."""
    between: list[nn.Module] = []
    for _ in range(layers):
        between += [nn.Linear(width, width, bias=False), nn.ReLU()]
    return nn.Sequential(*between[:-1])
