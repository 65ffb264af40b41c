"""Whether a rebuilt picture still says which picture it was, and what was on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from victims.image.preprocessing import Preprocessing, pictures_of
from victims.image.victim import ImageVictim
from victims.registry import victim
from wire.payload import Meta

COMPARED_SIDE: Final = 32
"""Pictures are compared at this many pixels a side: a thousand of them are then a matrix of 12 MB."""


class Candidates:
    """The pictures of a run, among which one is to be found. A picture that was streamed twice is one candidate."""

    def __init__(self) -> None:
        self._known: dict[bytes, NDArray[np.float32]] = {}
        self._matrix: NDArray[np.float32] | None = None

    def add(self, picture: NDArray[np.uint8]) -> None:
        """A further picture (H, W, 3)."""
        self._known[picture.tobytes()] = _direction(picture)
        self._matrix = None

    def found(self, true: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> float | None:
        """1 where ``rebuilt`` correlates more with ``true`` than with any other candidate, else 0.

        None where ``true`` is no candidate. A tie is no find.
        """
        if true.tobytes() not in self._known:
            return None
        if self._matrix is None:
            self._matrix = np.stack(list(self._known.values()))
        likeness = self._matrix @ _direction(rebuilt)
        own = list(self._known).index(true.tobytes())
        best = float(likeness[own])
        others = np.delete(likeness, own)
        return float(best > 0 and (not len(others) or best > float(others.max())))


def _direction(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels less each channel's mean, of length 1 (of length 0 for a picture of one colour), float32 (3 * side^2,)."""
    small = Image.fromarray(picture).resize((COMPARED_SIDE, COMPARED_SIDE), Image.Resampling.BOX)
    levels = np.asarray(small, np.float64)
    levels = levels - levels.mean(axis=(0, 1))
    length = float(np.linalg.norm(levels))
    scaled: NDArray[np.float32] = (levels / (length or 1.0)).astype(np.float32)
    return scaled.ravel()


class Classifier:
    """The whole undefended victim, asked for the class of a picture. It is loaded when it is first asked."""

    def __init__(
        self,
        build: Callable[[Mapping[str, Meta]], nn.Module],
        preprocessing: Preprocessing,
        settings: Mapping[str, Meta],
    ) -> None:
        self._build, self._preprocessing, self._settings = build, preprocessing, settings
        self._classes: dict[bytes, int | None] = {}  # of the originals, which several attacks are compared with

    @classmethod
    def of(cls, name: str, settings: Mapping[str, Meta]) -> Self | None:
        """The victim called ``name``; None for one that does not classify pictures."""
        found = victim(name)
        if not isinstance(found, ImageVictim) or found.task is not dict:
            return None
        return cls(found.network, found.preprocessing, dict(settings))

    def agrees(self, true: NDArray[np.uint8], rebuilt: NDArray[np.uint8]) -> float | None:
        """1 where both (H, W, 3) get the same class, else 0; None for a network whose answer is no row of logits."""
        key = true.tobytes()
        if key not in self._classes:
            self._classes[key] = self._class(true)
        expected = self._classes[key]
        return None if expected is None else float(self._class(rebuilt) == expected)

    def _class(self, picture: NDArray[np.uint8]) -> int | None:
        with torch.inference_mode():
            answer = self._network(self._preprocessing.normalised(pictures_of(picture[None])))
        if not isinstance(answer, torch.Tensor) or answer.ndim != 2:
            return None
        return int(answer.argmax(dim=1))

    @cached_property
    def _network(self) -> nn.Module:
        network: nn.Module = self._build(self._settings)
        return network
