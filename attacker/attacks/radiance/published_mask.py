"""The leak of the published code: colours only where the *client's* densities have a surface.

There, a mask of weights above 1e-4 is built from the client's network and applied to the surrogate's colours too. It is
scene geometry that a listener cannot have; an option named after its origin shows what it gives.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attacker.attacks.base import Grants
from attacker.attacks.radiance.posing import Render
from victims.radiance.networks import EdgePart
from victims.radiance.rendering import Rendered, render
from victims.radiance.settings import Training
from wire.errors import InputError

LEAST_WEIGHT: Final = 1e-4


def edge_part(grants: Grants, split: str, victim: Training, attack: str) -> EdgePart:
    """The client's network from ``grants.files["edge"]``: its weights by name, or a checkpoint of the edge's.

    InputError where there is none, or of another network.
    """
    path: Path | None = grants.files.get("edge")
    if path is None:
        raise InputError(f"attack {attack}: published_mask needs the edge's weights; accepted: a file edge")
    part = EdgePart(split, victim)
    names = dict(part.named_parameters())
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"attack {attack}: {path}: not readable as safetensors ({error})") from error
    mine = {name: found.get(name, found.get(f"weight.{name}")) for name in names}
    wrong = [name for name, tensor in mine.items() if tensor is None or tensor.shape != names[name].shape]
    if wrong:
        raise InputError(f"attack {attack}: {path}: no weights of cut {split}, the first {wrong[0]}")
    part.load_state_dict(mine)
    return part


class _Masked(nn.Module):
    """A network whose colours are black where ``mask`` is false."""

    def __init__(self, part: EdgePart, mask: Tensor) -> None:
        super().__init__()
        self._part, self._mask = part, mask

    def forward(self, embeddings: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        density, colour = self._part(embeddings, directions)
        return density, colour * self._mask[..., None]


def masked(part: EdgePart, client: EdgePart) -> Render:
    """The surrogate's render, with colours only where the client's rendering weight is above 1e-4."""

    def made(embeddings: Tensor, distances: Tensor, directions: Tensor) -> Rendered:
        with torch.no_grad():
            mask = render(client, embeddings, distances, directions).weights > LEAST_WEIGHT
        return render(_Masked(part, mask), embeddings, distances, directions)  # type: ignore[arg-type]

    return made
