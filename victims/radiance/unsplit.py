"""The same training in one process, in one graph: what split training is compared with, and the tool that renders."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from victims.base import Sample, State
from victims.radiance.batch import Batch, batch_of
from victims.radiance.camera import rays
from victims.radiance.networks import CloudPart, EdgePart
from victims.radiance.optimiser import Optimiser
from victims.radiance.rendering import Rendered, render, squared_error
from victims.radiance.sampling import jitter, place, stretch
from victims.radiance.settings import Training


class Unsplit:
    """The whole field. Chunks, jitter, loss and optimisers are those of split training; nothing is sent."""

    def __init__(self, cloud: CloudPart, edge: EdgePart, settings: Training) -> None:
        self.cloud, self.edge = copy.deepcopy(cloud), copy.deepcopy(edge)
        self._settings = settings
        self._optimisers = [Optimiser(part, settings) for part in (self.cloud, self.edge)]

    def step(self, sample: Sample) -> float:
        """Train on one batch; the mean squared error over its pixels."""
        batch, loss = batch_of(sample), 0.0
        for optimiser in self._optimisers:
            optimiser.clear()
        for part, chunk in enumerate(batch.chunks(self._settings.chunk_rays)):
            share = squared_error(self._rendered(chunk, part).colours, chunk.colours, len(batch))
            share.backward()  # type: ignore[no-untyped-call]
            loss += float(share.detach())
        for optimiser in self._optimisers:
            optimiser.step(batch.step)
        return loss

    def states(self) -> tuple[State, State]:
        """Of the cloud's half and the edge's, as those of tail and head."""
        cloud, edge = self._optimisers
        return cloud.state(), edge.state()

    @torch.no_grad()
    def picture(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """The image float32 (H, W, 3) and the depth float32 (H, W), in the unit of the pose, of a camera."""
        batch = batch_of(sample)
        made = [self._rendered(chunk, None) for chunk in batch.chunks(self._settings.chunk_rays)]
        image = torch.cat([chunk.colours for chunk in made]).reshape(*batch.size, 3)
        return image, torch.cat([chunk.depths for chunk in made]).reshape(batch.size)

    def _rendered(self, chunk: Batch, part: int | None) -> Rendered:
        """part: the chunk's number in a training step; None where samples lie in the middle of their bins."""
        settings = self._settings
        origin, directions = rays(chunk.pose, chunk.focal, chunk.centre, chunk.size[1], chunk.pixels)
        enter, leave = stretch(origin, directions, chunk.box, chunk.near)
        draws = None if part is None else jitter(settings.seed, chunk.step, part, len(chunk), settings.samples)
        distances = place(enter, leave, settings.samples, draws)
        positions = origin + distances[..., None] * directions[:, None]
        embeddings = self.cloud(positions.view(-1, 3)).view(*distances.shape, -1)
        return render(self.edge, embeddings, distances, directions)
