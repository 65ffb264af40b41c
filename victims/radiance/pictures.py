"""Pictures in the stream of a training: held-out views that the edge renders on the way and at the end.

They are exchanges like any other: rays up, embeddings down. What they are compared with stays on the edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from victims.base import Sample
from victims.radiance.batch import rendering_sample, training_samples
from victims.radiance.scene import PosedPicture, Scene
from victims.radiance.settings import Training, whole
from wire.errors import InputError
from wire.payload import Meta


@dataclass(frozen=True)
class Pictures:
    """pictures: how many held-out views are rendered after the last step (0: none, -1: all). curve_every: after so many
    steps, and each time again, ``curve_views`` of them are rendered too (0: never)."""

    pictures: int = 0
    curve_every: int = 0
    curve_views: int = 2

    def after(self, done: int, steps: int, there: int) -> list[int]:
        """Numbers of the held-out views, of ``there``, that follow when ``done`` of ``steps`` steps are done."""
        wanted = 0
        if self.curve_every and done % self.curve_every == 0:
            wanted = self.curve_views
        if done == steps:
            wanted = there if self.pictures < 0 else max(wanted, self.pictures)
        wanted = min(wanted, there)
        return [number * there // wanted for number in range(wanted)]  # spread over all of them


def pictures(settings: Mapping[str, Meta]) -> Pictures:
    """What ``settings`` say. InputError for a value that is none of those accepted."""
    asked = settings.get("pictures", Pictures.pictures)
    if asked != -1 or isinstance(asked, bool):
        try:
            asked = whole(settings, "pictures", Pictures.pictures)
        except InputError as error:
            raise InputError(f"{error}, or -1 for all") from None
    every = whole(settings, "curve_every", Pictures.curve_every)
    return Pictures(int(asked), every, whole(settings, "curve_views", Pictures.curve_views))


def stream(scene: Scene, settings: Training, asked: Pictures, first: int = 0) -> Iterator[Sample]:
    """The steps of a training from step ``first`` on, and the pictures between them and behind the last."""
    for sample in training_samples(scene, settings, first):
        yield sample
        done = int(sample.meta["step"]) + 1  # type: ignore[arg-type]
        for view in asked.after(done, settings.steps, len(scene.testing)):
            yield held_out(scene, view, done)


def held_out(scene: Scene, view: int, done: int) -> Sample:
    """Held-out view number ``view``, asked for when ``done`` steps are done; it is named as its photograph is.

    Truth: ``image`` uint8 (H, W, 3), the photograph; ``mean`` uint8 (H, W, 3), the mean of all that were trained on;
    ``depth`` float32 (H, W) where it is known, in the unit of the pose, 0 where a pixel has none.
    """
    picture = scene.testing[view]
    truth: dict[str, NDArray[np.generic]] = {"image": picture.image, "mean": _mean(scene, picture.camera.size)}
    if picture.depth is not None:
        truth["depth"] = (picture.depth / scene.half).astype(np.float32)
    return rendering_sample(scene, picture.camera, picture.name, view=view, step=done, truth=truth)


def _mean(scene: Scene, size: tuple[int, int]) -> NDArray[np.uint8]:
    total = np.zeros((*size, 3), np.float64)
    for picture in scene.training:
        total += _fitted(picture, size)
    return np.asarray((total / len(scene.training)).round(), np.uint8)


def _fitted(picture: PosedPicture, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The photograph at this height and width (area average)."""
    if picture.camera.size == size:
        return picture.image
    return np.asarray(Image.fromarray(picture.image).resize(size[::-1], Image.Resampling.BOX), np.uint8)
