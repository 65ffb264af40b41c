"""A scene: posed pictures, which of them are held out, and the box that holds what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from victims.radiance.camera import Camera, fault
from victims.radiance.layouts import CENTRE, FOCAL, MOST_SIDE, NEAR
from victims.radiance.sampling import Box
from wire.errors import InputError
from wire.payload import Meta

Item = TypeVar("Item")

LEAST_NEAR: Final = 0.01
"""Rays begin at least so far from the camera, as a share of the box's half side."""


@dataclass(frozen=True)
class PosedPicture:
    """image uint8 (H, W, 3); depth float32 (H, W), distance along the ray in the scene's unit, 0 where unknown."""

    name: str
    image: NDArray[np.uint8]
    camera: Camera
    depth: NDArray[np.float32] | None = None

    def resized(self, longest: int) -> PosedPicture:
        """At most ``longest`` pixels on the longer side (area average); 0: as it is. Depth: the nearest pixel's."""
        height, width = self.camera.size
        ratio = longest / max(height, width)
        if not longest or ratio >= 1:
            return self
        size = max(1, round(height * ratio)), max(1, round(width * ratio))
        image = np.asarray(Image.fromarray(self.image).resize(size[::-1], Image.Resampling.BOX), np.uint8)
        depth = self.depth
        if depth is not None:
            depth = np.asarray(Image.fromarray(depth).resize(size[::-1], Image.Resampling.NEAREST), np.float32)
        return replace(self, image=image, camera=self.camera.resized(size), depth=depth)


@dataclass(frozen=True)
class Scene:
    """pictures, in the order of their names. held_out: numbers of those that are for scoring and never trained on.

    box: what holds the scene, in its unit (metres where ``metric``). near: where rays begin. InputError for what could
    not cross: a training would find out only when all its processes are up.
    """

    name: str
    pictures: Sequence[PosedPicture]
    held_out: frozenset[int]
    box: Box
    near: float = 0.0
    metric: bool = False
    origin: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        where = self.origin or self.name
        if not self.training or not self.held_out:
            raise InputError(
                f"{where}: {len(self.training)} pictures to train on and {len(self.held_out)} held "
                "out; accepted: at least one of each"
            )
        if any(low >= high for low, high in zip(self.box[:3], self.box[3:], strict=True)):
            raise InputError(f"{where}: box {self.box}; accepted: a lower corner below an upper one")
        with np.errstate(all="ignore"):  # what comes of it is looked at
            wrong = self._fault()
        if wrong:
            raise InputError(f"{where}: {wrong}")

    def _fault(self) -> str | None:
        """What of the scene the layout of rays would refuse; None where all may cross."""
        low, high, half = self.unit_box[:3], self.unit_box[3:], self.half
        if not all(one < other for one, other in zip(low, high, strict=True)):
            return f"box {self.box}; accepted: sides that differ less"
        if not NEAR[0] <= self.near / half <= NEAR[1]:
            accepted = f"{NEAR[0]:g} to {NEAR[1] * half:g}, {NEAR[1]:g} half sides of the box"
            return f"near is {self.near:g}; accepted: {accepted}"
        for picture in self.pictures:
            camera = picture.camera.moved(self.middle, half)
            height, width = camera.size
            intrinsics = (("focal length", camera.focal, FOCAL), ("centre", camera.centre, CENTRE))
            if max(height, width) > MOST_SIDE:
                return f"{picture.name}: a picture of {width}x{height} pixels; accepted: at most {MOST_SIDE} on a side"
            for what, values, (least, most) in intrinsics:
                wrong = [value for value in values if not least <= value <= most]
                if wrong:
                    said = f"a {what} of {wrong[0]:g} pixels where the picture has {width}x{height}"
                    return f"{picture.name}: {said}; accepted: {least:g} to {most:g}"
            lost = fault(camera.pose.astype(np.float32).astype(np.float64))
            if lost:
                return f"{picture.name}: the pose in half sides of the box ({half:g}) is no rigid transform: {lost}"
        return None

    @property
    def training(self) -> list[PosedPicture]:
        """The pictures that the edge trains on."""
        return [picture for number, picture in enumerate(self.pictures) if number not in self.held_out]

    @property
    def testing(self) -> list[PosedPicture]:
        """The pictures that are held out."""
        return [self.pictures[number] for number in sorted(self.held_out)]

    @property
    def middle(self) -> NDArray[np.float64]:
        """The box's middle, the origin of what travels."""
        return np.asarray((np.array(self.box[:3]) + np.array(self.box[3:])) / 2, np.float64)

    @property
    def half(self) -> float:
        """Half of the box's longest side, the unit of what travels."""
        return float(max(high - low for low, high in zip(self.box[:3], self.box[3:], strict=True)) / 2)

    @property
    def unit_box(self) -> Box:
        """The box in the unit of what travels: inside the cube [-1, 1]."""
        low = ((np.array(self.box[:3]) - self.middle) / self.half).tolist()
        high = ((np.array(self.box[3:]) - self.middle) / self.half).tolist()
        return (low[0], low[1], low[2], high[0], high[1], high[2])


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of ``items``, evenly from all: the first, the last, and what lies between."""
    if len(items) <= most:
        return list(items)
    return [items[number] for number in np.linspace(0, len(items) - 1, most).round().astype(int)]


def views(settings: Mapping[str, Meta], default: int) -> int:
    """The setting ``views``: at most so many pictures. InputError for anything but a whole number from 2."""
    value = settings.get("views", default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 2:
        raise InputError(f"setting views is {value!r}; accepted: a whole number from 2")
    return value


def every(count: int, step: int) -> frozenset[int]:
    """Every ``step``-th of ``count`` pictures, from the first on."""
    return frozenset(range(0, count, step))
