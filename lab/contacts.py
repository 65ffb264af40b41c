"""Which pictures stand on a run's contact sheet: originals and what was rebuilt of them, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.contact import COLUMNS, Picture, Row, contact_sheet
from lab.measuring import scorer_of
from lab.metrics.base import ORACLE, Arrays, Declarations
from lab.recorded import reconstructions, truths
from lab.report import chosen_frames
from lab.runfolder import RunFolder, write_whole
from lab.scores import read_scores
from lab.studies.base import CellResult
from lab.tables import Sheet, figure, role_of
from victims.registry import victim
from victims.view import Image, View, view

CONTACT = "contact.png"


def contact(results: Sequence[CellResult]) -> Sheet | None:
    """The sheet with its picture; None where the modality has no pictures, or no truth was kept."""
    blocks = {result.cell.title: rows for result in results if (rows := _rows(result))}
    if not blocks:
        return None
    return Sheet(
        "Originals and what was rebuilt of them, by depth and method",
        picture=contact_sheet(blocks),
        reads="Rows: the originals, then each attack, floor and oracle. Columns: pictures of the stream.",
        notes=["Pictures are evenly spaced over the stream, none was picked by its score; below each is its score."],
    )


def write_contact(folder: RunFolder, results: Sequence[CellResult]) -> Path | None:
    """``contact.png`` of a run; None where there is nothing to show."""
    sheet = contact(results)
    return write_whole(folder.path / CONTACT, sheet.picture) if sheet else None


def _rows(result: CellResult) -> list[Row]:
    folder, pictured = RunFolder(result.folder), view(victim(result.cell.stream.victim).modality)
    scores = read_scores(folder)
    frames = chosen_frames(sorted(scores.groups), COLUMNS)
    true = {frame: truth for frame, truth in truths(folder.edge) if frame in frames}
    if not any(isinstance(pictured.sample(truth), Image) for truth in true.values()):
        return []
    measure = scorer_of(result.cell)
    metric = Declarations.of(measure)[measure.headline]
    made: dict[str, dict[int, Arrays]] = {}
    for rebuilt in reconstructions(folder.reconstructions):
        if rebuilt.frame in frames:
            made.setdefault(rebuilt.attack, {})[rebuilt.frame] = rebuilt.arrays
    made[ORACLE] = {f: arrays for f, truth in true.items() if (arrays := measure.oracle(truth)) is not None}
    rows = [Row("original", [_pixels(pictured.sample(true[f])) if f in true else None for f in frames])]
    for attack in _in_order(result, measure.floors):
        values, mean = scores.of(attack, metric.name), result.summary["scores"][attack][metric.name]["mean"]
        small = f"{metric.label} {figure(mean, metric)} {metric.unit}".rstrip() if mean is not None else "no value"
        label = {"floor": f"{attack} (floor)", ORACLE: measure.oracle_is}.get(role_of(attack, measure.floors), attack)
        pictures = [_rebuilt(pictured, made.get(attack, {}), frame) for frame in frames]
        rows.append(Row(label, pictures, small, [figure(values.get(frame), metric) for frame in frames]))
    return rows


def _in_order(result: CellResult, floors: Sequence[str]) -> list[str]:
    """Attacks as the study lists them, then floors, then the oracle."""
    asked = [choice.row for choice in result.cell.stream.attacks]
    rank = {"attack": 0, "floor": 1, ORACLE: 2}
    found = result.summary["scores"]
    return sorted(found, key=lambda a: (rank[role_of(a, floors)], asked.index(a) if a in asked else len(asked)))


def _rebuilt(pictured: View, made: Mapping[int, Arrays], frame: int) -> Picture | None:
    return _pixels(pictured.reconstruction(made[frame])) if frame in made else None


def _pixels(picture: object) -> Picture | None:
    return picture.pixels if isinstance(picture, Image) else None
