"""ConcreTizer (ICLR 2025): voxel occupancy classification with dispersion-controlled supervision.

The paper's attack is kept: a transposed sparse convolution per downsampling layer, a sigmoid focal loss on occupancy
at every cut, regression of the channels in between, one point at the centre of every occupied voxel. Two rules are
added (``sites``: prune and cover), each with a switch, so that the attack can be shown without them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.lidar.chain import Chain, Trace, certain
from attacker.attacks.lidar.data import TAPS
from attacker.attacks.lidar.network import Guess
from attacker.attacks.lidar.train import Recipe, chain_for
from attacker.attacks.lidar.transmitted import Transmitted, level_name, transmitted
from attacker.attacks.stateless import Stateless
from victims.base import Progress, Sample, weights_folder
from victims.lidar.backbone import VoxelBackBone8x
from victims.lidar.weights import WeightsError, install, load
from wire.errors import InputError
from wire.payload import Meta


class Concretizer:
    """Restores the voxels of one frame. prune, cover: the two rules. recipe: for :meth:`fit`."""

    name = "concretizer"
    modality = "lidar"
    needs = Needs("wire", "white", splits=frozenset(TAPS))

    def __init__(self, *, prune: bool = True, cover: bool = True, recipe: Recipe | None = None) -> None:
        self.prune, self.cover, self.recipe = prune, cover, recipe or Recipe()

    def fit(self, data: Iterable[Sample], grants: Grants, work: Path, progress: Progress) -> Path:
        """Train the chain for the split point ``grants.settings["split"]`` on scans of the attacker's own.

        Needs ``grants.files["weights"]``: the victim's. Resumes from the checkpoints in ``work``; returns the path of
        the trained weights there.
        """
        split = split_name(grants.settings.get("split", "conv3.0"))
        chain, score = chain_for(TAPS.index(split) + 1, data, victim_backbone(grants), self.recipe, work, progress)
        card = {"split": split, "f1_own_scans": score, "recipe": asdict(self.recipe)}
        return save_chain(chain, work / f"{self.name}-{split}.safetensors", card)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter with the weights of ``grants.files["inverter"]``, or the shipped ones of the split point.

        ``grants.settings``: ``prune`` and ``cover``, true or false, go before the attack's own.
        """
        path = grants.files.get("inverter", weights_folder() / f"{self.name}-{split_name(session.split)}.safetensors")
        prune, cover = switch(grants, "prune", self.prune), switch(grants, "cover", self.cover)
        return Restorer(self.name, load_chain(path), prune=prune, cover=cover)


Believe = Callable[[Transmitted], Guess]
"""What to make of the transmitted level before the chain."""


def trusting(heard: Transmitted) -> Guess:
    """Every transmitted site is real and carries what the head computed."""
    return certain(heard.coords, heard.features, heard.depth)


class Restorer(Stateless):
    """One session's inversion with a trained chain."""

    def __init__(self, attack: str, chain: Chain, *, prune: bool, cover: bool, believe: Believe = trusting) -> None:
        self._attack, self._chain, self._prune, self._cover, self._believe = attack, chain, prune, cover, believe

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        """One reconstruction per frame: ``points`` at the centres of the voxels believed to be occupied."""
        return [self._restore(frame) for frame in frames]

    def _restore(self, frame: CapturedFrame) -> Reconstruction:
        heard = transmitted(frame)
        chain, trace = self._chain, Trace()
        if heard.depth != chain.depth:
            raise InputError(f"{self._attack}: payload at depth {heard.depth}; these weights accept {chain.depth}")
        with torch.inference_mode():
            top = self._believe(heard)
            guess = chain.descend(top, heard.levels, prune=self._prune, covered=self._cover, trace=trace)
        points = heard.points(guess.coords)
        meta: dict[str, Meta] = {"voxels": len(points), "sites": len(heard.coords), "believed": len(top.coords)}
        meta |= {"prune": self._prune, "cover": self._cover}
        for level, generated, kept in zip(range(chain.depth - 1, -1, -1), trace.generated, trace.kept, strict=True):
            name = level_name(level)
            meta[f"generated_{name}"], meta[f"kept_{name}"] = generated, kept
            meta[f"threshold_{name}"] = chain.thresholds[level]
        return Reconstruction(frame.session, (frame.frame,), self._attack, {"points": points}, meta)


def switch(grants: Grants, name: str, default: bool) -> bool:
    """A setting that is true or false. InputError for anything else."""
    value = grants.settings.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"attack setting {name} is {value!r}; accepted: true or false")
    return value


def split_name(split: Meta) -> str:
    """``split`` if the attack is trained for it; InputError names those that are."""
    if split not in TAPS:
        raise InputError(f"concretizer at split point {split!r}; accepted: {', '.join(TAPS)}")
    return str(split)


def victim_backbone(grants: Grants) -> VoxelBackBone8x:
    """The victim's sparse backbone from ``grants.files["weights"]`` (the whole network's file will do), frozen."""
    path = grants.files.get("weights")
    if path is None:
        raise InputError("training this attack needs the victim's weights (knowledge: victim white); none were granted")
    backbone = VoxelBackBone8x()
    state = load(path)
    inner = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
    install(backbone, inner or state, str(path))
    return backbone.eval().requires_grad_(False)


def save_chain(chain: Chain, path: Path, card: Mapping[str, Any]) -> Path:
    """Write a chain's weights with its depth, thresholds and ``card``."""
    return write_weights(chain, path, {"depth": chain.depth, "thresholds": chain.thresholds, **card})


def load_chain(path: Path) -> Chain:
    """A trained chain, ready to restore. WeightsError when the file is none."""
    card, tensors = read_weights(path)
    chain = Chain(int(card["depth"]))
    chain.thresholds = [float(t) for t in card["thresholds"]]
    install(chain, tensors, str(path))
    return chain.eval().requires_grad_(False)


def write_weights(module: nn.Module, path: Path, card: Mapping[str, Any]) -> Path:
    """Write ``module`` in half precision with ``card`` as json metadata, atomically."""
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in module.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    save_file(tensors, temporary, metadata={"concretizer": json.dumps(card, sort_keys=True)})
    os.replace(temporary, path)
    return path


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Card and tensors (float32) of a file of :func:`write_weights`. WeightsError when it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {}).get("concretizer", "null"))
            tensors = {name: file.get_tensor(name).float() for name in list(file.keys())}
    except (OSError, SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: not readable as weights of the inversion network ({error})") from error
    if not isinstance(card, dict):
        raise WeightsError(f"{path}: no inversion network inside (its metadata does not say which)")
    return card, tensors
