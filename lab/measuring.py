"""A cell's metrics: the scorer of its victim's modality, built from everything that the cell settles."""

from __future__ import annotations

from typing import Any

from lab.metrics.base import Scorer, scorer
from lab.studies.base import Cell
from victims.registry import victim


def scorer_of(cell: Cell) -> Scorer:
    """The scorer that every table of this cell is made with. InputError for settings that it does not take."""
    return scorer(victim(cell.stream.victim).modality, scorer_settings(cell))


def scorer_settings(cell: Cell) -> dict[str, Any]:
    """The victim's name, split point and settings, and what the cell gives its scorer beside them."""
    stream = cell.stream
    return {"victim": stream.victim, "split": stream.split, **stream.victim_settings, **cell.measure}
