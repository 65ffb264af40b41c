"""Which pictures, weights and priors an image study takes: what was asked for, else what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lab.studies.base import Settings
from victims.base import weights_folder
from victims.image import cifar
from victims.image.mapping import checkpoint_file
from victims.image.victim import ImageVictim
from wire.errors import InputError

PRIOR: Final = "cifar-prior"
"""The shipped prior's folder in ``weights/``; it makes pictures of :data:`SMALL`."""

SMALL: Final = (cifar.SIDE, cifar.SIDE)

STREAMED: Final = ("lossless-test", "lossless")
"""CIFAR-10's sets that may be streamed: no prior, no auxiliary set and no query set has seen them."""

AUXILIARY: Final = "jpeg-train"

PUBLISHED: Final = {
    "cifar-resnet20": "weights/cifar10_resnet/resnet20-12fca82f.th",
    "cifar-resnet56": "weights/cifar10_resnet/resnet56-4bfd9763.th",
    "fastestdet": "weights/fastestdet/fastestdet_coco_280epoch.pth",
    "espnet": "weights/espnet/encoder_p2_q8.pth",
    "espnet-512": "weights/espnet/encoder_p2_q8.pth",
    "espnet-full": "weights/espnet/decoder_p2_q8.pth",
}
"""Checkpoints in ``EAVESPLIT_DATA`` of victims that ship no weights."""


def real_data() -> Path | None:
    """``EAVESPLIT_DATA``, or ``shared/data`` beside the project; None where neither is there."""
    named = os.environ.get("EAVESPLIT_DATA")
    folder = Path(named) if named else weights_folder().parent.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def source_of(settings: Settings, found: ImageVictim) -> Path:
    """The folder whose pictures are streamed. InputError where there is none."""
    if len(settings.data) > 1:
        raise InputError("--data: given twice; accepted: one folder of pictures")
    if settings.data:
        return Path(settings.data[0])
    data = real_data()
    folder = data / "images" / ("cifar10" if found.size == SMALL else "photos") if data else None
    if folder is None or not folder.is_dir():
        raise InputError(f"{found.name} looks at real pictures; give --data FOLDER, or set EAVESPLIT_DATA")
    return folder


def set_of(options: Mapping[str, Any], frames: int) -> str:
    """Which of CIFAR-10's sets is streamed. InputError for one that priors and attacks learn from."""
    name = str(options.get("set", STREAMED[0] if frames <= 100 else STREAMED[1]))
    if name not in STREAMED:
        raise InputError(
            f"--set set={name}: of CIFAR-10, {', '.join(STREAMED)} are accepted; priors and attacks learn from the rest"
        )
    return name


def weights_of(options: Mapping[str, Any], found: ImageVictim) -> Path | None:
    """The victim's checkpoint, shipped or published; None: random weights. InputError where there is none.

    Of a folder in transformers' layout it is the file with the tensors: a listener is granted that, not all beside it.
    """
    named = str(options.get("weights", "shipped"))
    if named == "random":
        return None
    if named != "shipped":
        file = checkpoint_file(Path(named))
        if not file.is_file():
            why = "holds no model.safetensors" if Path(named).is_dir() else "no such file"
            accepted = "a checkpoint, a folder of transformers, shipped or random"
            raise InputError(f"--set weights={named}: {why}; accepted: {accepted}")
        return file
    shipped, data = weights_folder() / f"{found.name}.safetensors", real_data()
    published = data / PUBLISHED[found.name] if data and found.name in PUBLISHED else None
    for checkpoint in (shipped, published):
        if checkpoint is not None and checkpoint.is_file():
            return checkpoint
    raise InputError(f"{found.name} ships no weights; give --set weights=PATH, or weights=random")


def prior_of(options: Mapping[str, Any], found: ImageVictim) -> Path | None:
    """A prior's folder, or that of an autoencoder alone; None where nothing was named and none is shipped."""
    if "prior" not in options:
        path = weights_folder() / PRIOR
        return path if found.size == SMALL and path.is_dir() else None
    path = Path(str(options["prior"]))
    if not (path / "config.json").is_file() and not (path / "vae").is_dir():
        raise InputError(
            f"--set prior={path}: no prior; accepted: a folder in the diffusers layout, or one autoencoder's"
        )
    return path


def auxiliary_of(options: Mapping[str, Any], source: Path, found: ImageVictim) -> Path | None:
    """The listener's own pictures; None where nothing was named and none are there."""
    if "auxiliary" in options:
        path = Path(str(options["auxiliary"]))
        if not path.exists():
            raise InputError(f"--set auxiliary={path}: no such file or folder of pictures")
        return (cifar.find(path, AUXILIARY) or path) if path.is_dir() else path
    data = real_data()
    folders = [source, source.parent, *([data / "images"] if data and found.size == SMALL else [])]
    found_there = (cifar.find(folder, AUXILIARY) for folder in folders if folder.is_dir())
    return next((file for file in found_there if file is not None), None)
