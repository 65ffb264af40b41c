"""SECOND cut in two: voxels and sparse layers on the edge, the rest and the detections in the cloud."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from victims.base import Cut, Exchange, Outcome, Sample, config_digest, weights_digest
from victims.lidar import sparse
from victims.lidar.backbone import SPLITS, split_point
from victims.lidar.kitti import camera_view, find_scans, read_scan
from victims.lidar.layouts import DETECTIONS, SPARSE_VOXELS
from victims.lidar.models import load_victim
from victims.lidar.presets import CLASSES, PRESETS, Preset
from victims.lidar.scan import Scan
from victims.lidar.second import SECOND
from victims.lidar.street import STREAM_SEEDS, street_scan
from victims.lidar.voxels import Sites, voxelize
from wire.errors import DecodeError, InputError
from wire.payload import Meta, Payload

FRAMES_PER_STREET = 10
"""A procedural stream drives ten scans along one street, then turns into the next: scenes enough for an interval."""


class LidarHead:
    """Points to the sparse features of one split point. Inference: one turn of one part."""

    emits = frozenset({SPARSE_VOXELS})

    def __init__(self, network: SECOND, split: str, preset: Preset) -> None:
        self._network, self._split, self._preset = network, split, preset

    def exchange(self, sample: Sample) -> Exchange:
        """Send the features, wait for the detections."""
        voxels = voxelize(sample.arrays["points"], self._preset)
        with torch.inference_mode(), sparse.one_thread():
            sites = self._network.backbone.head(voxels, self._split)
        replies = yield [features_payload(sites, self._split, self._preset)]
        result = next(replies)
        return Outcome({name: tensor.numpy() for name, tensor in result.tensors.items()})


class LidarTail:
    """Sparse features to detections."""

    accepts = frozenset({SPARSE_VOXELS})

    def __init__(self, network: SECOND, split: str, preset: Preset) -> None:
        self._network, self._split, self._preset = network, split, preset

    def reply(self, payload: Payload) -> Payload:
        """Run the rest of the network. DecodeError when grid or channels are not this split point's."""
        point = split_point(self._split)
        grid, channels = point.grid(self._preset), payload.tensors["features"].shape[1]
        if payload.meta["grid"] != grid or channels != point.channels:
            raise DecodeError(
                f"{self._split}: grid {payload.meta['grid']} with {channels} channels; "
                f"accepted: {grid} with {point.channels} ({self._preset.name})"
            )
        sites = Sites(payload.tensors["features"], payload.tensors["coords"], grid)
        with torch.inference_mode(), sparse.one_thread():
            encoded = self._network.backbone.tail(sites, self._split)
            found = self._network.detect(encoded, self._preset)[0]
        return Payload("result", DETECTIONS, found)


def features_payload(sites: Sites, split: str, preset: Preset) -> Payload:
    """Sites of one scan as the payload that leaves the edge."""
    return Payload(
        "features",
        SPARSE_VOXELS,
        {"coords": sites.coords, "features": sites.features},
        {
            "grid": sites.shape,
            "stride": split_point(split).stride,
            "range": preset.range_xyz,
            "voxel": (preset.voxel_size[2], preset.voxel_size[1], preset.voxel_size[0]),
        },
    )


def scan_sample(scan: Scan, view: str) -> Sample:
    """A scan as a sample; ``view`` is ``full`` or ``camera``."""
    points = camera_view(scan.points) if view == "camera" else scan.points
    labels = np.array([CLASSES.index(label) for label in scan.labels], np.int64)
    return Sample(scan.name, {"points": np.ascontiguousarray(points)}, {"boxes": scan.boxes, "labels": labels})


class SecondVictim:
    """SECOND on KITTI-like scans.

    settings: ``preset``, ``weights``, ``view``, ``frames``, ``seed``, ``frames_per_street``, ``split_file``.
    """

    name = "second"
    modality = "lidar"
    splits = tuple(SPLITS)

    def cut(self, split: str, settings: Mapping[str, Meta]) -> Cut:
        """Build the detector (weights ``shipped``, ``random`` or a path) and name its halves."""
        if split not in SPLITS:
            raise InputError(f"split {split!r} does not exist in {self.name}; there are: {', '.join(SPLITS)}")
        preset = _preset(settings)
        weights = str(settings.get("weights", "shipped"))
        network = load_victim(weights)
        return Cut(
            victim=self.name,
            split=split,
            weights_sha256=weights_digest(network.state_dict()),
            config_sha256=config_digest({"preset": preset.name, "range": preset.range_xyz, "voxel": preset.voxel_size}),
            head=lambda: LidarHead(network, split, preset),
            tail=lambda: LidarTail(network, split, preset),
            info={"preset": preset.name, "weights": weights},
        )

    def samples(self, source: str, settings: Mapping[str, Meta]) -> Iterator[Sample]:
        """``procedural``: streets no training drew from, ``frames`` of them (0: for ever); else a folder of scans.

        A scan that cannot be read raises InputError when it is reached.
        """
        view, frames = str(settings.get("view", "full")), int(_number(settings.get("frames", 0)))
        if view not in ("full", "camera"):
            raise InputError(f"view {view!r}; accepted: full, camera")
        if source == "procedural":
            each = int(_number(settings.get("frames_per_street", FRAMES_PER_STREET)))
            if each < 1:
                raise InputError(f"frames_per_street {each}; accepted: 1 or more")
            streets = _streets(int(_number(settings.get("seed", 0))), each)
            stream = (scan_sample(scan, view) for scan in streets)
            return islice(stream, frames) if frames else stream
        split_file = settings.get("split_file")
        files = find_scans(Path(source), Path(str(split_file)) if split_file else None)
        if view == "full":
            files = [f for f in files if not f.cut]
        # A map goes on after an element raised: one unreadable scan does not end the stream.
        return map(lambda file: scan_sample(read_scan(file), view), files[:frames] if frames else files)


def _streets(seed: int, frames_per_street: int) -> Iterator[Scan]:
    for street in count(seed * 1009):
        for frame in range(frames_per_street):
            yield street_scan(STREAM_SEEDS[street % len(STREAM_SEEDS)], frame, azimuth_deg=(-90.0, 90.0))


def _preset(settings: Mapping[str, Meta]) -> Preset:
    name = str(settings.get("preset", "street"))
    if name not in PRESETS:
        raise InputError(f"preset {name!r} does not exist; there are: {', '.join(PRESETS)}")
    return PRESETS[name]


def _number(value: Meta) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"setting {value!r} is no number")
    return value


SECOND_VICTIM = SecondVictim()
