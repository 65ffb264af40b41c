"""The edge's end of split training: pixels stay here, their numbers leave; gradients follow."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from victims.base import Exchange, Outcome, Sample, State, validate
from victims.radiance.batch import Batch, batch_of
from victims.radiance.camera import rays
from victims.radiance.layouts import ACKNOWLEDGEMENT, EMBEDDINGS, GRADIENTS, RAYS
from victims.radiance.networks import EdgePart
from victims.radiance.optimiser import Optimiser
from victims.radiance.rendering import render, squared_error
from victims.radiance.settings import Training
from wire.errors import DecodeError
from wire.payload import Payload


class RadianceHead:
    """Density, colour, rendering and loss, with an optimiser of its own.

    A sample with colours is a training step: rays up, embeddings down, gradients up, acknowledgements down; the weights
    change once the cloud has acknowledged every part, so a step that fails leaves both ends as they were. A sample
    without colours is a picture to be rendered: rays up, embeddings down.
    """

    emits = frozenset({RAYS, GRADIENTS})

    def __init__(self, part: EdgePart, settings: Training, width: int) -> None:
        self.part = copy.deepcopy(part)
        self._settings, self._width = settings, width
        self._optimiser = Optimiser(self.part, settings)

    @property
    def done(self) -> int:
        """The number of the next step."""
        return self._optimiser.done

    def exchange(self, sample: Sample) -> Exchange:
        """Run one step, or render one picture.

        The Outcome of a step: ``loss`` (mean squared error) and ``colours`` float32 (R, 3), what was rendered; of a
        picture: ``image`` float32 (H, W, 3) and ``depth`` float32 (H, W), in the unit of the pose. InputError for a
        sample that is no batch; DecodeError for replies that do not fit.
        """
        batch = batch_of(sample)
        chunks = batch.chunks(self._settings.chunk_rays)
        replies = yield [chunk.payload(part, len(chunks)) for part, chunk in enumerate(chunks)]
        if not batch.train:
            return self._picture(batch, chunks, replies)
        self._optimiser.clear()
        loss, colours, gradients = 0.0, list[Tensor](), list[Payload]()
        for part, chunk in enumerate(chunks):
            share, rendered, gradient = self._learn(batch, chunk, replies, part, len(chunks))
            loss += share
            colours.append(rendered)
            gradients.append(self._gradients(batch, gradient, part, len(chunks)))
        acknowledged = yield gradients
        for part in range(len(chunks)):
            _next(acknowledged, ACKNOWLEDGEMENT, batch.step, part, len(chunks))
        self._optimiser.step(batch.step)
        return Outcome(
            {"loss": np.array(loss, np.float32), "colours": torch.cat(colours).numpy()}, {"step": batch.step}
        )

    def state(self) -> State:
        """As after the last whole step."""
        return self._optimiser.state()

    def load(self, state: State) -> None:
        """Go on from ``state``. InputError where it is another network's."""
        self._optimiser.load(state)

    def _learn(
        self, batch: Batch, chunk: Batch, replies: Iterator[Payload], part: int, parts: int
    ) -> tuple[float, Tensor, Tensor]:
        """This chunk's share of the loss, its colours, and the gradient with respect to its embeddings."""
        embeddings, distances = self._taken(replies, chunk, part, parts)
        embeddings.requires_grad_(True)
        _, directions = rays(chunk.pose, chunk.focal, chunk.centre, chunk.size[1], chunk.pixels)
        rendered = render(self.part, embeddings, distances, directions).colours
        loss = squared_error(rendered, chunk.colours, len(batch))
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = cast(Tensor, embeddings.grad)
        return float(loss.detach()), rendered.detach(), gradient.to(self._settings.crossing)

    def _gradients(self, batch: Batch, gradient: Tensor, part: int, parts: int) -> Payload:
        meta = {"step": batch.step, "part": part, "parts": parts}
        return Payload("gradients", GRADIENTS, {"gradients": gradient}, meta)

    @torch.no_grad()
    def _picture(self, batch: Batch, chunks: Sequence[Batch], replies: Iterator[Payload]) -> Outcome:
        colours, depths = [], []
        for part, chunk in enumerate(chunks):
            embeddings, distances = self._taken(replies, chunk, part, len(chunks))
            _, directions = rays(chunk.pose, chunk.focal, chunk.centre, chunk.size[1], chunk.pixels)
            rendered = render(self.part, embeddings, distances, directions)
            colours.append(rendered.colours)
            depths.append(rendered.depths)
        image = torch.cat(colours).reshape(*batch.size, 3)
        return Outcome({"image": image.numpy(), "depth": torch.cat(depths).reshape(batch.size).numpy()})

    def _taken(self, replies: Iterator[Payload], chunk: Batch, part: int, parts: int) -> tuple[Tensor, Tensor]:
        """The embeddings, a leaf of their own in float32, and the distances of a chunk."""
        payload = _next(replies, EMBEDDINGS, chunk.step, part, parts)
        wanted = (len(chunk), self._settings.samples, self._width)
        shape = tuple(payload.tensors["embeddings"].shape)
        if shape != wanted:
            raise DecodeError(f"embeddings of step {chunk.step}, part {part}: {shape}; accepted: {wanted}")
        return payload.tensors["embeddings"].detach().float(), payload.tensors["distances"]


def _next(replies: Iterator[Payload], layout: str, step: int, part: int, parts: int) -> Payload:
    """The next reply, which must be of this layout and answer this part."""
    payload = next(replies)
    if payload.layout != layout:
        raise DecodeError(f"step {step}: the cloud replied {payload.layout}; accepted: {layout}")
    validate(payload)
    found = tuple(payload.meta[key] for key in ("step", "part", "parts"))
    if found != (step, part, parts):
        raise DecodeError(f"{layout} of (step, part, parts) {found}; accepted: {(step, part, parts)}")
    return payload
