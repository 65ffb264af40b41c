"""Detectors ready for use: the shipped one, an untrained one, or one from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from victims.lidar.backbone import VoxelBackBone8x, calibrate, initialise_sparse
from victims.lidar.presets import PRESETS
from victims.lidar.second import SECOND
from victims.lidar.street import TRAIN_SEEDS, street_scan
from victims.lidar.voxels import voxelize
from victims.lidar.weights import install, load, load_openpcdet
from wire.errors import InputError

#: The folder of shipped weights.
WEIGHTS = Path(__file__).resolve().parents[2] / "weights"
BACKBONE_FILE = "lidar-street-backbone.safetensors"
SECOND_FILE = "lidar-street-second.safetensors"

# Streets that calibrate the BatchNorm of untrained weights: enough for stable statistics in two seconds.
_CALIBRATION_STREETS = 3
_PREFIX = "backbone_3d."


def load_victim(weights: str | Path = "shipped", *, seed: int = 0) -> SECOND:
    """The detector, in eval mode and without gradients; it serves every preset.

    weights: ``shipped`` (trained on procedural streets), ``random`` (untrained, drawn from ``seed``, BatchNorm
    calibrated), or a file: safetensors with all of SECOND's tensors, or an OpenPCDet checkpoint (.pth).
    WeightsError when the file does not fit, InputError when it does not exist.
    """
    if weights == "shipped":
        detector = SECOND()
        backbone = load(_existing(WEIGHTS / BACKBONE_FILE))
        rest = load(_existing(WEIGHTS / SECOND_FILE))
        install(detector, {**{_PREFIX + k: v for k, v in backbone.items()}, **rest}, f"{BACKBONE_FILE} + {SECOND_FILE}")
    elif weights == "random":
        detector = _random(seed)
    else:
        path = _existing(Path(weights))
        published = path.suffix in (".pth", ".pt")
        detector = SECOND(align_center=not published)
        install(detector, load_openpcdet(path) if published else load(path), str(path))
    return detector.eval().requires_grad_(False)


def load_backbone(weights: str | Path = "shipped", *, seed: int = 0) -> VoxelBackBone8x:
    """Only the sparse 3D backbone, for those who need no detections; arguments as for ``load_victim``.

    A file may hold the backbone alone or a whole detector.
    """
    if weights == "random":
        return _random(seed).backbone.eval().requires_grad_(False)
    path = _existing(WEIGHTS / BACKBONE_FILE if weights == "shipped" else Path(weights))
    state = load_openpcdet(path) if path.suffix in (".pth", ".pt") else load(path)
    inner = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    backbone = VoxelBackBone8x()
    install(backbone, inner or state, str(path))
    return backbone.eval().requires_grad_(False)


def _random(seed: int) -> SECOND:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = SECOND()
        initialise_sparse(detector.backbone_3d, seed)
        for layer in detector.backbone_2d.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    streets = TRAIN_SEEDS[:_CALIBRATION_STREETS]
    calibrate(detector, (voxelize(street_scan(s).points, PRESETS["street"]) for s in streets))
    return detector


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InputError(f"no weights at {path}; give 'shipped', 'random' or a .safetensors or .pth file")
    return path
