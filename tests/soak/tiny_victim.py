"""A victim that costs nothing: forty sites with features of 1, and a tail that answers how far they spread.

What the cloud measured is thus in the edge's record of every frame: the noise that really left, whatever the edge says.
It is installed for the processes of a stream as a plug-in would be (see ``conftest``). ``gate``: a file that says how
many samples may be taken by now.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from victims.base import Cut, Exchange, Outcome, Sample, config_digest
from victims.lidar.layouts import DETECTIONS, SPARSE_VOXELS
from victims.lidar.presets import PRESETS
from wire.errors import InputError
from wire.payload import Meta, Payload

SITES, CHANNELS = 40, 64
TAIL_S = 0.06
"""Long enough that a frame is nearly always in flight."""


class Head:
    emits = frozenset({SPARSE_VOXELS})

    def exchange(self, sample: Sample) -> Exchange:
        """Sites are numbered along x, so that every frame is a valid payload of conv3.0."""
        street = PRESETS["street"]
        coords = torch.zeros((SITES, 4), dtype=torch.int32)
        coords[:, 1], coords[:, 2], coords[:, 3] = 5, 60, torch.arange(SITES)
        grid = {"grid": (11, 128, 128), "stride": (4, 4, 4), "range": street.range_xyz}
        meta: dict[str, Meta] = {**grid, "voxel": street.voxel_size[::-1]}
        features = torch.ones((SITES, CHANNELS))
        replies = yield [Payload("features", SPARSE_VOXELS, {"coords": coords, "features": features}, meta)]
        return Outcome({name: tensor.numpy() for name, tensor in next(replies).tensors.items()})


class Tail:
    accepts = frozenset({SPARSE_VOXELS})

    def reply(self, payload: Payload) -> Payload:
        """One box, whose score is the deviation of what arrived."""
        time.sleep(TAIL_S)
        box = torch.tensor([[10.0, 0.0, -1.0, 4.0, 2.0, 1.5, 0.0]])
        found = {"boxes": box, "labels": torch.zeros(1, dtype=torch.int64)}
        return Payload("result", DETECTIONS, {**found, "scores": payload.tensors["features"].std().reshape(1)})


class TinyVictim:
    name, modality, splits = "tiny", "lidar", ("conv3.0",)

    def cut(self, split: str, settings: Mapping[str, Meta]) -> Cut:
        return Cut(self.name, split, b"w" * 32, config_digest({}), head=Head, tail=Tail)

    def samples(self, source: str, settings: Mapping[str, Meta]) -> Iterator[Sample]:
        """A few points each, all in range. InputError for any source but ``procedural``."""
        if source != "procedural":
            raise InputError(f"source {source!r}; accepted: procedural")
        gate = Path(str(settings["gate"])) if "gate" in settings else None
        return taken(int(settings["frames"]), gate)  # type: ignore[arg-type]


def taken(frames: int, gate: Path | None) -> Iterator[Sample]:
    """One after the other, none before the gate allows it."""
    for number in range(frames):
        while gate and number >= int(gate.read_text()):
            time.sleep(0.005)
        rng = np.random.default_rng(number)
        points = rng.uniform((1, -10, -2, 0), (24, 10, 0.5, 1), (50, 4)).astype(np.float32)
        truth = {"boxes": np.zeros((0, 7), np.float32), "labels": np.zeros(0, np.int64)}
        yield Sample(f"street-{number}-0", {"points": points}, truth)


TINY = TinyVictim()
