"""From a finished training to shipped weights: measured on unseen streets, written with a card."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from victims.base import Progress, silent
from victims.lidar import sparse
from victims.lidar.average_precision import THRESHOLDS, Objects, average_precision
from victims.lidar.models import BACKBONE_FILE, SECOND_FILE
from victims.lidar.presets import CLASSES, PRESETS, Preset
from victims.lidar.second import SECOND
from victims.lidar.train import VictimTraining, losses, train_victim
from victims.lidar.training_data import LabelledScan, street, visible
from victims.lidar.voxels import voxelize
from victims.lidar.weights import digest, save

CARD_FILE = "lidar-street.md"

#: Streets on which a trained victim is measured; trainings draw their scans from below.
EVALUATION_SEEDS = range(400_000, 400_060)


@dataclass(frozen=True)
class Score:
    """Average precision of one class on one preset; nan where no object of it is in range."""

    preset: str
    label: str
    objects: int
    threshold: float
    ap_3d: float
    ap_bev: float


def evaluate(
    detector: SECOND, scans: Iterable[LabelledScan], preset: Preset, progress: Progress = silent
) -> list[Score]:
    """Average precision per class and overlap threshold; objects with fewer than 3 voxels in range are left out."""
    found: list[Objects] = []
    truth: list[Objects] = []
    for index, scan in enumerate(scans):
        voxels = voxelize(scan.points, preset)
        with sparse.one_thread():
            result = detector.detect(detector.backbone(voxels), preset)[0]
        found.append(Objects(result["boxes"].numpy(), result["labels"].numpy(), result["scores"].numpy()))
        truth.append(Objects(*visible(scan, voxels, preset)))
        progress(index + 1, math.nan, f"measuring on {preset.name}")
    return [
        Score(
            preset.name,
            label,
            int(sum((real.labels == CLASSES.index(label)).sum() for real in truth)),
            threshold,
            average_precision(found, truth, label, threshold, "3d"),
            average_precision(found, truth, label, threshold, "bev"),
        )
        for label in CLASSES
        for threshold in THRESHOLDS[label]
    ]


def publish(work: Path, settings: VictimTraining, detector: SECOND, into: Path, progress: Progress = silent) -> Path:
    """Measure ``detector``, trained in ``work``, and write its two weight files and its card; returns the card."""
    scores: list[Score] = []
    for name in ("street", "kitti"):
        scores += evaluate(detector, _evaluation_streets(), PRESETS[name], progress)
    state = detector.state_dict()
    backbone = {k.removeprefix("backbone_3d."): v for k, v in state.items() if k.startswith("backbone_3d.")}
    rest = {k: v for k, v in state.items() if not k.startswith("backbone_3d.")}
    save(backbone, into / BACKBONE_FILE)
    save(rest, into / SECOND_FILE, half=True)
    card = into / CARD_FILE
    temporary = card.with_name(card.name + ".part")
    temporary.write_text(_card(work, settings, scores, digest(_plain(backbone)), digest(_plain(rest))))
    temporary.replace(card)
    return card


def train_and_publish(
    work: Path, into: Path, settings: VictimTraining, progress: Progress = silent, *, resume: bool = True
) -> Path:
    """Train a victim in ``work``, resuming what is there, and write weights and card into ``into``."""
    return publish(work, settings, train_victim(work, settings, progress, resume=resume), into, progress)


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def _evaluation_streets() -> Iterator[LabelledScan]:
    return (street(seed) for seed in EVALUATION_SEEDS)


def _card(work: Path, settings: VictimTraining, scores: list[Score], backbone: str, rest: str) -> str:
    first, last = settings.first_scan_seed, settings.first_scan_seed + settings.scans - 1
    phases = {name: list(losses(work, name)) for name in ("backbone", "head")}
    minutes = {name: rows[-1]["seconds"] / 60 for name, rows in phases.items()}
    lines = [
        "# lidar-street: SECOND, trained on procedural streets",
        "",
        "The LiDAR victim: OpenPCDet's SECOND (VoxelBackBone8x, BEV backbone, anchor head; 5,325,576 parameters) for",
        "cars, pedestrians and cyclists. One set of weights serves the presets `kitti` and `street`. It knows nothing",
        "but the streets of `victims/lidar/street.py`: a victim to be attacked, not a detector to be relied on.",
        "",
        "| file | holds | stored as | SHA-256 of the loaded float32 tensors |",
        "|---|---|---|---|",
        f"| `{BACKBONE_FILE}` | sparse 3D backbone | float32 | `{backbone}` |",
        f"| `{SECOND_FILE}` | BEV backbone and anchor head | float16 | `{rest}` |",
        "",
        "## Training",
        "",
        "Command: `eavesplit train victim --seed " + str(settings.seed) + "`",
        "",
        f"Data: {settings.scans} procedural scans, street seeds {first} to {last}, each turned about the sensor by",
        "any angle, mirrored half of the time, scaled by up to 5 % in the plane; square windows anywhere in the KITTI",
        "range, in the sensor's coordinates, corners on multiples of 8 voxels. AdamW, one cycle, one thread.",
        "",
        "1. *backbone*: the 3D backbone under a narrow temporary BEV head with SECOND's losses, plus an auxiliary",
        "   classification of foreground sites at conv2, conv3 and conv4 (dropped afterwards); then frozen. Features",
        "   were not trained to keep geometry: there is no occupancy, density or reconstruction loss.",
        "2. *head*: SECOND's own BEV backbone and anchor head, grown from the temporary head without changing what it",
        "   computes (Net2Net), then trained on the frozen features with BatchNorm statistics standing still.",
        "",
        "| phase | steps | windows a step | window, m | peak rate | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, phase in (("backbone", settings.backbone), ("head", settings.head)):
        row = (name, phase.steps, phase.batch, f"{phase.window:g}", f"{phase.peak:g}", f"{minutes[name]:.0f}")
        lines.append("| " + " | ".join(map(str, row)) + " |")
    for name, rows in phases.items():
        terms = [key for key in rows[0] if key not in ("step", "seconds")]
        lines += ["", f"Loss curve of phase *{name}* (mean over a tenth of the steps):", ""]
        lines += ["| up to step | " + " | ".join(terms) + " |", "|" + "---|" * (len(terms) + 1)]
        for part in np.array_split(np.arange(len(rows)), min(10, len(rows))):
            means = [f"{np.mean([rows[i][term] for i in part]):.3f}" for term in terms]
            lines.append(f"| {rows[part[-1]]['step']:.0f} | " + " | ".join(means) + " |")
    seeds = f"{EVALUATION_SEEDS[0]} to {EVALUATION_SEEDS[-1]}"
    lines += [
        "",
        "## Measured",
        "",
        f"{len(EVALUATION_SEEDS)} unseen streets (seeds {seeds}), one scan each, every object with at least 3 voxels",
        "in range, no difficulty levels; average precision over 40 recall positions, per cent. No real scans.",
        "",
        "| preset | class | objects | overlap | AP 3D | AP BEV |",
        "|---|---|---|---|---|---|",
    ]
    for s in scores:
        lines.append(
            f"| {s.preset} | {s.label} | {s.objects} | {s.threshold:g} | {_percent(s.ap_3d)} | {_percent(s.ap_bev)} |"
        )
    return "\n".join(lines) + "\n"


def _percent(value: float) -> str:
    return "none in range" if math.isnan(value) else f"{100 * value:.1f}"
