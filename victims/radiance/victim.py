"""A radiance field as a victim: trained over the wire, its pictures stay on the edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from victims.base import Cut, Sample, config_digest, weights_digest
from victims.radiance.head import RadianceHead
from victims.radiance.networks import SPLITS, embedding_width, parts
from victims.radiance.pictures import pictures, stream
from victims.radiance.room import SIDE, VIEWS, room
from victims.radiance.scene import Scene
from victims.radiance.settings import training, whole
from victims.radiance.seven_scenes import is_seven_scenes, read_seven_scenes
from victims.radiance.tail import RadianceTail
from victims.radiance.transforms import is_transforms, read_transforms
from wire.errors import InputError
from wire.payload import Meta

LONGEST = 160
"""Pixels on the longer side of a photograph, unless ``side`` says otherwise."""


@dataclass(frozen=True)
class SplitNerf:
    """Split training of a hash-grid field (SplitNeRF; Zhang et al. 2024).

    settings of ``cut``: ``preset`` (``cpu``, ``paper``) and the fields of :class:`victims.radiance.settings.Training`.
    Settings of ``samples``: the same, and ``first`` (the step to begin with), ``frames`` (at most so many samples; 0:
    to the end), those of :class:`victims.radiance.pictures.Pictures`, and those of :func:`scene`. There are no shipped
    weights: a training begins with fresh ones.
    """

    name: str = "splitnerf"
    modality: str = "radiance"
    splits: tuple[str, ...] = SPLITS

    def cut(self, split: str, settings: Mapping[str, Meta]) -> Cut:
        """Both halves, untrained. InputError for a cut or a setting that does not exist.

        The digest is of the cloud's weights: those of the edge are its own, and the cloud need not hold them.
        """
        chosen = training(settings)
        width = embedding_width(split, chosen)
        if settings.get("weights", "random") != "random":
            raise InputError(f"setting weights is {settings['weights']!r}; accepted: random, a training begins there")
        cloud, edge = parts(split, chosen)
        return Cut(
            victim=self.name,
            split=split,
            weights_sha256=weights_digest(cloud.state_dict()),
            config_sha256=config_digest(chosen.shared()),
            head=lambda: RadianceHead(edge, chosen, width),
            tail=lambda: RadianceTail(cloud, chosen),
            train_steps=chosen.steps,
            info={"steps": str(chosen.steps), "rays": f"{chosen.rays}x{chosen.samples}", "embedding": str(width)},
        )

    def samples(self, source: str, settings: Mapping[str, Meta]) -> Iterator[Sample]:
        """The steps of the training, and pictures where they are asked for. ``source``: as :func:`scene`."""
        chosen, asked = training(settings), pictures(settings)
        first, frames = whole(settings, "first", 0), whole(settings, "frames", 0)
        return islice(stream(scene(source, settings), chosen, asked, first), frames or None)


def scene(source: str, settings: Mapping[str, Meta]) -> Scene:
    """The posed pictures of ``source``: ``procedural`` (the room of ``seed``), a ``transforms.json`` or its folder, or
    a 7-Scenes folder.

    settings: ``side``, pixels on the longer side of a picture (room: 96; photographs: at most 160; 0: as they are);
    ``views``, how many (room: 30; photographs: at most so many, evenly from all, of each part where files tell what is
    held out); ``box``, six numbers around the scene in its own unit. InputError says in one line
    what is wrong with a file.
    """
    if source == "procedural":
        side, views = whole(settings, "side", SIDE), whole(settings, "views", VIEWS)
        if not 8 <= side <= 1024 or not 2 <= views <= 1000:
            raise InputError(f"a room of {views} pictures of {side} pixels; accepted: 2 to 1000, of 8 to 1024")
        return room(whole(settings, "seed", 0), side, views)
    path, longest = Path(source), whole(settings, "side", LONGEST)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder of posed pictures")
    if is_transforms(path):
        return read_transforms(path, settings, longest)
    if is_seven_scenes(path):
        return read_seven_scenes(path, settings, longest)
    raise InputError(f"{path}: no posed pictures; accepted: transforms.json, transforms_train.json, a 7-Scenes folder")


SPLITNERF = SplitNerf()
