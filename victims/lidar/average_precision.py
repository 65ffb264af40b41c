"""Average precision of detections, as KITTI defines it since 2019 (40 recall positions), by class.

Simpler than the benchmark in one respect, stated in every report that uses it: there are no difficulty
levels and no ignored objects; every given object counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from victims.lidar.boxes import Boxes, iou_3d, iou_bev
from victims.lidar.presets import CLASSES

RECALL_POSITIONS = 40

#: Overlap an object must be found with: the benchmark's threshold first, a lenient one second.
THRESHOLDS: Mapping[str, tuple[float, float]] = {"Car": (0.7, 0.5), "Pedestrian": (0.5, 0.25), "Cyclist": (0.5, 0.25)}

_OVERLAP: Mapping[str, Callable[[Boxes, Boxes], NDArray[np.float64]]] = {"3d": iou_3d, "bev": iou_bev}


@dataclass(frozen=True)
class Objects:
    """Boxes (M, 7) of one scan with labels (M,), indices into CLASSES, and for detections scores (M,)."""

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32] | None = None


def average_precision(
    detections: Sequence[Objects],
    truth: Sequence[Objects],
    label: str,
    threshold: float,
    view: Literal["3d", "bev"] = "3d",
) -> float:
    """AP (0..1) of one class over scans; NaN when the truth holds no object of it.

    Detections of a scan, best score first, each take the free object of largest overlap, if that is at least
    ``threshold``; the others are false.  The precision at a recall is the best one at that or a higher recall, and
    AP its mean over recalls 1/40, 2/40, ..., 1.  Detections of equal score are judged as one step of the curve.
    """
    if len(detections) != len(truth):
        raise ValueError(f"{len(detections)} scans of detections for {len(truth)} scans of truth")
    if view not in _OVERLAP:
        raise ValueError(f"no view {view!r}; there are {', '.join(_OVERLAP)}")
    index, overlap = CLASSES.index(label), _OVERLAP[view]
    scores: list[float] = []
    hits: list[bool] = []
    total = 0
    for found, real in zip(detections, truth, strict=True):
        if found.scores is None:
            raise ValueError("detections need scores")
        objects = real.boxes[real.labels == index]
        total += len(objects)
        own = np.flatnonzero(found.labels == index)
        own = own[np.argsort(-found.scores[own], kind="stable")]
        free = np.ones(len(objects), dtype=bool)
        for box, score in zip(overlap(found.boxes[own], objects), found.scores[own], strict=True):
            candidates = np.where(free, box, -1.0)
            best = int(np.argmax(candidates)) if len(objects) else -1
            hit = best >= 0 and candidates[best] >= threshold
            if hit:
                free[best] = False
            scores.append(float(score))
            hits.append(hit)
    if total == 0:
        return float("nan")
    return _area(np.array(scores), np.array(hits, dtype=bool), total)


def _area(scores: NDArray[np.float64], hits: NDArray[np.bool_], total: int) -> float:
    if len(scores) == 0:
        return 0.0
    order = np.argsort(-scores, kind="stable")
    scores, true = scores[order], np.cumsum(hits[order])
    last_of_score = np.append(np.diff(scores) != 0, True)
    recall = true[last_of_score] / total
    precision = true[last_of_score] / (np.flatnonzero(last_of_score) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    wanted = np.arange(1, RECALL_POSITIONS + 1) / RECALL_POSITIONS
    at = np.searchsorted(recall, wanted - 1e-9)
    return float(np.where(at < len(recall), best_from_here[np.minimum(at, len(recall) - 1)], 0.0).mean())
