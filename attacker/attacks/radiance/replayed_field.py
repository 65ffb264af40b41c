"""The field of a listener on the wire that knows how the cloud began: it makes every update that the cloud makes."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from attacker.attacks.radiance.heard import HeardStep
from victims.base import State
from victims.radiance.networks import parts
from victims.radiance.settings import Training
from victims.radiance.tail import RadianceTail
from wire.errors import DecodeError, InputError

FARTHEST: Final = 0.1
"""Replayed embeddings may differ from the heard ones by this share of them: processors round differently, and the
difference grows with the steps."""


class ReplayedField:
    """A :class:`attacker.attacks.radiance.field.Field`: a tail of the same settings, fed with what was heard.

    drift: how far its embeddings of the last step were from those that crossed (relative, root of the mean square); 0
    on the same machine.
    """

    def __init__(self, split: str, victim: Training) -> None:
        self._tail = RadianceTail(parts(split, victim)[0], victim)
        self.drift = 0.0

    @property
    def done(self) -> int:
        """The step that must come next."""
        return self._tail.done

    def follow(self, heard: HeardStep) -> None:
        """Make the cloud's update. InputError names a step that cannot be followed; the field stays as it was."""
        if heard.step != self.done:
            raise InputError(
                f"step {heard.step}: the replay stands before step {self.done}; a step that was not heard cannot be "
                "replayed, and all later ones rest on it"
            )
        try:
            away = total = 0.0
            for rays, embedded, _ in heard.parts:
                mine = self._tail.reply(rays).tensors["embeddings"].float()
                theirs = embedded.tensors["embeddings"].float()
                if mine.shape != theirs.shape:
                    raise InputError(
                        f"step {heard.step}: the replayed embeddings have another shape than the heard ones, "
                        f"{tuple(mine.shape)} and {tuple(theirs.shape)}: the victim has other settings"
                    )
                away += float((mine - theirs).square().sum())
                total += float(theirs.square().sum())
            self.drift = (away / total) ** 0.5 if total else 0.0
            if self.drift > FARTHEST:
                raise InputError(
                    f"step {heard.step}: the replayed embeddings are {self.drift:.0%} off the heard ones: the cloud "
                    "began with other weights, or trains with other settings"
                )
            for _, _, gradient in heard.parts:
                self._tail.reply(gradient)
        except DecodeError as error:
            raise InputError(f"step {heard.step}: the replay fails ({error})") from error

    @torch.no_grad()
    def embed(self, positions: Tensor) -> Tensor:
        """As the cloud would."""
        made: Tensor = self._tail.part(positions)
        return made

    def state(self) -> State:
        """Weights, moments and the number of the next step."""
        return self._tail.state()

    def load(self, state: State) -> None:
        """Go back to it."""
        self._tail.load(state)
