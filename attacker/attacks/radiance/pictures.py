"""The dummy pictures: the listener's stand-ins for the private photographs, learnt together with the surrogate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from wire.errors import InputError
from wire.seeds import generator


class DummyPictures:
    """One picture of trainable pixels for each view, begun as the absolute values of normal noise, clipped to [0, 1].

    A view's picture comes to be when the view is first heard of; its start depends on the seed and its number alone.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._pictures: dict[int, Tensor] = {}
        self._sizes: dict[int, tuple[int, int]] = {}

    def get(self, view: int, size: tuple[int, int]) -> tuple[Tensor, bool]:
        """The pixels float32 (H * W, 3) of a view, which require gradients, and whether they are new.

        InputError where the view had another size before.
        """
        new = view not in self._pictures
        if new:
            rng = generator(self._seed, "radiance.dummy", frame=view)
            noise = rng.standard_normal((size[0] * size[1], 3), dtype="float32")
            self._put(view, size, torch.from_numpy(noise).abs().clamp_(max=1))
        if self._sizes[view] != tuple(size):
            raise InputError(f"view {view} has {size} pixels (height, width); before it had {self._sizes[view]}")
        return self._pictures[view], new

    @torch.no_grad()
    def clip(self) -> None:
        """Back into [0, 1]."""
        for picture in self._pictures.values():
            picture.clamp_(0, 1)

    def all(self) -> Mapping[int, Tensor]:
        """View -> pixels float32 (H * W, 3)."""
        return self._pictures

    def state(self) -> dict[str, Tensor]:
        """By name, with the sizes in the shapes: float32 (H, W, 3)."""
        return {f"picture.{view}": p.detach().clone().view(*self._sizes[view], 3) for view, p in self._pictures.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """What :meth:`state` gave."""
        self._pictures, self._sizes = {}, {}
        for name, tensor in tensors.items():
            if name.startswith("picture."):
                self._put(int(name.rpartition(".")[2]), (tensor.shape[0], tensor.shape[1]), tensor.reshape(-1, 3))

    def _put(self, view: int, size: tuple[int, int], pixels: Tensor) -> None:
        self._pictures[view] = pixels.clone().requires_grad_(True)
        self._sizes[view] = (int(size[0]), int(size[1]))
