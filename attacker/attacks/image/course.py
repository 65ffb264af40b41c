"""The course of a descent: what it would hand over at some iterations, and its losses on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CURVE_POINTS = 200


@dataclass
class Course:
    """Of ``rows`` pictures that were descended together.

    snapshots: uint8 (K, rows, 3, H, W), the best pictures so far. iteration: int64 (K,). cpu_s: float64 (K,), CPU
    seconds of the whole batch so far. curve: float32 (I, rows, 3): total, feature, and the other terms' loss.
    curve_iteration: int64 (I,).
    """

    snapshots: Tensor
    iteration: Tensor
    cpu_s: Tensor
    curve: Tensor
    curve_iteration: Tensor

    @classmethod
    def empty(cls, rows: int, height: int, width: int) -> Course:
        """Nothing seen yet."""
        return cls(
            torch.empty(0, rows, 3, height, width, dtype=torch.uint8),
            torch.empty(0, dtype=torch.int64),
            torch.empty(0, dtype=torch.float64),
            torch.empty(0, rows, 3),
            torch.empty(0, dtype=torch.int64),
        )

    def picture(self, iteration: int, pictures: Tensor, cpu_s: float) -> None:
        """Add a snapshot of ``pictures`` (rows, 3, H, W), about 0..1."""
        levels = (pictures.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        self.snapshots = torch.cat([self.snapshots, levels[None]])
        self.iteration = torch.cat([self.iteration, torch.tensor([iteration])])
        self.cpu_s = torch.cat([self.cpu_s, torch.tensor([cpu_s], dtype=torch.float64)])

    def losses(self, iteration: int, total: Tensor, feature: Tensor) -> None:
        """Add a point (rows,) to the curves."""
        point = torch.stack([total, feature, total - feature], 1).detach().float().cpu()
        self.curve = torch.cat([self.curve, point[None]])
        self.curve_iteration = torch.cat([self.curve_iteration, torch.tensor([iteration])])

    def of(self, rows: Tensor) -> Course:
        """The same of some rows (int64), in their order."""
        return Course(self.snapshots[:, rows], self.iteration, self.cpu_s, self.curve[:, rows], self.curve_iteration)

    def then(self, later: Course, iterations: int, cpu_s: float) -> Course:
        """Go on with another descent on the same pictures, after ``iterations`` that took ``cpu_s``."""
        return Course(
            torch.cat([self.snapshots, later.snapshots]),
            torch.cat([self.iteration, later.iteration + iterations]),
            torch.cat([self.cpu_s, later.cpu_s + cpu_s]),
            torch.cat([self.curve, later.curve]),
            torch.cat([self.curve_iteration, later.curve_iteration + iterations]),
        )

    def arrays(self, row: int, pictures: int) -> dict[str, np.ndarray]:
        """One picture's share: ``snapshots`` uint8 (K, H, W, 3), ``snapshot_iteration`` int64 (K,),
        ``snapshot_cpu_s`` float64 (K,; of the batch over its ``pictures``), ``curve`` float32 (I, 3),
        ``curve_iteration`` int64 (I,)."""
        return {
            "snapshots": np.ascontiguousarray(self.snapshots[:, row].permute(0, 2, 3, 1).numpy()),
            "snapshot_iteration": self.iteration.numpy(),
            "snapshot_cpu_s": self.cpu_s.numpy() / pictures,
            "curve": np.ascontiguousarray(self.curve[:, row].numpy()),
            "curve_iteration": self.curve_iteration.numpy(),
        }


def log_spaced(iterations: int, count: int) -> frozenset[int]:
    """0, the last iteration, and about ``count`` between, denser at the start. count 0: none at all."""
    if not count:
        return frozenset()
    between: Sequence[float] = np.geomspace(1, max(iterations, 1), max(count - 1, 1)).tolist()
    return frozenset({0, iterations, *(min(round(place), iterations) for place in between)})
