"""Image networks as victims: preprocessing and the first layers on the edge, the rest in the cloud."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from victims.base import Cut, Exchange, Outcome, Sample, config_digest, weights_digest, weights_folder
from victims.image import cifar, scenes
from victims.image.arrays import read_arrays
from victims.image.clips import INDEX, Clips, pan_over, video_clips, videos
from victims.image.layouts import DENSE
from victims.image.mapping import install, read_checkpoint
from victims.image.pictures import find_pictures, fitted, read_picture, squeezed
from victims.image.preprocessing import IMAGENET, Preprocessing, pictures_of
from victims.image.resnet import cifar_resnet, resnet18, resnet50
from victims.image.scenes import FRAMES_PER_SCENE
from victims.image.split import Split, where
from victims.image.vit import cifar_vit, vit_b_16
from wire.errors import DecodeError, InputError
from wire.payload import Meta, Payload

Task = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""From the network's answer, by name, to what its user wants: logits as they are, boxes, a map of classes."""


class ImageHead:
    """A picture to the features of one split point. Inference: one turn of one part."""

    emits = frozenset({DENSE})

    def __init__(self, split: Split, preprocessing: Preprocessing, size: tuple[int, int], task: Task = dict) -> None:
        self._split, self._preprocessing, self._size, self._task = split, preprocessing, size, task

    def exchange(self, sample: Sample) -> Exchange:
        """Send the features, wait for the network's answer. InputError for a picture of another size."""
        image = sample.arrays["image"]
        if image.shape != (*self._size, 3) or image.dtype != np.uint8:
            raise InputError(f"{sample.name}: image {image.dtype} {image.shape}; accepted: uint8 {(*self._size, 3)}")
        with torch.inference_mode():
            features = self._split.head(self._preprocessing.normalised(pictures_of(image[None])))
        replies = yield [Payload("features", DENSE, {"features": features.contiguous()}, {"input": image.shape[:2]})]
        result = next(replies)
        return Outcome(self._task({name: tensor.numpy() for name, tensor in result.tensors.items()}))


class ImageTail:
    """Features to the network's answer."""

    accepts = frozenset({DENSE})

    def __init__(self, split: Split, shape: tuple[int, ...]) -> None:
        self._split, self._shape = split, shape

    def reply(self, payload: Payload) -> Payload:
        """Run the rest of the network. DecodeError when the features are not this split point's."""
        features = payload.tensors.get("features")
        shape = None if features is None else tuple(features.shape)
        if features is None or shape != self._shape:
            raise DecodeError(f"{self._split.at}: features {shape}; accepted: {self._shape}")
        with torch.inference_mode():
            answer = self._split.tail(features)
        named = answer if isinstance(answer, Mapping) else {"logits": answer}
        return Payload("result", DENSE, {name: t.contiguous() for name, t in named.items()}, payload.meta)


