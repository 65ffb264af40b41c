"""The field of a listener in the cloud: the cloud's own half, as it was when a picture was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from attacker.attacks.radiance.opening import Opened
from victims.radiance.networks import CloudPart
from victims.radiance.settings import Training
from wire.errors import InputError


class SnapshotField:
    """A :class:`attacker.attacks.radiance.field.Field` from a file of the cloud's weights."""

    def __init__(self, path: Path, split: str, victim: Training) -> None:
        """InputError where the file is no snapshot of such a half."""
        self.part = CloudPart(split, victim)
        try:
            self.part.load_state_dict(load_file(path))
        except (OSError, SafetensorError) as error:
            raise InputError(f"snapshot {path.name}: not readable ({error})") from error
        except RuntimeError as error:
            line = str(error).splitlines()[-1].strip()
            raise InputError(f"snapshot {path.name}: of another network than cut {split} ({line})") from error

    @torch.no_grad()
    def embed(self, positions: Tensor) -> Tensor:
        """As the cloud would."""
        made: Tensor = self.part(positions)
        return made


class Snapshots:
    """A session's, by the number of steps done; the last one that was asked for is kept."""

    def __init__(self, opening: Opened[Any]) -> None:
        self._opening = opening
        self._last: tuple[int, SnapshotField] | None = None

    def at(self, step: int) -> SnapshotField:
        """The cloud's half with ``step`` steps done. InputError where no such copy is here."""
        if self._last is None or self._last[0] != step:
            opening = self._opening
            give = opening.grants.snapshot
            path = give(opening.session, step) if give is not None else None
            if path is None:
                raise InputError(f"attack {opening.attack}: no snapshot of the cloud with {step} steps done")
            self._last = step, SnapshotField(path, opening.split, opening.victim)
        return self._last[1]
