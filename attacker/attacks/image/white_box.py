"""The cut network on the attacker's side: a differentiable head, and what was captured of the one on the edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from attacker.attacks.base import CapturedFrame, Grants, SessionInfo
from attacker.attacks.image.choices import device
from victims.base import weights_digest
from victims.image.preprocessing import Preprocessing
from victims.image.split import Split
from victims.image.victim import ImageVictim
from victims.registry import victim
from wire.errors import InputError


@dataclass(frozen=True)
class WhiteBox:
    """A victim's head with its weights, frozen.

    size: height and width of a picture, in pixels. shape: of one picture's features, without the batch.
    same_weights: the session said that the edge runs these weights.
    """

    network: fx.GraphModule
    preprocessing: Preprocessing
    size: tuple[int, int]
    shape: tuple[int, ...]
    device: str
    weights_sha256: str
    same_weights: bool

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in 0..1 to features (B, *shape), preprocessing included; differentiable."""
        features: Tensor = self.network(self.preprocessing.normalised(pictures))
        return features

    def heard(self, frames: Sequence[CapturedFrame]) -> Tensor:
        """The features of ``frames`` (B, *shape) as they were captured. InputError names a frame that does not fit."""
        return torch.cat([self._heard(frame) for frame in frames]).to(self.device)

    def _heard(self, frame: CapturedFrame) -> Tensor:
        payloads = frame.payloads("up", "features")
        if len(payloads) != 1:
            raise InputError(f"frame {frame.frame}: {len(payloads)} payloads of features; accepted: 1")
        size = payloads[0].meta.get("input")
        if size != self.size:
            raise InputError(f"frame {frame.frame}: of a picture {size}; accepted: {self.size}")
        features = payloads[0].tensors.get("features")
        wanted = (1, *self.shape)
        if features is None or tuple(features.shape) != wanted:
            found = "absent" if features is None else str(tuple(features.shape))
            raise InputError(f"frame {frame.frame}: features are {found}; accepted: {wanted}")
        if not bool(torch.isfinite(features).all()):
            raise InputError(f"frame {frame.frame}: features are not finite")
        return features.detach().float().clone()


def white_box(session: SessionInfo, grants: Grants, attack: str) -> WhiteBox:
    """The head of the session's victim at its split point.

    Weights: ``grants.files["weights"]``, or what the settings ``weights`` (``random``, ``shipped``) and ``seed`` say.
    InputError where the victim is no image network, or none of them is given.
    """
    known = victim(session.victim)
    if not isinstance(known, ImageVictim):
        raise InputError(f"attack {attack}: victim {session.victim} is no image network")
    path = grants.files.get("weights")
    settings = dict(grants.settings)
    if path is not None:
        settings["weights"] = str(path)
    elif "weights" not in settings:
        raise InputError(f"attack {attack} needs the victim's weights; accepted: a file weights, or weights=random")
    network = known.network(settings)
    digest = weights_digest(network.state_dict()).hex()
    where = device(grants.settings)
    head = Split(network, known.layers.get(session.split, session.split)).head.to(where)
    with torch.no_grad():
        shape = tuple(head(torch.zeros(1, 3, *known.size, device=where)).shape[1:])
    return WhiteBox(
        head, known.preprocessing, known.size, shape, where, digest, same_weights=digest == session.weights_sha256
    )
