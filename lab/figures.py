"""A run's figures as one small file that can be kept with the code: what was asked, what came out, what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lab.runfolder import RunFolder, write_whole
from lab.studies.base import CellResult, restored
from lab.studies.image_files import real_data
from lab.studies.registry import study as find
from lab.tables import Sheet
from lab.telling import command, results_of

KEPT: Final = ("title", "split", "frames", "scores", "differences", "utility", "bytes", "privacy")
"""What of a cell's summary is kept."""

DIGITS: Final = 5
"""Significant ones, of every figure."""


def write_figures(run: RunFolder, path: Path) -> Path:
    """Write the figures of a finished run to ``path``. InputError for a run that has no finished cell."""
    return write_whole(path, json.dumps(figures(run), indent=1) + "\n")


def figures(run: RunFolder) -> dict[str, Any]:
    """``study``, ``command``, ``frames``, ``seed``, ``hours`` and ``cpu_hours`` of all cells and of what was learnt for
    them, ``machine``, ``cells`` (their summaries' figures, by cell) and ``tables`` (the study's own, as printed).

    Folders of the machine that ran it are left out: what lay in ``EAVESPLIT_DATA`` is told as ``shared/data``.
    """
    config, results = run.config, results_of(run)
    chosen, settings = find(config["study"]), restored(config["settings"])
    used = [usage for result in results for usage in result.summary["processes"].values()]
    fitted = [json.loads(path.read_text()) for path in sorted((run.path / "cells" / "fits").glob("*/fit.json"))]
    told: dict[str, Any] = {
        "study": chosen.name,
        "command": command(chosen.name, settings),
        "created": str(config.get("created", "")),
        "frames": sorted({int(result.summary["frames"]["sent"]) for result in results}),
        "seed": settings.seed,
        "hours": (sum(_wall_s(result) for result in results) + _sum(fitted, "wall_s")) / 3600,
        "cpu_hours": (_sum(used, "cpu_s") + _sum(fitted, "cpu_s")) / 3600,
        "machine": {**config.get("environment", {}), "versions": config.get("versions", {})},
        "cells": [_cell(result) for result in results],
        "tables": [_table(sheet) for sheet in chosen.sheets(results) if sheet.rows],
    }
    return {key: _portable(_rounded(value)) for key, value in told.items()}


def _sum(used: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(float(usage[key]) for usage in used)


def _wall_s(result: CellResult) -> float:
    """How long the cell's processes ran, on the clock; 0 where it was not recorded."""
    recorded = result.folder / "stream.json"
    return float(json.loads(recorded.read_text())["wall_s"]) if recorded.exists() else 0.0


def _cell(result: CellResult) -> dict[str, Any]:
    summary = result.summary
    kept = {key: summary[key] for key in KEPT if key in summary}
    knowledge = {k: v for k, v in summary["knowledge"].items() if k != "guard" and v not in ("", [], {}, 0)}
    defense = {k: v for k, v in summary["defense"].items() if k != "measured" or v}
    return {
        "victim": summary["victim"],
        **kept,
        "defense": defense,
        "knowledge": knowledge,
        "attacks": {attack.row: dict(attack.settings) for attack in result.cell.stream.attacks},
    }


def _table(sheet: Sheet) -> dict[str, Any]:
    rows = [[" | ".join([entry.text, *entry.small]) for entry in row] for row in sheet.rows]
    return {"title": sheet.title, "columns": list(sheet.columns), "rows": rows, "notes": list(sheet.notes)}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _portable(value: Any) -> Any:
    """Text without the folders of this machine."""
    if isinstance(value, Mapping):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if not isinstance(value, str) or "/" not in value:
        return value
    data = real_data()
    places = [(str(place), "shared/data") for place in ((data, data.resolve()) if data else ())]
    places.append((str(Path(__file__).resolve().parent.parent), "."))
    for place, name in places:
        value = value.replace(place, name)
    return value
