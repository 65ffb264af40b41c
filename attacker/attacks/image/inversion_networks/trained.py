"""The file that a training leaves: the network, what it was trained on, and the digests of every picture asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from attacker.attacks.image.inversion_networks.network import InversionNetwork, Shape
from wire.errors import InputError

NAME = "inverter.safetensors"
DIGEST_BYTES = 8
"""Of a sample's SHA-256, what a file keeps: enough to tell pictures apart, a quarter of the size."""
_KEY, _DIGESTS = "inversion", "queried"


@dataclass(frozen=True)
class Card:
    """What a trained network is for. prior: digest of the prior's weights, "" for none. epoch: the one that was kept,
    of ``epochs``; psnr: dB on the held-out queries then. seconds: of CPU in training. settings: all of them, as JSON.
    """

    attack: str
    victim: str
    split: str
    features: tuple[int, ...]
    side: int
    made: tuple[int, int, int]
    frames: int
    width: int
    middle: int
    prior: str
    queries: int
    epochs: int
    epoch: int
    psnr: float
    seconds: float
    settings: str

    @property
    def shape(self) -> Shape:
        """Of the network."""
        return Shape(self.features, self.side, self.made, self.frames, self.width)


def save_trained(path: Path, network: InversionNetwork, card: Card, digests: np.ndarray) -> Path:
    """Write atomically. digests: uint8 (N, 32), SHA-256 of every sample asked for; their beginnings are kept."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    tensors[_DIGESTS] = torch.from_numpy(np.array(digests[:, :DIGEST_BYTES]))
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata={_KEY: json.dumps(asdict(card), sort_keys=True)})
    os.replace(part, path)
    return path


def load_trained(path: Path, device: str = "cpu") -> tuple[InversionNetwork, Card]:
    """The network, frozen, in eval mode, and its card. InputError where the file holds none."""
    try:
        with safe_open(path, framework="pt") as file:
            card = _card(json.loads((file.metadata() or {}).get(_KEY, "null")))
            tensors = {name: file.get_tensor(name) for name in list(file.keys()) if name != _DIGESTS}
        network = InversionNetwork(card.shape, card.middle)
        network.load_state_dict(tensors)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: not readable as a trained inversion network ({first})") from error
    return network.to(device).eval().requires_grad_(False), card


def asked_about(path: Path, digests: Iterable[str]) -> frozenset[str]:
    """Those of ``digests`` (SHA-256 in hex, of samples) that the network in ``path`` was trained on or chosen by: it
    may not be judged on them. InputError where the file holds no network."""
    try:
        with safe_open(path, framework="pt") as file:
            kept = file.get_tensor(_DIGESTS).numpy()
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable as a trained inversion network ({error})") from error
    known = {row.tobytes().hex() for row in kept}
    return frozenset(digest for digest in digests if digest[: 2 * DIGEST_BYTES] in known)


def _card(stored: Any) -> Card:
    if not isinstance(stored, dict):
        raise ValueError("its metadata does not describe one")
    wanted = {entry.name for entry in fields(Card)}
    if stored.keys() != wanted:
        raise ValueError(f"its metadata differs in {', '.join(sorted(stored.keys() ^ wanted))}")
    values: dict[str, Any] = {k: tuple(value) if isinstance(value, list) else value for k, value in stored.items()}
    return Card(**values)
