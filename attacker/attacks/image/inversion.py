"""What every optimising attack is given, and what it hands back: plain tensors, no captures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attacker.attacks.image.course import Course
from attacker.attacks.image.descent_state import Shelf, Shelves
from victims.base import Progress, silent
from victims.image.preprocessing import images_of
from wire.payload import Meta
from wire.seeds import generator


@dataclass(frozen=True)
class Problem:
    """Features to be inverted.

    head: pictures (B, 3, H, W) in 0..1 to features; differentiable, its weights frozen. features: (B, ...). size:
    height and width of a picture, in pixels. frames: their numbers; noise is drawn and groups are tied by them.
    shelves: where descents survive a kill; None: nowhere.
    """

    head: Callable[[Tensor], Tensor]
    features: Tensor
    size: tuple[int, int]
    frames: tuple[int, ...]
    seed: int = 0
    progress: Progress = silent
    shelves: Shelves | None = None

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.features.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the features, and of all that is optimised."""
        return self.features.dtype

    @property
    def note(self) -> str:
        """Which frames, for a progress bar."""
        first, last = self.frames[0], self.frames[-1]
        return f"frame {first}" if first == last else f"frames {first}-{last}"

    def shelf(self, stage: str) -> Shelf | None:
        """A place for a descent called ``stage``; None where nothing is kept."""
        return self.shelves.shelf(stage) if self.shelves is not None else None

    def noise(self, role: str, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers (B, *shape), each picture's by seed and frame alone."""
        drawn = [generator(self.seed, role, 0, frame).standard_normal(tuple(shape)) for frame in self.frames]
        return torch.from_numpy(np.stack(drawn)).to(self.dtype).to(self.device)

    def groups(self, size: int) -> Tensor:
        """int64 (B,), from 0: pictures whose frames share a block of ``size`` consecutive numbers share a group."""
        blocks = [frame // size for frame in self.frames]
        return torch.tensor(np.unique(blocks, return_inverse=True)[1], device=self.device)


@dataclass(frozen=True)
class Inversion:
    """pictures: (B, 3, H, W) in 0..1. course: of the same rows. meta: figures of each picture. variable: (B, ...), what
    was descended on last. iterations and cpu_s (CPU seconds of the whole batch): of all stages together."""

    pictures: Tensor
    course: Course
    meta: Sequence[Mapping[str, Meta]]
    variable: Tensor
    iterations: int
    cpu_s: float

    @property
    def images(self) -> np.ndarray:
        """The pictures as uint8 (B, H, W, 3)."""
        return images_of(self.pictures)

    def arrays(self, row: int) -> dict[str, np.ndarray]:
        """A picture's arrays of a reconstruction: ``image`` uint8 (H, W, 3) and those of :meth:`Course.arrays`."""
        return {"image": images_of(self.pictures[row : row + 1])[0], **self.course.arrays(row, len(self.pictures))}


Method = Callable[[Problem], Inversion]
