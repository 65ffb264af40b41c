"""The last two states of an online attack, on disk: what a listener that was killed goes on from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from victims.base import State

KEPT: Final = 2


@dataclass(frozen=True)
class Kept:
    """A state, and the frame and incarnation that it is of."""

    incarnation: int
    frame: int
    state: State


class Shelf:
    """A folder of one session's states; files are written whole and renamed. One that cannot be read is passed over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, kept: Kept) -> None:
        """Write a state; of all, the newest two stay."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{kept.frame:09d}.safetensors"
        temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
        said = {"incarnation": kept.incarnation, "frame": kept.frame, "meta": dict(kept.state.meta)}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.state.tensors.items()}
        save_file(tensors, temporary, {"state": json.dumps(said)})
        os.replace(temporary, path)
        for old in self._paths()[KEPT:]:
            old.unlink(missing_ok=True)

    def newest(self, before: int | None = None) -> Kept | None:
        """The newest state of a frame below ``before`` (None: of any); None where there is none."""
        return next((kept for kept in self._states() if before is None or kept.frame < before), None)

    def forget(self, first: int) -> None:
        """Remove the states of frame ``first`` and later ones."""
        for path in self._paths():
            if int(path.stem) >= first:
                path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        """Newest first."""
        found = (path for path in self._folder.glob("*.safetensors") if path.stem.isdecimal())
        return sorted(found, key=lambda path: int(path.stem), reverse=True)

    def _states(self) -> Iterator[Kept]:
        for path in self._paths():
            try:
                with safe_open(path, framework="pt") as file:
                    said = json.loads(file.metadata()["state"])
                    tensors = {name: file.get_tensor(name) for name in list(file.keys())}
                yield Kept(int(said["incarnation"]), int(said["frame"]), State(tensors, said["meta"]))
            except (OSError, SafetensorError, ValueError, KeyError, TypeError):
                continue