@dataclass(frozen=True)
class ImageVictim:
    """A network for pictures of one size.

    build: a network with fresh weights. size: height and width of a picture, in pixels. points: the split points that
    are offered; any other module where a single tensor crosses is accepted as well. layers: names that a paper gives
    to some of them. whole: pictures of another shape are squeezed rather than cut. task: what the edge makes of the
    network's answer. keys: from the names in a published checkpoint to the network's own.

    settings of ``cut``: ``weights`` (``shipped``, ``random`` or a path) and ``seed``. Settings of ``samples``:
    ``frames`` (0: all), ``set`` (of CIFAR-10, default ``lossless``); of procedural scenes ``seed`` and
    ``frames_per_scene``; ``clip`` = K: K consecutive frames of a video (:mod:`victims.image.clips`) are a clip; ``pan``
    = K: K windows that move over a picture are one. A clip's samples share ``meta["group"]``, as do frames of a video.
    """

    name: str
    build: Callable[[], nn.Module]
    size: tuple[int, int]
    points: tuple[str, ...]
    preprocessing: Preprocessing = IMAGENET
    layers: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    task: Task = dict
    keys: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] = dict
    modality: str = "image"

    @property
    def side(self) -> int:
        """Of a square picture, in pixels. InputError where pictures are not square."""
        height, width = self.size
        if height != width:
            raise InputError(f"{self.name} looks at {width}x{height} pictures; accepted here: a victim of squares")
        return height

    @property
    def splits(self) -> tuple[str, ...]:
        """The split points that are offered, and the papers' names for some of them."""
        return (*self.points, *self.layers)

    def network(self, settings: Mapping[str, Meta]) -> nn.Module:
        """The network with the weights that ``settings`` name, in eval mode."""
        weights = str(settings.get("weights", "shipped"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_whole(settings, "seed", 0))
            network = self.build()
        if weights != "random":
            path = weights_folder() / f"{self.name}.safetensors" if weights == "shipped" else Path(weights)
            if weights == "shipped" and not path.exists():
                raise InputError(f"{self.name} ships no weights; accepted: --set weights=PATH, or weights=random")
            install(network, self.keys(read_checkpoint(path)), f"weights {path}")
        return network.eval()

    def cut(self, split: str, settings: Mapping[str, Meta]) -> Cut:
        """Build the network and name its halves. InputError where it cannot be cut there, with where it can."""
        network = self.network(settings)
        halves = Split(network, self.layers.get(split, split))
        with torch.inference_mode():
            shape = tuple(halves.head(torch.zeros(1, 3, *self.size)).shape)
        return Cut(
            victim=self.name,
            split=split,
            weights_sha256=weights_digest(network.state_dict()),
            config_sha256=config_digest(
                {
                    "size": self.size,
                    "mean": self.preprocessing.mean,
                    "deviation": self.preprocessing.deviation,
                    "order": self.preprocessing.order,
                }
            ),
            head=lambda: ImageHead(halves, self.preprocessing, self.size, self.task),
            tail=lambda: ImageTail(halves, shape),
            info={"size": "{1}x{0}".format(*self.size), "weights": str(settings.get("weights", "shipped"))},
        )

    def samples(self, source: str, settings: Mapping[str, Meta]) -> Iterator[Sample]:
        """Pictures from ``source``: ``procedural`` scenes, a folder with CIFAR-10's array files, an ``.npz`` file, or a
        folder of pictures.

        Larger and smaller pictures are cut to their central part of the network's shape (or squeezed) and resized. A
        picture that cannot be read raises InputError when it is reached, and the next one follows; it does not count
        among ``frames``. InputError at once where none can be read. ``clip`` holds for folders of videos, ``pan`` for
        every other source but scenes, so that both may be set.
        """
        frames = _whole(settings, "frames", 0)
        if source == "procedural":
            seed, each = _whole(settings, "seed", 0), _whole(settings, "frames_per_scene", FRAMES_PER_SCENE) or 1
            drawn = scenes.pictures(seed, max(self.size), frames, each)
            return (self._sample(name, image, -1, {"group": f"scene-{which:04d}"}) for name, which, image in drawn)
        path = Path(source)
        if not path.exists():
            raise InputError(f"{path}: no such file or folder of pictures")
        clip, pan = _whole(settings, "clip", 0), _whole(settings, "pan", 0)
        if clip and videos(path):
            found = video_clips(path, clip)
            clips = (partial(self._clip, name, files) for name, files in found)
            return Clips(clips, frames, origin=path, kind="clips")
        side = self.side if pan else 0
        name = str(settings.get("set", "lossless"))
        array = path if path.suffix == ".npz" else cifar.find(path, name)
        if array is None:
            files = find_pictures(path)
            if pan:
                panned = (partial(self._pan, f.stem, partial(read_picture, f), -1, side, pan) for f in files)
                return Clips(panned, frames, origin=path)
            return Clips((partial(self._from_file, f) for f in files), frames, origin=path)
        pictures = read_arrays(array, math.ceil(frames / max(pan, 1)) or None)
        if not len(pictures):
            raise InputError(f"{array}: holds no pictures")
        numbered = zip(range(len(pictures)), pictures.images, pictures.labels, strict=True)
        told = ((f"{array.stem}/{i:05d}", image, int(label)) for i, image, label in numbered)
        if pan:
            panned = (
                partial(self._pan, name, partial(np.asarray, image), label, side, pan) for name, image, label in told
            )
            return Clips(panned, frames, origin=array)
        return (self._sample(*picture) for picture in told)

    def _from_file(self, path: Path) -> list[Sample]:
        video = {"group": path.parent.name} if (path.parent / INDEX).is_file() else {}
        return [self._sample(path.stem, read_picture(path), -1, video)]

    def _clip(self, name: str, files: Sequence[Path]) -> list[Sample]:
        return [self._sample(f"{name}/{file.stem}", read_picture(file), -1, {"group": name}) for file in files]

    def _pan(self, name: str, read: Callable[[], np.ndarray], label: int, side: int, length: int) -> list[Sample]:
        windows = enumerate(pan_over(read(), side, length))
        return [self._sample(f"{name}/pan-{i:02d}", window, label, {"group": name}) for i, window in windows]

    def _sample(
        self, name: str, image: np.ndarray, label: int, meta: Mapping[str, Meta] = MappingProxyType({})
    ) -> Sample:
        sized = squeezed(image, self.size) if self.whole else fitted(image, self.size)
        truth = {"label": np.array(label, np.int64)} if label >= 0 else {}
        return Sample(name, {"image": np.ascontiguousarray(sized)}, truth, meta)


def _whole(settings: Mapping[str, Meta], key: str, default: int) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"setting {key} is {value!r}; accepted: a whole number from 0")
    return value


