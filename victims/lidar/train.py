"""Training of the shipped LiDAR victim on procedural streets, in two phases on one thread.

Phase ``backbone`` trains the sparse 3D backbone under a narrow bird's-eye-view head, so that many steps fit,
with an auxiliary per-site classification of foreground at three depths (after SA-SSD, CVPR 2020), and freezes
it.  Phase ``head`` trains SECOND's own bird's-eye-view backbone and anchor head on the frozen features.
Both resume from their last checkpoint and draw every step's randomness from (seed, phase, step), so that an
interrupted run sees the same data as an uninterrupted one.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from victims.base import Progress, silent
from victims.lidar import sparse
from victims.lidar.anchors import anchors, assign
from victims.lidar.backbone import SPLITS, VoxelBackBone8x
from victims.lidar.foreground import foreground_loss
from victims.lidar.losses import DetectionLoss, detection_loss
from victims.lidar.presets import CLASSES
from victims.lidar.second import PRIOR, SECOND, AnchorHeadSingle, BaseBEVBackbone, Predictions, height_compression
from victims.lidar.training_data import ScanCache, Window, augmented, cut_window
from victims.lidar.voxels import Sites, collate
from victims.lidar.weights import install, load, save
from victims.lidar.widen import widen


@dataclass(frozen=True)
class Phase:
    """Length and data of one phase.  window: side in metres; batch: windows a step; peak: highest learning rate.

    on_object: share of the windows that are laid around an object.
    """

    steps: int
    window: float
    batch: int
    peak: float
    on_object: float

    def __post_init__(self) -> None:
        if self.steps < 8 or self.batch < 1:
            raise ValueError(f"a phase takes at least 8 steps of 1 window; got {self.steps} steps of {self.batch}")


@dataclass(frozen=True)
class VictimTraining:
    """All settings of a training; the defaults made the shipped weights."""

    seed: int = 0
    scans: int = 1000
    first_scan_seed: int = 0
    backbone: Phase = Phase(steps=1800, window=16.0, batch=4, peak=3e-3, on_object=0.8)
    head: Phase = Phase(steps=240, window=25.6, batch=2, peak=3e-4, on_object=0.6)
    #: BatchNorm statistics stand still for this last share of the backbone's steps.
    still: float = 0.15


# Taps whose sites are classified as foreground or not in phase ``backbone``.
_AUXILIARY = ("conv2", "conv3", "conv4")
_CHECKPOINT_EVERY = 50
_REPORT_EVERY = 10
# A new scan joins the pool every so many windows, so that training need not wait for the whole cache.
_POOL_START, _POOL_EVERY = 12, 2


class _Narrow(nn.Module):
    """Backbone and the temporary parts that train it."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone_3d = VoxelBackBone8x()
        self.bev = BaseBEVBackbone(256, layers=(2, 2), filters=(64, 64), up=64)
        self.dense_head = AnchorHeadSingle(self.bev.out_channels)
        self.foreground = nn.ModuleDict()
        for name in _AUXILIARY:
            layer = nn.Linear(SPLITS[name].channels, len(CLASSES))
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, PRIOR)
            self.foreground[name] = layer

    def forward(self, voxels: Sites) -> tuple[Predictions, dict[str, Sites]]:
        taps = self.backbone_3d.taps(voxels)
        return self.dense_head(self.bev(height_compression(taps["conv_out"]))), taps


def train_backbone(
    work: Path, settings: VictimTraining, progress: Progress = silent, *, resume: bool = True
) -> VoxelBackBone8x:
    """Phase 1.  Writes ``work``/backbone.safetensors when done; returns the backbone in eval mode."""
    done = work / "backbone.safetensors"
    if not (resume and done.exists()):
        torch.manual_seed(settings.seed)
        network = _Narrow()
        network.apply(_initialise)

        def loss_of(windows: list[Window]) -> dict[str, Tensor]:
            voxels = collate([w.voxels for w in windows])
            predictions, taps = network(voxels)
            terms = _detection_terms(predictions, windows)
            terms["foreground"] = sum(
                (foreground_loss(network.foreground[name], taps[name], windows, name) for name in _AUXILIARY),
                start=torch.zeros(()),
            )
            terms["foreground"] = terms["foreground"] / len(_AUXILIARY)
            return terms

        _optimise("backbone", network, loss_of, work, settings, settings.backbone, progress, resume)
        save(network.backbone_3d.state_dict(), done)
    backbone = VoxelBackBone8x()
    install(backbone, load(done), str(done))
    return backbone.eval().requires_grad_(False)


