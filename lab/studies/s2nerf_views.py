"""The radiance studies' pictures: the same held-out views as everybody has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lab.contact import Picture, Row, contact_sheet
from lab.metrics.radiance import FLOORS, PSNR_AFFINE, colour_fitted, levels
from lab.radiance_course import VICTIM, asked_for, course, step_of
from lab.recorded import outcomes, reconstructions
from lab.runfolder import RunFolder
from lab.studies.base import CellResult
from lab.studies.s2nerf_sheets import by_seed, ordered
from lab.tables import Sheet, figure

SHOWN: Final = 6
"""Views side by side."""


@dataclass(frozen=True)
class Seen:
    """A cell's views at the end of its training. photographs: by frame, in order. made: who -> frame -> picture.
    values: (who, frame) -> PSNR with colours fitted."""

    photographs: Mapping[int, Picture]
    made: Mapping[str, Mapping[int, Picture]]
    values: Mapping[tuple[str, int], float | None]

    def row(self, who: str, label: str, small: str = "", *, fitted: bool = False) -> Row:
        """Somebody's pictures; fitted: after the affine map of colours that fits each best."""
        pictures = self.made.get(who, {})
        shown = [self._fitted(f, pictures.get(f)) if fitted else pictures.get(f) for f in self.photographs]
        values = [self.values.get((who, frame)) for frame in self.photographs]
        return Row(label, shown, small, [figure(v, PSNR_AFFINE) if v is not None else "" for v in values])

    def _fitted(self, frame: int, made: Picture | None) -> Picture | None:
        true = self.photographs[frame]
        return colour_fitted(true, made) if made is not None and made.shape == true.shape else None


def seen(result: CellResult) -> Seen:
    """Evenly spaced views, of which none was picked by its score; empty where no picture was kept."""
    folder = RunFolder(result.folder)
    true = dict(asked_for(folder))
    last = max((step_of(truth) for truth in true.values()), default=0)
    frames = [frame for frame, truth in sorted(true.items()) if step_of(truth) == last]
    frames = [frames[i * len(frames) // min(SHOWN, len(frames))] for i in range(min(SHOWN, len(frames)))]
    made: dict[str, dict[int, Picture]] = {}
    for frame, found in outcomes(folder.edge):
        if frame in frames and "image" in found:
            made.setdefault(VICTIM, {})[frame] = levels(found["image"])
    for rebuilt in reconstructions(folder.reconstructions):
        if rebuilt.frame in frames and "image" in rebuilt.arrays:
            made.setdefault(rebuilt.attack, {})[rebuilt.frame] = levels(rebuilt.arrays["image"])
    values = {(p.row, p.frame): p.values.get(PSNR_AFFINE.name) for p in course(result.folder)} if frames else {}
    return Seen({frame: levels(true[frame].truth["image"]) for frame in frames}, made, values)


def views(results: Sequence[CellResult]) -> Sheet | None:
    """Photographs, the victim's renders and what each attack made of the same views: the first seed of each group.

    None where no picture was kept.
    """
    blocks = {
        f"{title}, seed {group[0].cell.stream.seed}": _rows(group[0]) for title, group in by_seed(results).items()
    }
    blocks = {title: rows for title, rows in blocks.items() if rows}
    if not blocks:
        return None
    return Sheet(
        "The same views, photographed, rendered by the victim, and rebuilt by who listened",
        picture=contact_sheet(blocks),
        reads="Rows: photographs, the victim's renders, each attack, floors. Columns: held-out views.",
        notes=[
            f"Held-out views, evenly spaced, at the end of the training; below each its {PSNR_AFFINE.title}. None was "
            "picked by its score. The second row of an attack has the affine map of colours that fits a picture best, "
            "found with the photograph, which no listener has."
        ],
    )


def _rows(result: CellResult) -> list[Row]:
    found = seen(result)
    if not found.photographs:
        return []
    rows = [Row("photograph", list(found.photographs.values()))]
    for row in (VICTIM, *ordered(result)):
        rows.append(found.row(row, row, "floor" if row in FLOORS else ""))
        if row != VICTIM and row not in FLOORS:
            fitted = found.row(row, "", "colours fitted", fitted=True)
            rows.append(Row(fitted.label, fitted.pictures, fitted.small))
    return rows


def under_defenses(results: Sequence[CellResult], shown: Sequence[str]) -> Sheet | None:
    """Photograph, victim and attackers without a defense and under each, in one block: the first seed of each scene.

    shown: the attacks' rows, each where it ran. None where no picture was kept.
    """
    blocks: dict[str, list[Row]] = {}
    for group in by_seed(results).values():
        result = group[0]
        found, columns = seen(result), result.cell.columns
        if not found.photographs:
            continue
        name = columns.get("defended", "no defense")
        block = blocks.setdefault(f"{columns['scene']}, {columns['split']}, seed {columns['seed']}", [])
        if not block:
            block.append(Row("photograph", list(found.photographs.values())))
        block.append(found.row(VICTIM, VICTIM, name))
        block += [found.row(row, row, name, fitted=True) for row in shown if row in found.made]
    if not blocks:
        return None
    return Sheet(
        "Photograph, victim, attacker, and attacker under each defense",
        picture=contact_sheet(blocks),
        reads="Rows: photographs; for each defense the victim's renders and the attacks'. Columns: held-out views.",
        notes=[
            "Attacks with the affine map of colours that fits each picture best; below each its "
            f"{PSNR_AFFINE.title}. A picture that says nothing becomes a flat card of the photograph's mean colour."
        ],
    )
