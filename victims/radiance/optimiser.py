"""Adam as the published code runs it, whose whole state can be saved and put back."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from victims.base import State
from victims.radiance.layouts import STEEPEST, bounded
from victims.radiance.settings import Training
from wire.errors import DecodeError, InputError

BETAS: Final = (0.9, 0.99)
EPSILON: Final = 1e-15


class Optimiser:
    """Steps one part of the network. ``done``: how far the training has come, the number of the next step."""

    def __init__(self, part: nn.Module, settings: Training) -> None:
        self._part, self._settings = part, settings
        self._adam = torch.optim.Adam(part.parameters(), lr=settings.rate, betas=BETAS, eps=EPSILON, fused=True)
        self.done = 0

    def clear(self) -> None:
        """Forget gradients that were summed up."""
        self._adam.zero_grad(set_to_none=True)

    def step(self, step: int) -> None:
        """Take the summed gradients as those of ``step``.

        DecodeError where they are not finite: the weights stay, the gradients are forgotten.
        """
        for name, parameter in self._part.named_parameters():
            if parameter.grad is not None and not bounded(parameter.grad):
                self.clear()
                raise DecodeError(f"step {step}: the gradient of {name} is not finite or beyond {STEEPEST:g}")
        for group in self._adam.param_groups:
            group["lr"] = self._settings.rate_at(step)
        self._adam.step()
        self.clear()
        self.done = step + 1

    def state(self) -> State:
        """A copy of weights, moments and the number of the next step."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self._part.named_parameters():
            tensors[f"weight.{name}"] = parameter.detach().clone()
            for key, value in self._adam.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value.clone()
        return State(tensors, {"done": self.done})

    def load(self, state: State) -> None:
        """Go back to ``state``. InputError where it is another network's; nothing is changed then."""
        named = dict(self._part.named_parameters())
        done = state.meta.get("done")
        if type(done) is not int or done < 0:
            raise InputError(f"state: done is {done!r}; accepted: a whole number from 0")
        stepped = any(key.startswith("step.") for key in state.tensors)  # Adam has no moments before its first step
        moments = ("exp_avg", "exp_avg_sq", "step") if stepped else ()
        wanted = {f"{key}.{name}" for name in named for key in ("weight", *moments)}
        if set(state.tensors) != wanted:
            odd = sorted(set(state.tensors) ^ wanted)
            raise InputError(f"state: {len(odd)} tensors missing or unexpected, the first {odd[0]!r}")
        for name, parameter in named.items():
            for key in ("weight", *moments[:2]):
                found = state.tensors[f"{key}.{name}"]
                if found.shape != parameter.shape or found.dtype != parameter.dtype:
                    raise InputError(
                        f"state: {key}.{name} is {found.dtype} {tuple(found.shape)}; "
                        f"accepted: {parameter.dtype} {tuple(parameter.shape)}"
                    )
        self.clear()
        self._adam.state.clear()
        for name, parameter in named.items():
            with torch.no_grad():
                parameter.copy_(state.tensors[f"weight.{name}"])
            if moments:
                self._adam.state[parameter] = {key: state.tensors[f"{key}.{name}"].clone() for key in moments}
        self.done = done
