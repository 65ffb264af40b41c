"""From a field and a network to the picture of a pose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacker.attacks.radiance.field import Field
from attacker.attacks.radiance.heard import View
from victims.radiance.networks import EdgePart
from victims.radiance.rendering import Rendered, render
from victims.radiance.sampling import place, stretch

AT_ONCE: Final = 16384
"""Points that are worked at once: memory stays flat however large the picture."""

Render = Callable[[Tensor, Tensor, Tensor], Rendered]
"""(embeddings (R, S, E), distances (R, S), directions (R, 3)) -> what a network makes of them."""


def samples_of(camera: View, pixels: Tensor, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (R * S, 3), distances (R, S) and directions (R, 3) of a picture's rays, as the cloud places them."""
    origin, directions = camera.rays(pixels)
    enter, leave = stretch(origin, directions, camera.box, camera.near)
    distances = place(enter, leave, samples, None)
    return (origin + distances[..., None] * directions[:, None]).view(-1, 3), distances, directions


def rendering(part: EdgePart) -> Render:
    """A network's render."""
    return lambda embeddings, distances, directions: render(part, embeddings, distances, directions)


@torch.no_grad()
def picture(
    field: Field, rendered: Render, camera: View, samples: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The image float32 (H, W, 3) in 0..1 and the depth float32 (H, W) in the unit of the pose."""
    height, width = camera.size
    colours, depths = [], []
    for pixels in torch.split(torch.arange(height * width, dtype=torch.int32), max(1, AT_ONCE // samples)):
        positions, distances, directions = samples_of(camera, pixels, samples)
        embeddings = field.embed(positions).view(*distances.shape, -1)
        made = rendered(embeddings, distances, directions)
        colours.append(made.colours)
        depths.append(made.depths)
    image = torch.cat(colours).view(height, width, 3).clamp(0, 1)
    return image.numpy(), torch.cat(depths).view(height, width).numpy()
