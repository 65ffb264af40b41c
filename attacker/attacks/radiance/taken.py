"""What is learnt from a step, ray chunk by ray chunk, with the share that each chunk has of the step's losses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from attacker.attacks.radiance.averaging import Averages
from attacker.attacks.radiance.heard import Chunks, Points
from attacker.attacks.radiance.matching import COUNTS
from attacker.attacks.radiance.noise import NoiseModel


@dataclass(frozen=True)
class Chunk:
    """Rays that are worked at once. wanted (R, S, E): the gradients to be matched. counted: 1 for entries that count
    and 0 for others, None: all. rays, entries: its share of the step's rays, and of what the gradients' distance is a
    mean over; 1 where it is the whole step."""

    points: Points
    wanted: Tensor
    counted: Tensor | None
    rays: float
    entries: float


class Taken:
    """The chunks of step ``step`` of the training. variance: of the noise, 1 where nothing is known of it.

    Held of the step are counts, and with ``averages`` the means of its rays; everything else is made when a chunk's
    turn comes.
    """

    def __init__(
        self,
        chunks: Chunks,
        step: int,
        loss: str,
        *,
        drop_dead: bool = False,
        noise: NoiseModel | None = None,
        averages: Averages | None = None,
    ) -> None:
        self._chunks, self._drop_dead = chunks, drop_dead
        heard = (points.gradients for points in chunks)
        self.variance = noise.variance(heard, step) if noise is not None else 1.0
        self._means: Sequence[Tensor] | None = None
        if averages is not None:
            self._means = [averages.take(points, 1 / self.variance) for points in chunks]
        self._rays, self._entries = list[int](), list[float]()
        for points, wanted, counted in self._all():
            self._rays.append(len(points.pixels))
            self._entries.append(COUNTS[loss](wanted, counted))

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Iterator[Chunk]:
        rays, entries = sum(self._rays), max(sum(self._entries), 1.0)
        for number, (points, wanted, counted) in enumerate(self._all()):
            yield Chunk(points, wanted, counted, self._rays[number] / rays, self._entries[number] / entries)

    def _all(self) -> Iterator[tuple[Points, Tensor, Tensor | None]]:
        for number, points in enumerate(self._chunks):
            wanted = points.gradients if self._means is None else self._means[number]
            yield points, wanted, (points.embeddings != 0).float() if self._drop_dead else None
