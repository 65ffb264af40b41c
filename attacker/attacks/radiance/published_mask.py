"""The leak of the published code: colours only where the *client's* densities have a surface.

There, a mask of weights above 1e-4 is built from the client's network and applied to the surrogate's colours too: while
it learns, in the stage with a leaked picture, and in every picture. It is scene geometry that a listener cannot have;
an option named after its origin shows what it gives. The client's weights are those of its newest checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from attacker.attacks.radiance.posing import Render
from victims.radiance.networks import EdgePart
from victims.radiance.rendering import render
from victims.radiance.settings import Training
from wire.errors import InputError

LEAST_WEIGHT: Final = 1e-4


class ClientMask:
    """Where the client has a surface, by the newest of its weights that are there.

    path: a file of them, by name or as a checkpoint of the edge's, or the edge's folder of checkpoints; before the
    first one is in it, nothing is masked. InputError where there is neither, or one of another network.
    """

    def __init__(self, path: Path | None, split: str, victim: Training, attack: str) -> None:
        if path is None:
            raise InputError(f"attack {attack}: published_mask needs the edge's weights; accepted: a file edge")
        self._path, self._attack = path, attack
        self._client, self._read = EdgePart(split, victim), (Path(), -1)
        self.refresh()

    def refresh(self) -> None:
        """Read the weights again if there are newer ones. Between two calls the mask is of the same client."""
        newest = _newest(self._path)
        if newest is None:
            return
        try:
            found = newest, newest.stat().st_mtime_ns
            if found != self._read:
                self._load(newest)
                self._read = found
        except FileNotFoundError as error:
            if not self._path.is_dir():  # in a folder, an older one that gives way to one that comes next time
                raise InputError(f"attack {self._attack}: {newest}: not readable as safetensors ({error})") from error

    def over(self, part: nn.Module, embeddings: Tensor, distances: Tensor, directions: Tensor) -> EdgePart:
        """The network ``part`` for these samples, its colours 0 where the client's rendering weight is below 1e-4."""
        if self._read[1] < 0:
            return cast(EdgePart, part)
        return _over(part, self._client, embeddings, distances, directions)

    def render(self, part: EdgePart) -> Render:
        """The surrogate's render with the mask."""
        return lambda embeddings, distances, directions: render(
            self.over(part, embeddings, distances, directions), embeddings, distances, directions
        )

    def _load(self, path: Path) -> None:
        names = dict(self._client.named_parameters())
        try:
            found = load_file(path)
        except FileNotFoundError:
            raise
        except (OSError, SafetensorError) as error:
            raise InputError(f"attack {self._attack}: {path}: not readable as safetensors ({error})") from error
        mine = {name: found.get(name, found.get(f"weight.{name}")) for name in names}
        wrong = [name for name, tensor in mine.items() if tensor is None or tensor.shape != names[name].shape]
        if wrong:
            split = self._client.split
            raise InputError(f"attack {self._attack}: {path}: no weights of cut {split}, the first {wrong[0]}")
        self._client.load_state_dict(mine)


def _newest(path: Path) -> Path | None:
    """The file itself; of a folder, the checkpoint with the most steps."""
    if not path.is_dir():
        return path
    found = [file for file in path.glob("*.safetensors") if file.stem.isdecimal()]
    return max(found, key=lambda file: int(file.stem), default=None)


class _Masked(nn.Module):
    """A network whose colours are black where ``mask`` is false."""

    def __init__(self, part: nn.Module, mask: Tensor) -> None:
        super().__init__()
        self._part, self._mask = part, mask

    def forward(self, embeddings: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        density, colour = self._part(embeddings, directions)
        return density, colour * self._mask[..., None]


def _over(part: nn.Module, client: EdgePart, embeddings: Tensor, distances: Tensor, directions: Tensor) -> EdgePart:
    with torch.no_grad():
        mask = render(client, embeddings, distances, directions).weights > LEAST_WEIGHT
    return cast(EdgePart, _Masked(part, mask))
