"""What went wrong in a cell and why: frames that an attack failed on, samples that the edge could not read or send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lab.recorded import failures, reconstructions, stages, unreadable
from lab.runfolder import RunFolder
from lab.studies.base import CellResult
from lab.tables import Entry, Sheet

EDGE: Final = "the edge"
READING: Final = "reading"
"""Of what the edge could not read: no frame came of it."""


def troubles(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """Who -> ``frames``, how many, and ``reason``, the first one. Only of what was never made good: a frame that failed
    and was rebuilt later is none."""
    rebuilt: dict[str, set[int]] = {}
    for found in reconstructions(folder.reconstructions):
        rebuilt.setdefault(found.attack, set()).update(found.frames)
    told: dict[str, dict[str, Any]] = {}
    for attack, reasons in failures(folder.reconstructions).items():
        left = [reasons[frame] for frame in sorted(set(reasons) - rebuilt.get(attack, set()))]
        if left:
            told[attack] = {"frames": len(left), "reason": left[0]}
    wrong = [str(row["error"]) for _, row in sorted(stages(folder.edge).items()) if row.get("error")]
    if wrong:
        told[EDGE] = {"frames": len(wrong), "reason": wrong[0]}
    unread = unreadable(folder.edge)
    if unread:
        told[READING] = {"frames": len(unread), "reason": unread[0]}
    return told


def lines(summary: Mapping[str, Any]) -> list[str]:
    """For the terminal, one for each who."""
    said = []
    for who, trouble in summary.get("troubles", {}).items():
        count = trouble["frames"]
        frames = f"{count} frame{'' if count == 1 else 's'}"
        what = f"{count} of the source's samples could not be read" if who == READING else f"{who} failed on {frames}"
        said.append(f"{what}: {trouble['reason']}")
    return said


def sheet(results: Sequence[CellResult]) -> Sheet | None:
    """For the report; None where nothing went wrong."""
    found = Sheet("What went wrong", ("cell", "who", "frames", "why"))
    for result in results:
        for who, trouble in result.summary.get("troubles", {}).items():
            words = Entry(str(trouble["reason"]), kind="words")
            found.add([Entry(result.cell.title, kind="name"), Entry(who), Entry(str(trouble["frames"])), words])
    found.notes.append("The first reason of each. A frame that failed and was rebuilt later is not counted.")
    return found if found.rows else None