def train_head(
    work: Path,
    settings: VictimTraining,
    backbone: VoxelBackBone8x,
    progress: Progress = silent,
    *,
    resume: bool = True,
) -> SECOND:
    """Phase 2 on the frozen ``backbone``.  Writes ``work``/second.safetensors; returns the detector in eval mode."""
    torch.manual_seed(settings.seed)
    detector = SECOND()
    detector.backbone_3d.load_state_dict(backbone.state_dict())
    trained = nn.ModuleDict({"backbone_2d": detector.backbone_2d, "dense_head": detector.dense_head})
    done = work / "second.safetensors"
    if not (resume and done.exists()):
        detector.backbone_3d.eval().requires_grad_(False)
        narrow = _Narrow()
        narrow.load_state_dict(torch.load(work / "backbone.ckpt", weights_only=True)["network"])
        widen(narrow.bev, narrow.dense_head, detector.backbone_2d, detector.dense_head)

        def loss_of(windows: list[Window]) -> dict[str, Tensor]:
            with torch.no_grad():
                bev = height_compression(detector.backbone_3d(collate([w.voxels for w in windows])))
            with torch.autocast("cpu", torch.bfloat16):  # halves the time of a step
                logits, codes, directions = detector.dense_head(detector.backbone_2d(bev))
            return _detection_terms((logits.float(), codes.float(), directions.float()), windows)

        _optimise("head", trained, loss_of, work, settings, settings.head, progress, resume, still=True)
        save(trained.state_dict(), done, half=True)
    install(trained, load(done), str(done))
    return detector.eval().requires_grad_(False)


def train_victim(
    work: Path,
    settings: VictimTraining | None = None,
    progress: Progress = silent,
    *,
    resume: bool = True,
    backbone_ready: Callable[[VoxelBackBone8x], None] | None = None,
) -> SECOND:
    """Train a detector on procedural streets; both phases, resuming from what ``work`` holds.

    backbone_ready is called once with the frozen backbone, before phase 2 begins: attacks can start on it.
    """
    settings = settings or VictimTraining()
    work.mkdir(parents=True, exist_ok=True)
    with sparse.one_thread():
        backbone = train_backbone(work, settings, progress, resume=resume)
        if backbone_ready is not None:
            backbone_ready(backbone)
        return train_head(work, settings, backbone, progress, resume=resume)


def scan_cache(work: Path, settings: VictimTraining) -> ScanCache:
    """The scans of a training, kept in ``work``/scans."""
    return ScanCache(work / "scans", settings.first_scan_seed, settings.scans)


