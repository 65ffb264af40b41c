"""What the three black-box attacks share: queries, training, and inversion by one pass of the trained network."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.image import choices
from attacker.attacks.image.choices import read
from attacker.attacks.image.inversion_networks.answers import Answers, ask
from attacker.attacks.image.inversion_networks.features import features_of
from attacker.attacks.image.inversion_networks.network import InversionNetwork, Shape
from attacker.attacks.image.inversion_networks.rendering import Renderer
from attacker.attacks.image.inversion_networks.settings import InversionSettings
from attacker.attacks.image.inversion_networks.trained import NAME, Card, load_trained, save_trained
from attacker.attacks.image.inversion_networks.training import Training
from attacker.attacks.stateless import Stateless
from victims.base import Progress, Sample
from victims.image.preprocessing import images_of
from wire.errors import InputError
from wire.payload import Meta


class InversionByNetwork:
    """An attack that asks queries, learns from the answers, and then inverts in one pass.

    A subclass has ``name``, ``needs``, ``kind`` (its settings) and :meth:`renderer`.
    """

    name: str
    modality = "image"
    needs: Needs
    kind: type[InversionSettings] = InversionSettings

    def renderer(self, settings: InversionSettings, grants: Grants, side: int) -> Renderer:
        """What becomes of the network's output. side: of a picture."""
        raise NotImplementedError

    def described(self, samples: Iterable[Sample], settings: InversionSettings) -> Iterable[Sample]:
        """The pictures that are asked about, with words, if the attack has a use for them."""
        return samples

    def start(self, network: InversionNetwork, grants: Grants) -> None:
        """Change fresh weights, if the attack begins elsewhere."""

    def fit(self, data: Iterable[Sample], grants: Grants, work: Path, progress: Progress) -> Path:
        """Ask what comes out for the pictures of ``data``, learn to invert it; returns the trained file in ``work``.

        Needs ``grants.query`` and the settings ``victim`` and ``split``. Answers and epochs are kept in ``work``: the
        same call after a kill asks nothing again and goes on.
        """
        victim, split = _told(grants, "victim", self.name), _told(grants, "split", self.name)
        settings, seed = self._settings(grants), choices.seed(grants.settings, self.name)
        if grants.query is None:
            raise InputError(f"attack {self.name} learns from queries and was granted none; accepted: queries from 1")
        samples = iter(data)
        first = next(samples, None)
        if first is None or "image" not in first.arrays:
            raise InputError(f"attack {self.name} has no pictures to ask about; accepted: samples with an image")
        renderer = self.renderer(settings, grants, len(first.arrays["image"]))
        asked = self.described(chain([first], samples), settings)
        answers = ask(asked, grants.query, settings.queries, work, progress)
        network = self._network(answers, renderer, settings, seed)
        self.start(network, grants)
        device = choices.device(grants.settings)
        origin = "|".join([self.name, victim, split, renderer.prior])
        training = Training(
            network.to(device), renderer, answers, settings, seed=seed, device=device, work=work, origin=origin
        )
        training.run(progress)
        card = Card(
            self.name, victim, split, network.shape.features, renderer.side, renderer.made, settings.frames,
            settings.width, network.middle, renderer.prior, len(answers), settings.epochs, training.best.epoch,
            training.best.psnr, training.seconds, json.dumps(asdict(settings), sort_keys=True),
        )  # fmt: skip
        return save_trained(work / NAME, network, card, answers.digests)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter with the network in ``grants.files["inverter"]``.

        InputError where it was trained for another attack, victim, split point or prior.
        """
        path = grants.files.get("inverter")
        if path is None:
            raise InputError(f"attack {self.name} needs a trained network; accepted: a file inverter")
        device = choices.device(grants.settings)
        network, card = load_trained(path, device)
        for what, found, wanted in (
            ("attack", card.attack, self.name),
            ("victim", card.victim, session.victim),
            ("split point", card.split, session.split),
        ):
            if found != wanted:
                raise InputError(f"{path}: trained for {what} {found}; accepted: {wanted}")
        renderer = self.renderer(self._as_trained(grants, card), grants, card.side)
        if (renderer.prior, renderer.made) != (card.prior, card.made):
            raise InputError(f"{path}: was trained with another prior; accepted: the one it was trained with")
        return _Inverter(self.name, network, card, renderer, self.needs.batch, device)

    def _settings(self, grants: Grants) -> InversionSettings:
        own = {key: value for key, value in grants.settings.items() if key not in ("victim", "split")}
        return read(self.kind, own, self.name)

    def _as_trained(self, grants: Grants, card: Card) -> InversionSettings:
        """The settings of the training, with those that are given for this session."""
        own = {key: value for key, value in grants.settings.items() if key not in ("victim", "split", "paper")}
        return read(self.kind, {**json.loads(card.settings), **own}, self.name)

    def _network(
        self, answers: Answers, renderer: Renderer, settings: InversionSettings, seed: int
    ) -> InversionNetwork:
        shape = Shape(answers.features.shape[1:], renderer.side, renderer.made, settings.frames, settings.width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return InversionNetwork(shape)


class _Inverter(Stateless):
    def __init__(
        self, attack: str, network: InversionNetwork, card: Card, renderer: Renderer, batch: int, device: str
    ) -> None:
        self._attack, self._network, self._card, self._renderer = attack, network, card, renderer
        self._groups, self._device = max(1, batch // card.frames), device

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        """One reconstruction a frame. InputError names a frame whose features do not fit."""
        groups = grouped(frames, self._card.frames)
        heard = {id(frame): self._heard(frame) for frame in frames}
        made: dict[int, Reconstruction] = {}
        for first in range(0, len(groups), self._groups):
            part = groups[first : first + self._groups]
            began = time.process_time()
            images = self._pictures(torch.stack([torch.stack([heard[id(frame)] for frame in group]) for group in part]))
            meta: dict[str, Meta] = {
                "cpu_s": (time.process_time() - began) / len({id(frame) for group in part for frame in group}),
                "queries": self._card.queries,
                "epochs": self._card.epochs,
            }
            for frame, image in zip(chain.from_iterable(part), images, strict=True):
                made[id(frame)] = Reconstruction(frame.session, (frame.frame,), self._attack, {"image": image}, meta)
        return [made[id(frame)] for frame in frames]

    @torch.inference_mode()
    def _pictures(self, features: Tensor) -> np.ndarray:
        output = self._network(features.to(self._device)).flatten(0, 1)
        return images_of(self._renderer.pictures(output, [""] * len(output)))

    def _heard(self, frame: CapturedFrame) -> Tensor:
        features = features_of(frame.payloads("up"), f"frame {frame.frame}")
        if tuple(features.shape) != self._card.features:
            raise InputError(
                f"frame {frame.frame}: features are {tuple(features.shape)}; accepted: {self._card.features}"
            )
        return features


def grouped(frames: Sequence[CapturedFrame], size: int) -> list[list[CapturedFrame]]:
    """Frames whose numbers share a block of ``size``, in order; a missing one is stood in for by the one before it (or,
    at the start, after it)."""
    blocks: dict[tuple[str, int, int], dict[int, CapturedFrame]] = {}
    for frame in frames:
        key = (frame.session, frame.incarnation, frame.frame // size)
        blocks.setdefault(key, {})[frame.frame % size] = frame
    groups = []
    for present in blocks.values():
        now = present[min(present)]
        group = []
        for place in range(size):
            now = present.get(place, now)
            group.append(now)
        groups.append(group)
    return groups


def _told(grants: Grants, name: str, attack: str) -> str:
    value = grants.settings.get(name)
    if not isinstance(value, str) or not value:
        raise InputError(f"attack {attack}: setting {name} is {value!r}; accepted: the name of the {name} it is for")
    return value
