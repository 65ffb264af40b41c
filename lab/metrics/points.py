"""How close a rebuilt point cloud comes to the scan: distances in metres, F1 at a distance, exact voxels.

Conventions, once for all of them:

* The truth is the scan's points inside the preset's range: those beyond it never enter the network and cannot be
  restored.  ``f1_15_whole`` is against the whole scan, as the paper's figures seem to be.
* A point counts as matched at distance t when its nearest neighbour on the other side lies within ``<= t``; several
  points may match the same one, so a thick reconstruction is not punished within t.  ``occupancy_f1`` and
  ``restored_per_true``, printed beside F1, show thickness.
* Distances are un-squared and in metres; ``chamfer`` is the *mean* of the two directed means, not their sum.
* Both clouds empty: F1 1, distances 0.  One empty: F1, precision and recall 0, distances missing (None).
* Rebuilt points that are not finite are unmatched in precision and are no part of distances.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lab.metrics import detection
from lab.metrics.base import Answer, Arrays, Metric, Scored, Scorer
from lab.metrics.statistics import Summary
from victims.base import Sample
from victims.lidar.presets import Preset, preset
from victims.lidar.voxels import voxelize
from wire.errors import InputError
from wire.payload import Meta

Cloud = NDArray[np.float32] | NDArray[np.float64]

DISTANCES: Final[Mapping[str, float]] = {"05": 0.05, "10": 0.10, "15": 0.15, "30": 0.30}
"""Suffix -> distance in metres at which F1, precision and recall are taken."""

QUERY_LIMIT: Final = 200_000
"""Above this many rebuilt points (a whole preimage is a million) the direction rebuilt -> true is measured on a seeded
sample of this size: the share and the mean keep a standard error below .0012.  The other direction uses them all."""

_PAPER = "ConcreTizer (ICLR 2025), section Metrics"


def _f1(suffix: str, distance: float) -> list[Metric]:
    cm = f"{distance * 100:.0f} cm"
    own = _PAPER if suffix in ("15", "30") else f"{_PAPER}, at another distance"
    return [
        Metric(
            f"f1_{suffix}",
            "",
            "higher",
            f"Harmonic mean of precision and recall at {cm} (<=), points in range.",
            own,
            f"F1 at {cm}",
            (0, 1),
        ),
        Metric(
            f"precision_{suffix}",
            "",
            "higher",
            f"Share of rebuilt points with a true point within {cm} (<=).",
            own,
            f"precision at {cm}",
            (0, 1),
        ),
        Metric(
            f"recall_{suffix}",
            "",
            "higher",
            f"Share of true points in range with a rebuilt point within {cm} (<=).",
            own,
            f"recall at {cm}",
            (0, 1),
        ),
    ]


METRICS: Final[tuple[Metric, ...]] = (
    *[m for suffix, distance in DISTANCES.items() for m in _f1(suffix, distance)],
    Metric(
        "chamfer",
        "m",
        "lower",
        "Mean of the two directed mean nearest-neighbour distances, un-squared, points in range.",
        f"{_PAPER}; the scaling under which the paper's values equal the oracle's",
        "Chamfer distance",
    ),
    Metric(
        "chamfer_rebuilt",
        "m",
        "lower",
        "Mean distance from a rebuilt to the nearest true point.",
        _PAPER,
        "Chamfer, rebuilt to true",
    ),
    Metric(
        "chamfer_true",
        "m",
        "lower",
        "Mean distance from a true point in range to the nearest rebuilt one.",
        _PAPER,
        "Chamfer, true to rebuilt",
    ),
    Metric(
        "hausdorff",
        "m",
        "lower",
        "Largest nearest-neighbour distance, the larger of both directions.",
        _PAPER,
        "Hausdorff distance",
    ),
    Metric(
        "hd95",
        "m",
        "lower",
        "95th percentile of the nearest-neighbour distances, the larger of both directions.",
        "Hausdorff distance without its dependence on a single stray point",
        "Hausdorff, 95 %",
    ),
    Metric(
        "occupancy_f1",
        "",
        "higher",
        "F1 between the voxels that hold a true point and those that hold a rebuilt one, exact voxels of the preset.",
        "Ours: F1 at a distance forgives a reconstruction that is several voxels thick",
        "exact-voxel F1",
        (0, 1),
    ),
    Metric(
        "restored_per_true",
        "",
        "neither",
        "Rebuilt points per true voxel; 1 is as many as there were.",
        "Ours, beside F1 for the same reason",
        "rebuilt points per true voxel",
    ),
    Metric(
        "f1_15_whole",
        "",
        "higher",
        "F1 at 15 cm (<=) against the whole scan, with the points out of range that no attack can rebuild.",
        f"{_PAPER}; its ceiling of .99 shows that it counts them",
        "F1 at 15 cm, whole scan",
        (0, 1),
    ),
)


class PointScorer:
    """The scorer of LiDAR scans under one preset (range and voxel size)."""

    headline = "f1_15"
    key: Sequence[str] = ("f1_15", "occupancy_f1", "restored_per_true", "chamfer", "hd95")
    floors: Sequence[str] = ("coordinates", "preimage")
    oracle_is: str = "best possible"
    metrics: Sequence[Metric] = METRICS
    utilities: Sequence[Metric] = detection.METRICS

    def __init__(self, grid: Preset) -> None:
        self.grid = grid

    def score(self, truth: Sample, reconstruction: Arrays, rng: np.random.Generator) -> Scored:
        """``truth.arrays["points"]`` (N, >= 3) against ``reconstruction["points"]`` (M, >= 3), metres."""
        whole, rebuilt = _cloud(truth.arrays, "truth"), _cloud(reconstruction, "reconstruction")
        finite = np.isfinite(rebuilt).all(axis=1)
        broken = int((~finite).sum())
        notes = [f"{broken} rebuilt points not finite"] if broken else []
        rebuilt = rebuilt[finite]
        queries = rebuilt
        if len(rebuilt) > QUERY_LIMIT:
            queries = rebuilt[np.sort(rng.choice(len(rebuilt), QUERY_LIMIT, replace=False))]
            notes.append(f"precision and distances from {QUERY_LIMIT} of {len(rebuilt)} rebuilt points")
        true = whole[self.in_range(whole)]
        values = _compare(true, rebuilt, queries, broken)
        voxels = len(self._voxels(true))
        values["occupancy_f1"] = self._occupancy_f1(true, rebuilt)
        values["restored_per_true"] = len(rebuilt) / voxels if voxels else None
        values["f1_15_whole"] = (
            values["f1_15"] if len(true) == len(whole) else _compare(whole, rebuilt, queries, broken)["f1_15"]
        )
        return Scored({m.name: values[m.name] for m in METRICS}, tuple(notes))

    def oracle(self, truth: Sample) -> Arrays:
        """The true voxels' centres: what a perfect occupancy classifier restores."""
        points = _cloud(truth.arrays, "truth")
        centres = self._voxels(points)[:, ::-1] + 0.5
        low, size = np.array(self.grid.range_xyz[:3]), np.array(self.grid.voxel_size)
        return {"points": (low + centres * size).astype(np.float32)}

    def group(self, truth: Sample) -> str:
        """The street of a procedural sample (all its frames see the same houses), else the scan itself.

        A recording's own sequence, where the source knows it, travels in ``meta["group"]``.
        """
        if "group" in truth.meta:
            return str(truth.meta["group"])
        street = re.fullmatch(r"(street-\d+)-\d+", truth.name)
        return street[1] if street else truth.name

    def utility(self, answers: Sequence[Answer], seed: int) -> Mapping[str, Summary]:
        """What the detector was still worth: see :mod:`lab.metrics.detection`."""
        return detection.utility(answers, seed, self.grid)

    def in_range(self, points: Cloud) -> NDArray[np.bool_]:
        """(N,) whether each point lies in the preset's range: min <= p < max, in float32 as the victim decides it."""
        low = np.asarray(self.grid.range_xyz[:3], dtype=np.float32)
        size = np.asarray(self.grid.voxel_size, dtype=np.float32)
        index = np.floor((points[:, :3].astype(np.float32) - low) / size)
        inside: NDArray[np.bool_] = ((index >= 0) & (index < np.asarray(self.grid.cells[::-1]))).all(axis=1)
        return inside

    def _voxels(self, points: Cloud) -> NDArray[np.int64]:
        """Distinct voxels (V, 3) z, y, x that hold a point in range, exactly as the victim's encoder fills them."""
        scan = np.zeros((len(points), 4), dtype=np.float32)
        scan[:, :3] = points[:, :3]
        return voxelize(scan, self.grid).coords[:, 1:].numpy().astype(np.int64)

    def _occupancy_f1(self, true: Cloud, rebuilt: Cloud) -> float:
        ours, theirs = self._voxels(true), self._voxels(rebuilt)
        _z, y, x = self.grid.cells
        our_keys, their_keys = ((v[:, 0] * y + v[:, 1]) * x + v[:, 2] for v in (ours, theirs))
        both = len(np.intersect1d(our_keys, their_keys, assume_unique=True))
        outside = rebuilt[~self.in_range(rebuilt)]
        # Rebuilt points beyond the grid are wrong voxels too; any lattice of the same pitch counts them.
        stray = len(np.unique(np.floor(outside / np.asarray(self.grid.voxel_size)), axis=0)) if len(outside) else 0
        total = len(ours) + len(theirs) + stray
        return 2 * both / total if total else 1.0


