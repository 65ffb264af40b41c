"""The floor that looks at nothing: the mean picture of rooms that are not the victim's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attacker.attacks.base import Grants, Inverter, Needs, SessionInfo
from attacker.attacks.image.choices import number
from attacker.attacks.radiance.heard import HeardStep, View
from attacker.attacks.radiance.online import OnlineInverter, Pictured
from attacker.attacks.radiance.settings import own
from attacker.attacks.stateless import Untrained
from victims.base import State
from victims.radiance.room import room
from wire.payload import Meta

SEEDS: Final = 1 << 40
"""The listener's own rooms have seeds from here on; no run has."""

SIDE: Final = 32
"""The mean of many pictures is smooth: it is taken of small ones and enlarged."""


@dataclass(frozen=True)
class MeanViewSettings:
    """rooms, room_views: of how many procedural rooms, and how many pictures of each. views: of the victim's training,
    which this floor does not need."""

    rooms: int = number(3, 1, 100)
    room_views: int = number(10, 2, 1000)
    views: int = number(0, 0, 1_000_000)

    PAPER: ClassVar[Mapping[str, Meta]] = {}


@lru_cache(maxsize=4)
def mean_of(rooms: int, views: int) -> NDArray[np.float32]:
    """float32 (32, 32, 3) in 0..1."""
    pictures = [picture.image for number in range(rooms) for picture in room(SEEDS + number, SIDE, views).pictures]
    return np.asarray(np.mean(np.stack(pictures), axis=0) / 255, np.float32)


def resized(mean: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """float32 (H, W, 3) of another height and width, in 0..1."""
    planes = [
        np.asarray(Image.fromarray(mean[:, :, channel]).resize(size[::-1], Image.Resampling.BICUBIC))
        for channel in range(3)
    ]
    return np.ascontiguousarray(np.stack(planes, axis=2).clip(0, 1), np.float32)


class _Mean:
    """A :class:`attacker.attacks.radiance.online.Listening`."""

    def __init__(self, settings: MeanViewSettings) -> None:
        self._settings = settings

    def learn(self, heard: HeardStep) -> None:
        """Nothing."""

    def picture(self, asked: View) -> Pictured:
        chosen = self._settings
        image = resized(mean_of(chosen.rooms, chosen.room_views), asked.size)
        return Pictured({"image": image}, {"auxiliary": chosen.rooms * chosen.room_views})

    def state(self) -> State:
        return State({}, {})

    def load(self, state: State) -> None:
        """Nothing."""


class MeanView(Untrained):
    """No knowledge at all."""

    name = "mean-view"
    modality = "radiance"
    settings = MeanViewSettings
    needs = Needs("wire", "none", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of any session. InputError, one line, where settings do not do."""
        settings = own(MeanViewSettings, grants.settings, self.name)
        return OnlineInverter(self.name, lambda: _Mean(settings), None, 1)
