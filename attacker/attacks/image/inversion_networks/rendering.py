"""What becomes of a network's output: pixels (equation 5). Those of a prior are in :mod:`.latents`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Renderer(Protocol):
    """From a network's output to pictures.

    made: shape of one output. side: of a picture. prior: digest of the weights behind it, "" for none; a network only
    fits the prior that it was trained with.
    """

    made: tuple[int, int, int]
    side: int
    prior: str

    def pictures(self, output: Tensor, prompts: Sequence[str]) -> Tensor:
        """Pictures (B, 3, side, side), about 0..1, of ``output`` (B, *made); differentiable. prompts: B texts."""
        ...

    def penalty(self, output: Tensor, prompts: Sequence[str]) -> Tensor | None:
        """What is added to the summed squared error of each picture, (B,)."""
        ...


class Pixels:
    """The output is the picture, through a sigmoid."""

    prior = ""

    def __init__(self, side: int) -> None:
        self.made, self.side = (3, side, side), side

    def pictures(self, output: Tensor, prompts: Sequence[str]) -> Tensor:
        return output.sigmoid()

    def penalty(self, output: Tensor, prompts: Sequence[str]) -> Tensor | None:
        return None
