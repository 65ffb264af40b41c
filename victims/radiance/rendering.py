"""Densities and colours along rays to the colour of a pixel, with nerfacc's dense functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from victims.radiance.networks import EdgePart
from wire.errors import MissingExtraError

try:
    from nerfacc import accumulate_along_rays, render_weight_from_density  # type: ignore[import-untyped]
except ImportError as error:
    raise MissingExtraError(
        f"radiance victims need nerfacc ({error}); install it with: pip install -e .[radiance]"
    ) from error

BACKGROUND: Final = 1.0
"""White, as the published code for pictures without transparency."""


@dataclass(frozen=True)
class Rendered:
    """colours (R, 3) in 0..1; depths (R,), the mean distance of what was met, in the rays' unit; weights (R, S)."""

    colours: Tensor
    depths: Tensor
    weights: Tensor


def render(part: EdgePart, embeddings: Tensor, distances: Tensor, directions: Tensor) -> Rendered:
    """The pixels of R rays with S samples each. Can be differentiated twice.

    embeddings (R, S, E); distances (R, S), ascending; directions, unit (R, 3). A sample stands for the stretch up to
    the next one, the last for a stretch of mean length.
    """
    density, colour = part(embeddings, directions)
    mean = (distances[:, -1:] - distances[:, :1]) / (distances.shape[1] - 1)
    ends = torch.cat([distances[:, 1:], distances[:, -1:] + mean], dim=1)
    weights, _, _ = render_weight_from_density(distances, ends, density)
    met = accumulate_along_rays(weights)
    colours = accumulate_along_rays(weights, colour) + (1 - met) * BACKGROUND
    depths = accumulate_along_rays(weights, distances[..., None]) / met.clamp(min=1e-6)
    return Rendered(colours, depths[:, 0], weights)


def squared_error(colours: Tensor, wanted: Tensor, rays: int) -> Tensor:
    """This chunk's share of the step's loss: the mean squared error over ``rays`` pixels and three channels."""
    return ((colours - wanted) ** 2).sum() / (3 * rays)