def _blocks(*counts: int) -> tuple[str, ...]:
    """The residual blocks of a ResNet with so many in each stage."""
    return tuple(f"layer{stage}.{i}" for stage, count in enumerate(counts, 1) for i in range(count))


def _encoder(depth: int) -> tuple[str, ...]:
    return tuple(f"encoder.layers.encoder_layer_{i}" for i in range(depth))


@dataclass(frozen=True)
class OwnNetwork(ImageVictim):
    """A victim whose weights are its own, whatever the settings say."""

    def network(self, settings: Mapping[str, Meta]) -> nn.Module:
        """What ``build`` gives."""
        return self.build().eval()


def own_victim(
    name: str, network: nn.Module, size: int | tuple[int, int], preprocessing: Preprocessing = IMAGENET
) -> OwnNetwork:
    """A network of your own as a victim, with every split point that it has.

    size: height and width of its pictures in pixels, or the side of a square. To stream it, name the result in the
    entry point group ``eavesplit.victims``: edge and cloud build one each.
    """
    sides = (size, size) if isinstance(size, int) else size
    return OwnNetwork(name, lambda: network, sides, where(network), preprocessing)


CIFAR_RESNET20 = ImageVictim("cifar-resnet20", lambda: cifar_resnet(20), (32, 32), (*_blocks(3, 3, 3), "avgpool"))
CIFAR_RESNET56 = ImageVictim("cifar-resnet56", lambda: cifar_resnet(56), (32, 32), (*_blocks(9, 9, 9), "avgpool"))
CIFAR_CONTRASTIVE = ImageVictim(
    "cifar-resnet20-contrastive", lambda: cifar_resnet(20), (32, 32), (*_blocks(3, 3, 3), "avgpool")
)
CIFAR_VIT = ImageVictim("cifar-vit", cifar_vit, (32, 32), _encoder(6))
RESNET18 = ImageVictim(
    "resnet18",
    resnet18,
    (224, 224),
    (*_blocks(2, 2, 2, 2), "avgpool"),
    layers={"L4": "layer1.1", "L8": "layer2.1", "L12": "layer3.1", "L16": "layer4.1"},
)
RESNET50 = ImageVictim(
    "resnet50",
    resnet50,
    (224, 224),
    (*_blocks(3, 4, 6, 3), "avgpool"),
    layers={"L12": "layer2.0", "L24": "layer3.0", "L36": "layer3.4", "L48": "layer4.2"},
)
VIT_B = ImageVictim(
    "vit-b-16",
    vit_b_16,
    (224, 224),
    _encoder(12),
    layers={f"L{i + 1}": f"encoder.layers.encoder_layer_{i}" for i in range(12)},
)
