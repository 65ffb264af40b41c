"""What a picture is written in while it is optimised: its pixels, or waves with the slow ones first.

Adam moves every coordinate at the same rate. In pixels the rate is the same for all frequencies, while pictures are
mostly slow waves; in waves weighted by 1 / frequency it follows the pictures' own spectrum (Olah et al. 2017, "Feature
Visualization", preconditioning). Nothing is learnt: it is a change of coordinates, any picture can be reached.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Basis = Callable[[Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]
"""Pictures (B, C, H, W) -> the variable that stands for them, and the way from such a variable back to pictures."""


def pixels(start: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The pictures themselves."""
    return start, lambda variable: variable


def waves(start: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Coefficients (B, C, H, W // 2 + 1, 2), real and imaginary, of what is added to ``start``; zero at first.

    Weights are 1 / frequency, the slowest wave's for the mean, and 1 on average, so that a learning rate means the same
    at every size.
    """
    height, width = start.shape[-2:]
    options = {"dtype": start.dtype, "device": start.device}
    down, right = torch.fft.fftfreq(height, **options), torch.fft.rfftfreq(width, **options)
    weight = 1 / torch.hypot(down[:, None], right[None]).clamp_min(1 / max(height, width))
    weight = weight / weight.mean()

    def pictures(variable: Tensor) -> Tensor:
        spectrum = torch.view_as_complex(variable) * weight
        added: Tensor = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")
        return start + added

    return start.new_zeros(*start.shape[:-1], len(right), 2), pictures


BASES: Mapping[str, Basis] = {"pixels": pixels, "waves": waves}
