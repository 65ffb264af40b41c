"""The floor that knows the head: the public picture whose features are nearest to those that were heard."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.image.auxiliary import auxiliary_pictures, granted_auxiliary
from attacker.attacks.image.choices import number, read
from attacker.attacks.image.losses import relative
from attacker.attacks.image.white_box import WhiteBox, white_box
from attacker.attacks.stateless import Stateless, Untrained
from victims.image.preprocessing import pictures_of
from wire.payload import Meta

_CHUNK = 64


@dataclass(frozen=True)
class NearestPictureSettings:
    """auxiliary_frames: among how many of the auxiliary pictures."""

    auxiliary_frames: int = number(1000, 1, 1_000_000)

    PAPER: ClassVar[Mapping[str, Meta]] = {}


def nearest(features: Tensor, heard: Tensor) -> Tensor:
    """int64 (B,): for each of ``heard`` (B, ...) the row of ``features`` (N, ...) at the least distance; the first of
    equals."""
    # Differences and not |a|^2 - 2ab + |b|^2: that loses the distance between near ones in rounding.
    parts = torch.split(features.flatten(1), _CHUNK)
    distance = [torch.stack([(part - one).square().sum(1) for one in heard.flatten(1)], 1) for part in parts]
    return torch.cat(distance).argmin(0)


class _Inverter(Stateless):
    """The auxiliary pictures' features are computed once: in memory, and in ``work`` for the next inverter."""

    def __init__(self, attack: str, box: WhiteBox, images: np.ndarray, origin: str, work: Path | None) -> None:
        self._attack, self._box, self._images = attack, box, images
        self._features = self._kept(origin, work)

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        """One auxiliary picture a frame. InputError names a frame whose features do not fit."""
        if not frames:
            return []
        heard = self._box.heard(frames)
        chosen = nearest(self._features, heard)
        losses = relative(self._features[chosen], heard)
        made = []
        for frame, row, loss in zip(frames, chosen.tolist(), losses.tolist(), strict=True):
            meta: dict[str, Meta] = {"nearest": row, "loss_feature": loss, "auxiliary": len(self._images)}
            made.append(Reconstruction(frame.session, (frame.frame,), self._attack, {"image": self._images[row]}, meta))
        return made

    def _kept(self, origin: str, work: Path | None) -> Tensor:
        if work is None:
            return self._computed()
        digest = hashlib.sha256(origin.encode() + self._images.tobytes()).hexdigest()[:32]
        path = work / f"features-{digest}.safetensors"
        try:
            return load_file(path, device=self._box.device)["features"]
        except (OSError, SafetensorError, KeyError):
            features = self._computed()
        work.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        save_file({"features": features.contiguous()}, temporary)
        os.replace(temporary, path)
        return features

    @torch.no_grad()
    def _computed(self) -> Tensor:
        pictures = torch.split(pictures_of(self._images), _CHUNK)
        return torch.cat([self._box(part.to(self._box.device)) for part in pictures])


class NearestPicture(Untrained):
    """White box: the victim's weights and public pictures; nothing is optimised."""

    name = "nearest-picture"
    modality = "image"
    needs = Needs("wire", "white", batch=16)
    kind = NearestPictureSettings

    def check(self, grants: Grants, size: tuple[int, int]) -> None:
        """InputError where a setting is not accepted, or no auxiliary pictures are granted."""
        read(self.kind, grants.settings, self.name)
        granted_auxiliary(grants, self.name)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError where weights or auxiliary pictures are not granted."""
        settings = read(self.kind, grants.settings, self.name)
        box = white_box(session, grants, self.name)
        images = auxiliary_pictures(grants, box.size, settings.auxiliary_frames, self.name)
        origin = f"{session.victim}|{session.split}|{box.weights_sha256}|"
        return _Inverter(self.name, box, images, origin, grants.work)
