"""That there is something to stream, found out before anything starts."""

from __future__ import annotations

from collections.abc import Iterable

from lab.studies.base import Cell
from victims.image.victim import ImageVictim
from victims.registry import victim


def check_sources(cells: Iterable[Cell]) -> None:
    """InputError where a cell would stream pictures of which none can be read."""
    for stream in [cell.stream for cell in cells]:
        found = victim(stream.victim)
        if isinstance(found, ImageVictim) and stream.source != "procedural":
            # A source is read up to its first good picture when it is opened.
            found.samples(stream.source, {"seed": stream.seed, **stream.victim_settings, "frames": stream.frames})
