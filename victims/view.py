"""How a sample, a payload or a reconstruction is pictured: what to draw, never with what.

Each modality has a ``victims/<modality>/view.py`` with ``VIEW``; the report and the live page ask it and draw the kinds
of picture below with whatever they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from victims.base import Sample
from wire.errors import InputError
from wire.payload import Payload


@dataclass(frozen=True)
class Points:
    """A cloud in space.

    xyz: float32 (N, 3), metres, z up, the first axis away from the sensor. value: float32 (N,), what colours a point.
    value_name: what that is, with its unit. span: the values at both ends of the colours, so that clouds that are
    compared share them; None: the cloud's own.
    """

    xyz: NDArray[np.float32]
    value: NDArray[np.float32]
    value_name: str
    span: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.xyz.ndim != 2 or self.xyz.shape[1] != 3 or self.value.shape != (len(self.xyz),):
            raise ValueError(f"points {self.xyz.shape} with values {self.value.shape}; accepted: (N, 3) and (N,)")


@dataclass(frozen=True)
class Image:
    """A picture: pixels uint8 (H, W, 3), RGB."""

    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Text:
    """A few lines, where there is nothing to look at."""

    text: str


Picture = Points | Image | Text


class View(Protocol):
    """A modality's pictures. Every method answers for any valid input, empty ones included."""

    sees: str  # "the car's LiDAR": completes "left: what ... saw"

    def sample(self, sample: Sample) -> Picture: ...
    def payload(self, payload: Payload) -> Picture: ...
    def reconstruction(self, arrays: Mapping[str, np.ndarray]) -> Picture: ...


@runtime_checkable
class TrainingView(Protocol):
    """A view of trainings. Only some samples of one can be rebuilt: the live page shows those and no other.

    story: what the page says first. crossing: the attack whose picture stands for what crosses, as there is nothing to
    look at in a step's tensors.
    """

    story: str
    crossing: str

    def rebuildable(self, sample: Sample) -> bool: ...


def view(modality: str) -> View:
    """The view of a modality: ``VIEW`` in ``victims/<modality>/view.py``. InputError when there is none."""
    name = f"victims.{modality}.view"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in (name, f"victims.{modality}"):
            raise
        raise InputError(f"modality {modality!r} has no view; expected victims/{modality}/view.py") from None
    found: View = module.VIEW
    return found