def scorer(settings: Mapping[str, Meta]) -> Scorer:
    """The LiDAR scorer for ``settings["preset"]``."""
    name = str(settings.get("preset", ""))
    try:
        return PointScorer(preset(name))
    except ValueError as error:
        raise InputError(f"run.toml, victim settings: {error}") from None


def _cloud(arrays: Arrays, side: str) -> Cloud:
    points = arrays.get("points")
    if points is None or points.ndim != 2 or points.shape[1] < 3:
        found = "none" if points is None else str(points.shape)
        raise InputError(f"{side}: `points` of shape (N, 3) or wider is needed, found {found}")
    return points[:, :3]


def _compare(true: Cloud, rebuilt: Cloud, queries: Cloud, broken: int) -> dict[str, float | None]:
    """Everything that follows from nearest-neighbour distances; ``queries`` is all of ``rebuilt`` or a sample of it."""
    values: dict[str, float | None] = {}
    if not len(true) or not len(rebuilt):
        same = not len(true) and not len(rebuilt) and not broken
        for suffix in DISTANCES:
            values |= {f"{kind}_{suffix}": float(same) for kind in ("f1", "precision", "recall")}
        return values | dict.fromkeys(
            ("chamfer", "chamfer_rebuilt", "chamfer_true", "hausdorff", "hd95"), 0.0 if same else None
        )
    to_true, _ = cKDTree(true).query(queries)
    to_rebuilt, _ = cKDTree(rebuilt).query(true)
    finite_share = len(rebuilt) / (len(rebuilt) + broken)
    for suffix, distance in DISTANCES.items():
        # float32 coordinates that print as 0.15 apart may be 0.1500001 apart: `<=` forgives a micrometre.
        precision = float((to_true <= distance + 1e-6).mean()) * finite_share
        recall = float((to_rebuilt <= distance + 1e-6).mean())
        values[f"precision_{suffix}"], values[f"recall_{suffix}"] = precision, recall
        values[f"f1_{suffix}"] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    rebuilt_mean, true_mean = float(to_true.mean()), float(to_rebuilt.mean())
    values |= {"chamfer": (rebuilt_mean + true_mean) / 2, "chamfer_rebuilt": rebuilt_mean, "chamfer_true": true_mean}
    values["hausdorff"] = max(float(to_true.max()), float(to_rebuilt.max()))
    values["hd95"] = max(float(np.quantile(to_true, 0.95)), float(np.quantile(to_rebuilt, 0.95)))
    return {k: v if v is not None and math.isfinite(v) else None for k, v in values.items()}
