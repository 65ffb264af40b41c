"""What a defended detector is still worth: agreement with its undefended self, and AP where the truth has boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from lab.metrics.base import Answer, Arrays, Metric
from lab.metrics.statistics import Summary, summarize
from victims.lidar.average_precision import THRESHOLDS, Objects, average_precision
from victims.lidar.boxes import iou_bev
from victims.lidar.presets import CLASSES, Preset
from wire.seeds import generator

MIN_SCORE: Final = 0.3
"""Detections below it are not acted upon; both sides of the agreement are cut here."""

MIN_OVERLAP: Final = 0.5
"""Two detections are the same object from this IoU, seen from above."""


def _precision_metric(label: str, threshold: float, kind: str) -> Metric:
    return Metric(
        f"ap_{label.lower()}_{threshold * 100:.0f}",
        "",
        "higher",
        f"3D average precision of {label} at IoU {threshold:g} ({kind}), 40 recall positions; every labelled object "
        "whose centre lies in range counts: no difficulty levels.",
        "KITTI object benchmark since 2019, without its difficulty levels",
        f"AP {label}, IoU {threshold:g}",
        (0, 1),
    )


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "agreement",
        "",
        "higher",
        f"F1 between the boxes found with and without the defense (score >= {MIN_SCORE:g}, same class, IoU from above "
        f">= {MIN_OVERLAP:g}, greedy by score); frames in which neither found any have no value.",
        "Ours: needs no labels, and is 1 without a defense",
        "agreement with the undefended detector",
        (0, 1),
    ),
    Metric(
        "reference_boxes",
        "",
        "neither",
        f"Boxes per frame that the undefended detector finds (score >= {MIN_SCORE:g}); agreement on few says little.",
        "Ours, beside the agreement",
        "boxes found without defense",
    ),
    *[
        _precision_metric(c, t, kind)
        for c in CLASSES
        for t, kind in zip(THRESHOLDS[c], ("KITTI's own", "lenient"), strict=True)
    ],
)


def agreement(found: Arrays, reference: Arrays) -> float | None:
    """F1 of ``found`` against ``reference``, each with ``boxes`` (K, 7), ``scores`` (K,) and ``labels`` (K,).

    None when neither holds a confident box.
    """
    ours, theirs = _confident(found), _confident(reference)
    if not len(ours.boxes) and not len(theirs.boxes):
        return None
    overlap = iou_bev(ours.boxes, theirs.boxes)
    overlap[ours.labels[:, None] != theirs.labels[None, :]] = 0.0
    matched = 0
    for row in overlap:  # best score first; a column taken once is gone
        if len(row) and row.max() >= MIN_OVERLAP:
            matched += 1
            overlap[:, int(row.argmax())] = 0.0
    return 2 * matched / (len(ours.boxes) + len(theirs.boxes))


def utility(answers: Sequence[Answer], seed: int, grid: Preset) -> Mapping[str, Summary]:
    """Summaries by metric name. Agreement only over frames with a reference, AP only for classes the truth holds.

    AP is one figure over all frames, so it has a mean and an n, but no median and no interval.
    """
    result: dict[str, Summary] = {}
    compared = [(a, a.reference) for a in answers if a.reference is not None]
    if compared:
        groups = [a.group for a, _ in compared]
        agreements = [agreement(a.found, reference) for a, reference in compared]
        boxes = [float(len(_confident(reference).boxes)) for _, reference in compared]
        result["agreement"] = summarize(agreements, groups, generator(seed, "bootstrap.agreement"))
        result["reference_boxes"] = summarize(boxes, groups, generator(seed, "bootstrap.reference_boxes"))
    labelled = [a for a in answers if "boxes" in a.truth.truth]
    found = [Objects(a.found["boxes"], a.found["labels"], a.found["scores"]) for a in labelled]
    truth = [_in_range(a.truth.truth, grid) for a in labelled]
    for label in CLASSES:
        for threshold in THRESHOLDS[label]:
            precision = average_precision(found, truth, label, threshold)
            if not math.isnan(precision):
                name = f"ap_{label.lower()}_{threshold * 100:.0f}"
                result[name] = Summary(precision, None, None, None, len(labelled))
    return result


def _in_range(truth: Arrays, grid: Preset) -> Objects:
    low, high = np.array(grid.range_xyz[:3]), np.array(grid.range_xyz[3:])
    centres = truth["boxes"][:, :3]
    # Judged from above: an object's centre may lie below the range's floor on a slope and still fill its voxels.
    inside = ((centres >= low) & (centres < high))[:, :2].all(axis=1)
    return Objects(truth["boxes"][inside], truth["labels"][inside])


def _confident(arrays: Arrays) -> Objects:
    keep = np.flatnonzero(arrays["scores"] >= MIN_SCORE)
    keep = keep[np.argsort(-arrays["scores"][keep], kind="stable")]
    return Objects(arrays["boxes"][keep], arrays["labels"][keep], arrays["scores"][keep])
