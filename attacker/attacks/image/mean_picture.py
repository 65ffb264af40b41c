"""The floor that looks at nothing: the mean of public pictures, for every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.image.auxiliary import auxiliary_pictures, granted_auxiliary
from attacker.attacks.image.choices import number, read
from attacker.attacks.image.sizes import size_of
from attacker.attacks.stateless import Stateless, Untrained
from wire.payload import Meta


@dataclass(frozen=True)
class MeanPictureSettings:
    """auxiliary_frames: how many of the auxiliary pictures are read."""

    auxiliary_frames: int = number(1000, 1, 1_000_000)

    PAPER: ClassVar[Mapping[str, Meta]] = {}


class _Inverter(Stateless):
    def __init__(self, attack: str, grants: Grants, limit: int) -> None:
        self._attack, self._grants, self._limit = attack, grants, limit
        self._means: dict[tuple[int, int], tuple[np.ndarray, int]] = {}

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        made = []
        for frame in frames:
            mean, pictures = self._mean(size_of(frame))
            meta: dict[str, Meta] = {"auxiliary": pictures}
            made.append(Reconstruction(frame.session, (frame.frame,), self._attack, {"image": mean}, meta))
        return made

    def _mean(self, size: tuple[int, int]) -> tuple[np.ndarray, int]:
        if size not in self._means:
            images = auxiliary_pictures(self._grants, size, self._limit, self._attack)
            self._means[size] = images.mean(0).round().astype(np.uint8), len(images)
        return self._means[size]


class MeanPicture(Untrained):
    """No knowledge of the victim."""

    name = "mean-picture"
    modality = "image"
    needs = Needs("wire", "none")
    kind = MeanPictureSettings

    def check(self, grants: Grants, size: tuple[int, int]) -> None:
        """InputError where a setting is not accepted, or no auxiliary pictures are granted."""
        read(self.kind, grants.settings, self.name)
        granted_auxiliary(grants, self.name)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter for any split point. InputError where no auxiliary pictures are granted."""
        settings = read(self.kind, grants.settings, self.name)
        return _Inverter(self.name, grants, settings.auxiliary_frames)
