"""A captured frame as the radiance attacks read it: a step of the training, or a picture that was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacker.attacks.base import CapturedFrame
from victims.radiance.camera import rays
from victims.radiance.layouts import EMBEDDINGS, GRADIENTS, RAYS
from victims.radiance.sampling import Box
from wire.errors import InputError
from wire.payload import Payload


@dataclass(frozen=True)
class View:
    """A camera, as its rays' meta says.

    step: of the training; of a picture, steps done so far. view: the picture's number. pose float32 (3, 4), focal and
    centre (x, y) in pixels, size (height, width). near and box in the unit of the pose.
    """

    step: int
    view: int
    pose: Tensor
    focal: tuple[float, float]
    centre: tuple[float, float]
    size: tuple[int, int]
    near: float
    box: Box

    def rays(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Origin (3,) and unit directions (R, 3) of pixels (R,)."""
        return rays(self.pose, self.focal, self.centre, self.size[1], pixels)


@dataclass(frozen=True)
class Points:
    """Rays of one step, and what crossed about their samples.

    pixels int32 (R,), directions (R, 3), origin (3,), distances (R, S), embeddings and gradients float32 (R, S, E).
    of: how many rays the whole step had, which the victim's loss is a mean over.
    """

    view: int
    pixels: Tensor
    origin: Tensor
    directions: Tensor
    distances: Tensor
    embeddings: Tensor
    gradients: Tensor
    of: int

    @property
    def positions(self) -> Tensor:
        """(R * S, 3), in the unit of the pose."""
        return (self.origin + self.distances[..., None] * self.directions[:, None]).view(-1, 3)


@dataclass(frozen=True)
class HeardStep:
    """A training step. parts: rays, embeddings and gradients of each part, in order."""

    camera: View
    parts: Sequence[tuple[Payload, Payload, Payload]]

    @property
    def step(self) -> int:
        return self.camera.step

    @property
    def rays(self) -> int:
        """How many rays the step has."""
        return sum(len(rays.tensors["pixels"]) for rays, _, _ in self.parts)

    def points(self, rows: Tensor | None = None) -> Points:
        """The rays of ``rows`` int64 (R,), ascending; None: all."""
        taken: list[list[Tensor]] = [[], [], [], []]
        before = 0
        for rays_, embedded, gradient in self.parts:
            count = len(rays_.tensors["pixels"])
            tensors = (
                rays_.tensors["pixels"],
                embedded.tensors["distances"],
                embedded.tensors["embeddings"],
                gradient.tensors["gradients"],
            )
            mine = None if rows is None else rows[(rows >= before) & (rows < before + count)] - before
            for all_of_it, tensor in zip(taken, tensors, strict=True):
                all_of_it.append(tensor if mine is None else tensor[mine])
            before += count
        pixels, distances, embeddings, gradients = (torch.cat(tensors) for tensors in taken)
        origin, directions = self.camera.rays(pixels)
        return Points(
            self.camera.view, pixels, origin, directions, distances, embeddings.float(), gradients.float(), before
        )

    def chunked(self, most: int, rows: Tensor | None = None) -> Chunks:
        """The same rays, at most ``most`` points of them at once, but at least one ray."""
        samples = self.parts[0][1].tensors["distances"].shape[1]
        if (self.rays if rows is None else len(rows)) * samples <= most:
            return [self.points(rows)]
        every = torch.arange(self.rays) if rows is None else rows
        return Chunked(self, torch.split(every, max(1, most // samples)))


@dataclass(frozen=True)
class Chunked:
    """Rays of a step, a chunk at a time: each is copied out of the parts when its turn comes, every time anew."""

    step: HeardStep
    rows: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Points]:
        return (self.step.points(rows) for rows in self.rows)


Chunks = list[Points] | Chunked
"""Rays of a step; where they are few, one chunk."""


def heard(frame: CapturedFrame) -> HeardStep | View:
    """A step with all that crossed of it, or the camera of a picture. InputError says what is missing."""
    sent = [p for p in frame.payloads("up", "rays") if p.layout == RAYS]
    if not sent:
        raise InputError(f"frame {frame.frame}: no rays; accepted: a frame of split training")
    camera = _camera(sent[0])
    if not sent[0].meta["train"]:
        return camera
    answers = [p for p in frame.payloads("down", "embeddings") if p.layout == EMBEDDINGS]
    gradients = [p for p in frame.payloads("up", "gradients") if p.layout == GRADIENTS]
    if not len(sent) == len(answers) == len(gradients) == sent[0].meta["parts"]:
        raise InputError(
            f"frame {frame.frame}, step {camera.step}: {len(sent)} parts of rays, {len(answers)} of embeddings, "
            f"{len(gradients)} of gradients; accepted: {sent[0].meta['parts']} of each"
        )
    parts = list(zip(sent, answers, gradients, strict=True))
    for rays_, embedded, gradient in parts:
        shape, wanted = tuple(gradient.tensors["gradients"].shape), tuple(embedded.tensors["embeddings"].shape)
        count = len(rays_.tensors["pixels"])
        if shape != wanted or count != wanted[0]:
            raise InputError(
                f"frame {frame.frame}, step {camera.step}: {count} rays, embeddings {wanted} and gradients {shape} do "
                "not go together"
            )
    return HeardStep(camera, parts)


def _camera(payload: Payload) -> View:
    meta = payload.meta
    return View(
        int(meta["step"]),  # type: ignore[arg-type]
        int(meta["view"]),  # type: ignore[arg-type]
        payload.tensors["pose"],
        meta["focal"],  # type: ignore[arg-type]
        meta["centre"],  # type: ignore[arg-type]
        meta["size"],  # type: ignore[arg-type]
        float(meta["near"]),  # type: ignore[arg-type]
        meta["box"],  # type: ignore[arg-type]
    )
