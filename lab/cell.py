"""One cell of a study: stream, score, sum up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from lab import link_probe
from lab.measuring import scorer_of
from lab.parts import Parts
from lab.privacy import run_privacy
from lab.recorded import calibration, captured_frames, defended, noted, outcomes, reconstructions
from lab.runfolder import RunFolder
from lab.scores import Scores, score_run
from lab.stream import Moved, Stream, StreamResult
from lab.studies.base import Cell, CellResult
from lab.summary import Listener, count_frames, recorded_sender, summarize_run
from lab.trouble import troubles
from victims.base import Progress
from wire.errors import RunError
from wire.profiles import name_of

STREAM_SHARE = 0.85
"""Part of a cell's progress bar that streaming takes; scoring takes the rest."""

MOST_NAMED = 20
"""Stretches of missed frames that a summary names."""


def run_cell(
    study: str, cell: Cell, folder: RunFolder, progress: Progress, part: Callable[[Scores], Parts] | None = None
) -> CellResult:
    """Run or finish one cell in its folder. A cell with a summary is returned as it is.

    part: which of the scored frames the summary sums up by themselves. RunError when the cell's reference was not run
    before it.
    """
    settings = cell.stream
    if folder.finished:
        return CellResult(cell, folder.path, folder.read_summary())
    marker = folder.path / "stream.json"
    if marker.exists():
        streamed = json.loads(marker.read_text())
    else:
        expected = max(1, settings.frames)

        def on_progress(moved: Moved) -> None:
            rows = max(1, len(settings.attacks))
            share = (moved.answered + (moved.made + moved.learnt + moved.begun) / rows) / (2 * expected)
            note = f", {moved.note}" if moved.note else ""
            said = f"{cell.title}: {moved.answered} frames, {moved.made} inversions{note}"
            progress(STREAM_SHARE * min(1.0, share), 1.0, said)

        progress(0.0, 1.0, f"{cell.title}: measuring the link")
        measured = link_probe.measure(settings.link, settings.seed, folder.path / "roles")
        folder.write("link.json", json.dumps(measured, indent=1))
        progress(0.0, 1.0, link_probe.line(measured))
        with Stream(settings, folder.path) as stream:
            streamed = _told(stream.run(on_progress))
        folder.write("stream.json", json.dumps(streamed, indent=1))
    measure = scorer_of(cell)

    def on_scored(done: float, total: float, note: str = "") -> None:
        progress(STREAM_SHARE + (1 - STREAM_SHARE) * done / max(total, 1.0), 1.0, f"{cell.title}: scoring {note}")

    scores = score_run(folder, measure, settings.seed, on_scored)
    heard = streamed["attacker"]
    attacks = [a.row for a in settings.attacks]
    frames = count_frames(folder, _listener(folder, heard, attacks), attacks, live=settings.mode == "live")
    described = {
        "study": study,
        "victim": settings.victim,
        "split": settings.split,
        "defense": {
            "name": settings.defense,
            **settings.defense_settings,
            "calibration": calibration(folder.edge),
            "measured": defended(folder.edge),
        },
        "link": {**settings.link, **({"profile": known} if (known := name_of(settings.link)) else {})},
        "knowledge": heard.get("knowledge") or settings.knowledge.to_dict(),
        "title": cell.title,
        "columns": dict(cell.columns),
        "processes": streamed["processes"],
        "heard": {
            "encrypted_bytes": int(heard.get("encrypted_bytes", 0)),
            "why": heard.get("why"),
            **({"missed": _missed(folder)} if frames.missed else {}),
        },
    }
    wrong = troubles(folder)
    if wrong:
        described["troubles"] = wrong
    guaranteed = run_privacy(folder, settings.defense, settings.defense_settings)
    if guaranteed is not None:
        described["privacy"] = guaranteed
    before = folder.path / "link.json"
    summary = summarize_run(
        folder,
        measure,
        scores,
        frames,
        described,
        seed=settings.seed,
        references=_references(cell, folder),
        parts=part(scores) if part else None,
        link_measured=json.loads(before.read_text()) if before.exists() else None,
    )
    folder.write_summary(summary)
    progress(1.0, 1.0, cell.title)
    return CellResult(cell, folder.path, summary)


