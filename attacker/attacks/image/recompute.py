"""Calls that are computed a second time in the backward pass, so that only their inputs are kept.

``torch.utils.checkpoint`` keeps a placeholder for every tensor that a call would have saved: for a small U-Net and 8
pictures ten times the bytes of the latents themselves. Here a call leaves one node with its inputs. That is enough
because the networks' weights are frozen: gradients are wanted for the inputs only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Call = Callable[[Tensor, Tensor], Tensor]


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Call, first: Tensor, second: Tensor) -> Tensor:
        ctx.call = call
        ctx.save_for_backward(first, second)
        return call(first, second)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_(want) for t, want in zip(ctx.saved_tensors, wanted, strict=True)]
            again = ctx.call(*inputs)
        asked = [tensor for tensor in inputs if tensor.requires_grad]
        found = iter(torch.autograd.grad(again, asked, gradient))
        return None, *(next(found) if want else None for want in wanted)


def recomputed(call: Call, first: Tensor, second: Tensor) -> Tensor:
    """``call(first, second)``, computed once more when its gradient is asked for.

    call: must give the same result every time and hold no other tensor that wants a gradient. First derivatives only.
    """
    result: Tensor = _Recomputed.apply(call, first, second)  # type: ignore[no-untyped-call]
    return result
