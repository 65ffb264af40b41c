"""A training step's batch: which pixels of which picture. A sample of the radiance modality is one of these.

Its choice depends on the edge's seed and the step alone, so a step that is taken again after a rollback is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from victims.base import Sample
from victims.radiance.camera import Camera, fault
from victims.radiance.layouts import RAYS
from victims.radiance.sampling import Box
from victims.radiance.scene import LEAST_NEAR, Scene
from victims.radiance.settings import Training
from wire.errors import InputError
from wire.payload import Meta, Payload
from wire.seeds import generator


@dataclass(frozen=True)
class Batch:
    """Rays of one camera, in the unit cube.

    pose float32 (3, 4); pixels int32 (R,); colours float32 (R, 3), what the pixels look like: the edge's own, and
    (0, 3) where a picture is to be rendered. step: of the training. view: the picture's number.
    """

    step: int
    view: int
    pose: Tensor
    pixels: Tensor
    colours: Tensor
    size: tuple[int, int]
    focal: tuple[float, float]
    centre: tuple[float, float]
    near: float
    box: Box

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def train(self) -> bool:
        """Whether there is something to learn from."""
        return len(self.colours) > 0

    def chunks(self, rays: int) -> Sequence[Batch]:
        """The same in parts of at most so many rays."""
        pieces = torch.split(self.pixels, rays)
        colours = torch.split(self.colours, rays) if self.train else [self.colours] * len(pieces)
        return [replace(self, pixels=pixels, colours=colour) for pixels, colour in zip(pieces, colours, strict=True)]

    def payload(self, part: int, parts: int) -> Payload:
        """What leaves the edge of it: poses and pixel numbers, no colours."""
        meta: dict[str, Meta] = {
            "step": self.step,
            "part": part,
            "parts": parts,
            "train": self.train,
            "view": self.view,
            "size": self.size,
            "focal": self.focal,
            "centre": self.centre,
            "near": self.near,
            "box": self.box,
        }
        return Payload("rays", RAYS, {"pose": self.pose, "pixels": self.pixels}, meta)


def training_samples(scene: Scene, settings: Training, first: int = 0) -> Iterator[Sample]:
    """One sample a step, from step ``first`` to the last."""
    views = scene.training
    for step in range(first, settings.steps):
        number = _order(settings.edge_seed, step // len(views), len(views))[step % len(views)]
        picture = views[number]
        rng = generator(settings.edge_seed, "radiance.pixels", frame=step)
        pixels = rng.integers(picture.camera.pixels, size=settings.rays, dtype=np.int32)
        colours = picture.image.reshape(-1, 3)[pixels].astype(np.float32) / 255
        arrays: dict[str, NDArray[np.generic]] = {"pixels": pixels, "colours": colours}
        truth = {"image": picture.image}
        yield _sample(scene, picture.camera, f"step-{step:06d}", arrays, truth, view=number, step=step)


def rendering_sample(
    scene: Scene,
    camera: Camera,
    name: str,
    *,
    view: int = 0,
    step: int = 0,
    truth: Mapping[str, NDArray[np.generic]] | None = None,
) -> Sample:
    """Ask for the picture of a camera (in the scene's own units): every pixel of it, nothing to learn from.

    view: the picture's number among those that are asked for. step: how many steps are done. truth: for scoring.
    """
    pixels = np.arange(camera.pixels, dtype=np.int32)
    return _sample(scene, camera, name, {"pixels": pixels}, truth or {}, view=view, step=step)


def batch_of(sample: Sample) -> Batch:
    """The batch that a sample describes. InputError for one that is none."""
    arrays, meta = sample.arrays, sample.meta
    missing = sorted({"pose", "pixels"} - set(arrays)) + sorted(set(_META) - set(meta))
    if missing:
        raise InputError(f"{sample.name}: no radiance batch: {', '.join(missing)} missing")
    wrong = fault(np.asarray(arrays["pose"], np.float64))
    if wrong:
        raise InputError(f"{sample.name}: the pose is no rigid transform: {wrong}")
    pixels = torch.from_numpy(np.ascontiguousarray(arrays["pixels"], np.int32))
    colours = torch.from_numpy(np.ascontiguousarray(arrays.get("colours", np.zeros((0, 3))), np.float32))
    if tuple(colours.shape) not in ((len(pixels), 3), (0, 3)):
        raise InputError(f"{sample.name}: colours {tuple(colours.shape)}; accepted: {(len(pixels), 3)}, or none")
    return Batch(
        pose=torch.from_numpy(np.ascontiguousarray(arrays["pose"], np.float32)),
        pixels=pixels,
        colours=colours,
        **{key: meta[key] for key in _META},  # type: ignore[arg-type]
    )


_META = ("step", "view", "size", "focal", "centre", "near", "box")


def _sample(
    scene: Scene,
    camera: Camera,
    name: str,
    arrays: Mapping[str, NDArray[np.generic]],
    truth: Mapping[str, NDArray[np.generic]],
    *,
    view: int,
    step: int,
) -> Sample:
    """``camera`` in the scene's unit; the sample's is that of what travels."""
    camera = camera.moved(scene.middle, scene.half)
    meta: dict[str, Meta] = {
        "step": step,
        "view": view,
        "size": camera.size,
        "focal": camera.focal,
        "centre": camera.centre,
        "near": max(scene.near / scene.half, LEAST_NEAR),
        "box": scene.unit_box,
    }
    return Sample(name, {"pose": camera.pose.astype(np.float32), **arrays}, truth, meta)


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, views: int) -> tuple[int, ...]:
    """The pictures of one epoch, shuffled: each once."""
    return tuple(int(v) for v in generator(seed, "radiance.views", frame=epoch).permutation(views))