def _references(cell: Cell, folder: RunFolder) -> dict[int, Mapping[str, np.ndarray]] | None:
    """The answers of the undefended victim to the same frames; None where the study has no such cell."""
    if not cell.reference:
        return None
    edge = (folder if cell.reference == cell.id else RunFolder(folder.path.parent / cell.reference)).edge
    if not edge.is_dir():
        raise RunError(f"{folder.name}: its reference {cell.reference} has not run; the study must run it first")
    return dict(outcomes(edge))


def _listener(folder: RunFolder, heard: Mapping[str, Any], attacks: Sequence[str]) -> Listener:
    """The listener's side of the sums. A frame that crossed twice (its edge died before the answer, or a training
    rolled back) counts once.

    Missed are the holes that the listener counted itself, and what was sent after the last frame it heard. What an
    attack learnt from or failed on is counted as recorded, or a listener that was killed would know of its last life
    alone. RunError when its count of holes is not what its record shows.
    """
    crossed = captured_frames(folder.capture)
    captured, sent = set(crossed), recorded_sender(folder).sent
    beyond = sent - (max(captured) + 1) if captured else sent
    holes = len(set(range(max(captured) + 1)) - captured) if captured else 0
    sessions = heard.get("sessions", [])
    if len(sessions) == 1 and captured and sessions[0]["missed"] != holes:
        raise RunError(f"{folder.name}: the listener counts {sessions[0]['missed']} holes, its record shows {holes}")
    counted: Mapping[str, Mapping[str, int]] = heard.get("attacks", {})
    learnt, failed = noted(folder.reconstructions, "learnt"), noted(folder.reconstructions, "failure")
    rebuilt: dict[str, set[int]] = {}
    for found in reconstructions(folder.reconstructions):
        rebuilt.setdefault(found.attack, set()).update(found.frames)
    lost = {
        name: len(failed.get(name, set()) - rebuilt.get(name, set()) - learnt.get(name, set()))
        + sum(counts["late"] + counts["refused"] for counts in (counted.get(name),) if counts)
        for name in attacks
    }
    return Listener(
        captured=len(captured),
        missed=holes + beyond,
        duplicated=int(heard.get("duplicates", 0)) + len(crossed) - len(captured),
        dropped={name: counts["dropped"] + counts["withdrawn"] for name, counts in counted.items()},
        lost=lost,
        learnt=learnt,
    )


def _missed(folder: RunFolder) -> str:
    """Numbers of the frames that the listener has not, as ``3, 7-9``; of many stretches the first ones."""
    captured = set(captured_frames(folder.capture))
    lost = [frame for frame in range(recorded_sender(folder).sent) if frame not in captured]
    stretches: list[list[int]] = []
    for frame in lost:
        if stretches and stretches[-1][1] == frame - 1:
            stretches[-1][1] = frame
        else:
            stretches.append([frame, frame])
    named = [f"{first}-{last}" if last > first else str(first) for first, last in stretches[:MOST_NAMED]]
    return ", ".join(named) + (f" and {len(stretches) - MOST_NAMED} more" if len(stretches) > MOST_NAMED else "")


def _told(result: StreamResult) -> dict[str, Any]:
    processes: dict[str, Mapping[str, Any]] = {
        name: {**asdict(usage), "restarts": result.restarts[name]} for name, usage in result.usage.items()
    }
    return {
        "edge": result.edge,
        "attacker": result.attacker,
        "link": result.link,
        "cloud": result.cloud,
        "processes": processes,
        "wall_s": result.wall_s,
    }