def losses(work: Path, phase: str) -> Iterator[dict[str, float]]:
    """Rows of the loss curve of ``phase`` (step, seconds, terms), oldest first."""
    with (work / f"{phase}.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            yield {key: float(value) for key, value in row.items()}


def _initialise(module: nn.Module) -> None:
    weight = getattr(module, "weight", None)
    if isinstance(weight, Tensor) and weight.ndim == 5:  # sparse kernels: about a third of the taps is present
        nn.init.normal_(weight, 0.0, (6.0 / weight[0].numel()) ** 0.5)
    elif isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")


def _detection_terms(predictions: Predictions, windows: list[Window]) -> dict[str, Tensor]:
    parts: list[DetectionLoss] = []
    for index, window in enumerate(windows):
        grid = anchors(window.preset)
        targets = assign(grid, window.boxes, window.classes)
        logits, codes, directions = (p[index] for p in predictions)
        parts.append(detection_loss(logits, codes, directions, grid.reshape(-1, 7), targets))
    return {
        name: torch.stack([getattr(part, name) for part in parts]).mean() for name in ("classes", "boxes", "directions")
    }


def _optimise(
    phase_name: str,
    network: nn.Module,
    loss_of: Callable[[list[Window]], dict[str, Tensor]],
    work: Path,
    settings: VictimTraining,
    phase: Phase,
    progress: Progress,
    resume: bool,
    *,
    still: bool = False,
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=phase.peak, weight_decay=0.01, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, phase.peak, total_steps=phase.steps, pct_start=0.25, div_factor=10, final_div_factor=1000
    )
    checkpoint, table = work / f"{phase_name}.ckpt", work / f"{phase_name}.csv"
    start, seconds = 0, 0.0
    if resume and checkpoint.exists():
        held = torch.load(checkpoint, weights_only=True)
        if held["settings"] != str(asdict(settings)):
            raise ValueError(f"{checkpoint} belongs to a training with other settings; choose another folder")
        network.load_state_dict(held["network"])
        optimiser.load_state_dict(held["optimiser"])
        schedule.load_state_dict(held["schedule"])
        start, seconds = held["step"], held["seconds"]
    rows = [row for row in losses(work, phase_name) if row["step"] <= start] if start and table.exists() else []

    cache = scan_cache(work, settings)
    cache.start()
    try:
        network.train()
        began = time.monotonic() - seconds
        recent: list[dict[str, float]] = []
        for step in range(start, phase.steps):
            if still or step >= (1 - settings.still) * phase.steps:
                _still_norms(network)
            windows = _windows(cache, settings, phase_name, phase, step)
            optimiser.zero_grad(set_to_none=True)
            terms = loss_of(windows)
            total = torch.stack(list(terms.values())).sum()
            if not bool(torch.isfinite(total)):
                raise FloatingPointError(f"{phase_name}: loss is {float(total)} at step {step}")
            total.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimiser.step()
            schedule.step()
            recent.append({name: float(term.detach()) for name, term in terms.items()})
            if (step + 1) % _REPORT_EVERY == 0 or step + 1 == phase.steps:
                means = {name: float(np.mean([r[name] for r in recent])) for name in recent[0]}
                rows.append({"step": step + 1, "seconds": time.monotonic() - began, **means})
                recent.clear()
                note = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
                progress(step + 1, phase.steps, f"{phase_name}: {note}")
            if (step + 1) % _CHECKPOINT_EVERY == 0 or step + 1 == phase.steps:
                _write_table(table, rows)
                _write_checkpoint(
                    checkpoint,
                    {
                        "settings": str(asdict(settings)),
                        "network": network.state_dict(),
                        "optimiser": optimiser.state_dict(),
                        "schedule": schedule.state_dict(),
                        "step": step + 1,
                        "seconds": time.monotonic() - began,
                    },
                )
        _write_table(table, rows)
    finally:
        cache.stop()


def _windows(cache: ScanCache, settings: VictimTraining, name: str, phase: Phase, step: int) -> list[Window]:
    """The windows of one step, a function of the settings and the step alone."""
    stream = np.random.SeedSequence([settings.seed, ("backbone", "head").index(name), step])
    rng = np.random.default_rng(stream)
    windows: list[Window] = []
    while len(windows) < phase.batch:
        seen = step * phase.batch // _POOL_EVERY if name == "backbone" else cache.count
        scan = augmented(cache.load(int(rng.integers(min(cache.count, _POOL_START + seen)))), rng)
        window = cut_window(scan, rng, phase.window, on_object=phase.on_object)
        if len(window.voxels) >= 50:  # nothing to learn from a window behind a wall
            windows.append(window)
    return windows


def _still_norms(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _write_checkpoint(path: Path, content: dict[str, object]) -> None:
    temporary = path.with_name(path.name + ".part")
    torch.save(content, temporary)
    os.replace(temporary, path)


def _write_table(path: Path, rows: list[dict[str, float]]) -> None:
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)
