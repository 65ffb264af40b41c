"""The course of a training and of those who listen to it: how good their pictures were after so many steps.

Pictures on the way give no rows in ``scores.csv``; they are compared with their photographs here, by the same metrics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from lab.metrics.base import Arrays
from lab.metrics.radiance import is_picture, measured
from lab.recorded import outcomes, reconstructions, truths
from lab.runfolder import RunFolder
from victims.base import Sample

VICTIM: Final = "the victim itself"
"""The row of what the edge renders with the whole network."""


@dataclass(frozen=True)
class Pictured:
    """One picture that somebody made of a held-out view. row: who. step: steps done. values: by metric."""

    frame: int
    step: int
    view: str
    row: str
    values: Mapping[str, float | None]


def asked_for(folder: RunFolder) -> Iterator[tuple[int, Sample]]:
    """Frame and truth of every picture that the stream asks for, in order."""
    return ((frame, truth) for frame, truth in truths(folder.edge) if is_picture(truth))


def step_of(truth: Sample) -> int:
    """How many steps were done when it was asked for."""
    return int(truth.meta["step"])  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def course(path: Path) -> tuple[Pictured, ...]:
    """Every picture of a cell's folder against its photograph, in order of frames; the victim's own first."""
    folder = RunFolder(path)
    true = dict(asked_for(folder))
    made: dict[int, list[tuple[str, Arrays]]] = {frame: [] for frame in true}
    for frame, found in outcomes(folder.edge):
        if frame in made and "image" in found:
            made[frame].append((VICTIM, found))
    for rebuilt in reconstructions(folder.reconstructions):
        if rebuilt.frame in made:
            made[rebuilt.frame].append((rebuilt.attack, rebuilt.arrays))
    return tuple(
        Pictured(frame, step_of(truth), truth.name, row, measured(truth, arrays).values)
        for frame, truth in sorted(true.items())
        for row, arrays in made[frame]
    )


def followed(found: Sequence[Pictured]) -> set[str]:
    """The views that are asked for at every step that has pictures: the same ones make a curve."""
    views: dict[int, set[str]] = {}
    for picture in found:
        views.setdefault(picture.step, set()).add(picture.view)
    return set.intersection(*views.values()) if views else set()


def curve(folders: Sequence[Path], row: str, metric: str) -> list[tuple[int, float]]:
    """(step, mean over the followed views of every folder), rising; folders are seeds of one scene.

    Steps at which some folder has no value are left out.
    """
    by_step: dict[int, list[float]] = {}
    for folder in folders:
        found = course(folder)
        views = followed(found)
        mine: dict[int, list[float]] = {}
        for picture in found:
            value = picture.values.get(metric)
            if picture.row == row and picture.view in views and value is not None:
                mine.setdefault(picture.step, []).append(value)
        for step, values in mine.items():
            by_step.setdefault(step, []).append(float(np.mean(values)))
    return [(step, float(np.mean(values))) for step, values in sorted(by_step.items()) if len(values) == len(folders)]


def against(path: Path, reference: Path, metric: str) -> dict[str, float]:
    """Row -> mean of a metric over the pictures of the end, against the *renders* of the training in ``reference``.

    This is the published code's reference: what the undisturbed network makes of a view in place of its photograph.
    """
    folder, renders = RunFolder(path), dict(outcomes(RunFolder(reference).edge))
    true = dict(asked_for(folder))
    last = max((step_of(truth) for truth in true.values()), default=0)
    found: dict[str, list[float]] = {}
    made = [(VICTIM, frame, arrays) for frame, arrays in outcomes(folder.edge)]
    made += [(r.attack, r.frame, r.arrays) for r in reconstructions(folder.reconstructions)]
    for row, frame, arrays in made:
        truth, render = true.get(frame), renders.get(frame, {}).get("image")
        if truth is None or render is None or step_of(truth) != last:
            continue
        value = measured(Sample(truth.name, {}, {**truth.truth, "image": render}, truth.meta), arrays).values[metric]
        if value is not None:
            found.setdefault(row, []).append(value)
    return {row: float(np.mean(values)) for row, values in found.items()}
