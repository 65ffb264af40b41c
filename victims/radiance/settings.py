"""What a radiance victim is built and trained with; both ends read the same settings and compare their digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final, Literal, get_args

import torch

from wire.errors import InputError
from wire.payload import Meta

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Training:
    """steps: of the whole training, which the learning rate's decay is spread over. rays: per step. samples: per ray.

    levels, rows_log2, base, finest: of the hash grid. chunk_points: at most so many points are worked at once, and
    travel in one part; more need no more memory. rate: Adam's at the first step; decay: what is left of it at the last.
    precision: of embeddings and gradients on the wire. seed: of the cloud's weights and of where samples lie.
    edge_seed: of the edge's weights and of the choice of pixels; the cloud needs none.
    """

    steps: int = 2000
    rays: int = 1024
    samples: int = 64
    levels: int = 8
    rows_log2: int = 15
    base: int = 16
    finest: int = 512
    chunk_points: int = 16384
    rate: float = 1e-2
    decay: float = 0.1
    precision: Precision = "float32"
    seed: int = 0
    edge_seed: int = 0

    def shared(self) -> dict[str, Meta]:
        """What both ends must agree on."""
        return {name: value for name, value in asdict(self).items() if name != "edge_seed"}

    @property
    def chunk_rays(self) -> int:
        """Rays of one part."""
        return max(1, self.chunk_points // self.samples)

    @property
    def crossing(self) -> torch.dtype:
        """What embeddings and gradients are rounded to before they cross."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def rate_at(self, step: int) -> float:
        """Adam's learning rate at a step: ``rate * decay ** (step / steps)``, as the published code's schedule."""
        return float(self.rate * self.decay ** (min(step, self.steps) / self.steps))


PRESETS: Final[Mapping[str, Training]] = {
    "cpu": Training(),
    "paper": Training(steps=60_000, rays=4096, samples=512, levels=16, rows_log2=19, finest=2048),
}
"""``cpu``: ours, minutes on two cores. ``paper``: the published code's, for its cube of one bound instead of two."""

BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "steps": (1, 10_000_000),
    "rays": (1, 65_536),
    "samples": (2, 4096),
    "levels": (1, 32),
    "rows_log2": (4, 22),
    "base": (2, 1024),
    "finest": (2, 65_536),
    "chunk_points": (1, 1 << 22),
    "rate": (1e-6, 1.0),
    "decay": (1e-6, 1.0),
    "seed": (0, (1 << 63) - 1),
    "edge_seed": (0, (1 << 63) - 1),
}


def training(settings: Mapping[str, Meta]) -> Training:
    """The preset that ``settings`` name (``cpu``), with what else they say. InputError for a value out of bounds.

    Settings of other consumers are left alone; ``edge_seed`` is ``seed`` unless given.
    """
    name = settings.get("preset", "cpu")
    preset = PRESETS.get(str(name))
    if preset is None:
        raise InputError(f"preset {name!r} does not exist; there are: {', '.join(PRESETS)}")
    given = {field.name: settings[field.name] for field in fields(Training) if field.name in settings}
    if "seed" in given:
        given.setdefault("edge_seed", given["seed"])
    for key, value in given.items():
        if key == "precision":
            if value not in get_args(Precision):
                raise InputError(f"setting precision is {value!r}; accepted: {', '.join(get_args(Precision))}")
            continue
        kind = type(getattr(preset, key))
        low, high = BOUNDS[key]
        right = (int, float) if kind is float else (int,)
        if isinstance(value, bool) or not isinstance(value, right) or not low <= value <= high:
            what = "a number" if kind is float else "a whole number"
            raise InputError(f"setting {key} is {value!r}; accepted: {what} from {low:g} to {high:g}")
    made = replace(preset, **given)  # type: ignore[arg-type]
    if made.finest < made.base:
        raise InputError(f"setting finest is {made.finest}; accepted: at least base, {made.base}")
    return made


def whole(settings: Mapping[str, Meta], key: str, default: int) -> int:
    """A setting that is a whole number from 0. InputError for anything else."""
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"setting {key} is {value!r}; accepted: a whole number from 0")
    return value
