"""What every study of radiance fields prints beside the standard tables: gains over seeds, courses, shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from attacker.registry import attack as registered
from lab.metrics.base import Metric
from lab.metrics.pictures import SSIM
from lab.metrics.radiance import (
    CORRELATION,
    DEPTH_ERROR,
    FLOORS,
    GAIN,
    PSNR,
    PSNR_AFFINE,
    SSIM_AFFINE,
    VICTIM_PSNR,
    VICTIM_SSIM,
)
from lab.over_seeds import LEAST, Spread, entry, spread
from lab.plots import Line, lines
from lab.radiance_course import VICTIM, against, curve
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.studies.base import CellResult
from lab.studies.radiance import UNTRAINED
from lab.tables import Entry, Sheet

JUDGED: Final = (PSNR, SSIM, PSNR_AFFINE, SSIM_AFFINE)
BY_RENDER: Final = (*JUDGED, CORRELATION)
_TITLES: Final = {metric.name: metric.title for metric in JUDGED}
NOTHING: Final[Mapping[str, float]] = {
    PSNR.name: 0.3, PSNR_AFFINE.name: 0.3, SSIM.name: 0.02, SSIM_AFFINE.name: 0.02
}  # fmt: skip
"""A gain whose upper bound is below all of these is no information."""

Groups = Mapping[str, Sequence[CellResult]]
"""What cells have in common but for their seed -> those cells."""


def by_seed(results: Sequence[CellResult]) -> Groups:
    """Cells that differ in their seed alone, under their common title."""
    found: dict[str, list[CellResult]] = {}
    for result in results:
        found.setdefault(result.cell.title.rpartition(", seed ")[0] or result.cell.title, []).append(result)
    return found


def ordered(result: CellResult) -> list[str]:
    """The cell's attacks as the study lists them, floors last."""
    asked = [choice.row for choice in result.cell.stream.attacks]
    return [row for row in asked if row not in FLOORS] + [row for row in asked if row in FLOORS]


def gains(results: Sequence[CellResult], floor: str = UNTRAINED) -> Sheet | None:
    """Every attack against ``floor`` of its own seed, over seeds; None where that did not run."""
    named = "the untrained surrogate" if floor == UNTRAINED else floor
    sheet = Sheet(
        f"Gain over {named}",
        ["cells", "attack", "found", *[f"{metric.title} ↑" for metric in JUDGED]],
        hints=["", "", "", *[metric.definition for metric in JUDGED]],
    )
    for title, group in by_seed(results).items():
        for row in ordered(group[0]):
            if row == floor or floor not in ordered(group[0]) or (floor not in FLOORS and row in FLOORS):
                continue
            found = {metric.name: gain(group, row, floor, metric) for metric in JUDGED}
            fields = [entry(found[metric.name], metric) for metric in JUDGED]
            sheet.add([Entry(title, kind="name"), Entry(row), Entry(verdict(found)), *fields])
    sheet.notes += [
        f"Mean over the held-out views of a seed, the attack less {named} of the same training; then mean over seeds "
        f"and Student's 95 % interval of it, none below {LEAST} seeds.",
        f"'no information': all four upper bounds are below {NOTHING[PSNR.name]:g} dB and {NOTHING[SSIM.name]:g} SSIM. "
        "'above': all four lower bounds are above 0; where only some are, those are named.",
    ]
    return sheet if sheet.rows else None


def gain(group: Sequence[CellResult], row: str, floor: str, metric: Metric) -> Spread | None:
    """Of a row over a floor, paired by seed; seeds in which either has no value are left out."""
    differences = []
    for result in group:
        scores = read_scores(RunFolder(result.folder))
        ours, theirs = (mean_of(scores.of(name, metric.name).values()) for name in (row, floor))
        if ours is not None and theirs is not None:
            differences.append(ours - theirs)
    return spread(differences)


def verdict(found: Mapping[str, Spread | None]) -> str:
    """What the gains of :data:`NOTHING`'s metrics allow to say."""
    bounds = [(name, found.get(name), most) for name, most in NOTHING.items()]
    whole = [(name, s.low, s.high, most) for name, s, most in bounds if s and s.low is not None and s.high is not None]
    if len(whole) < len(NOTHING):
        return "too few seeds"
    if all(high < most for _, _, high, most in whole):
        return "no information"
    above = [_TITLES[name] for name, low, _, _ in whole if low > 0]
    if len(above) == len(whole):
        return "above"
    return f"above in {', '.join(above)}" if above else "not told apart"


def useful(results: Sequence[CellResult]) -> Sheet:
    """What the victim's own renders are worth, over seeds."""
    metrics = (VICTIM_PSNR, VICTIM_SSIM, GAIN)
    sheet = Sheet("What the training is worth to its user, over seeds", ["cells", *[f"{m.title} ↑" for m in metrics]])
    for title, group in by_seed(results).items():
        found = [
            spread([v for r in group if (v := r.summary["utility"].get(m.name, {}).get("mean")) is not None])
            for m in metrics
        ]
        sheet.add([Entry(title, kind="name"), *[entry(s, m) for s, m in zip(found, metrics, strict=True)]])
    sheet.notes.append(
        "Mean over the held-out views of a seed, against photographs; then over seeds, with its interval."
    )
    return sheet


def curves(results: Sequence[CellResult]) -> list[Sheet]:
    """The followed views over the steps of the training, a sheet for each group of seeds with pictures on the way."""
    made = []
    for title, group in by_seed(results).items():
        folders = [result.folder for result in group]
        rows = [VICTIM, *ordered(group[0])]
        panels = [
            (f"training steps: {metric.title}", [_line(folders, row, metric) for row in rows])
            for metric in (PSNR_AFFINE, PSNR)
        ]
        panels = [(name, [line for line in drawn if len(line.x) > 1]) for name, drawn in panels]
        if not any(drawn for _, drawn in panels):
            continue
        made.append(
            Sheet(
                f"Over the steps of the training: {title}",
                picture=lines(panels, "dB", {}),
                reads="PSNR of each attack and of the victim over steps, left after an affine fit of colours.",
                notes=[f"Mean over the same held-out views of {len(folders)} seeds at every step."],
            )
        )
    return made


def _line(folders: Sequence[Any], row: str, metric: Metric) -> Line:
    found = curve(folders, row, metric.name)
    return Line(row, [step for step, _ in found], [value for _, value in found])


def shape(results: Sequence[CellResult]) -> Sheet | None:
    """Luminance, which needs no colours, and depth, where it is known; None where nobody rebuilt anything."""
    sheet = Sheet("Luminance and shape", ["cells", "attack", f"{DEPTH_ERROR.title} ↓", f"{CORRELATION.title} ↑"])
    for title, group in by_seed(results).items():
        for row in ordered(group[0]):
            figures = [_over(group, row, metric) for metric in (DEPTH_ERROR, CORRELATION)]
            if any(figures):
                fields = [entry(s, m) for s, m in zip(figures, (DEPTH_ERROR, CORRELATION), strict=True)]
                sheet.add([Entry(title, kind="name"), Entry(row), *fields])
    sheet.notes.append(
        "Mean over held-out views of a seed, then over seeds with its interval. Neither needs colours; depth stands "
        "where the scene knows it."
    )
    return sheet if sheet.rows else None


def _over(group: Sequence[CellResult], row: str, metric: Metric) -> Spread | None:
    means = [mean_of(read_scores(RunFolder(r.folder)).of(row, metric.name).values()) for r in group]
    return spread([mean for mean in means if mean is not None])


def knowledge(results: Sequence[CellResult], words: Callable[[str], str] = lambda row: "") -> Sheet:
    """What each attack was given, whatever the card grants beside it: the card is the least that entitles all of them.

    words: what a row is told beside its needs.
    """
    sheet = Sheet("Who knows what", ["attack", "sits", "knows of the victim", "beside that"])
    choices = {choice.row: choice for result in results for choice in result.cell.stream.attacks}
    victims = {"none": "nothing but its settings", "black": "answers to queries", "white": "its weights at step 0"}
    for row, choice in choices.items():
        needs = registered(choice.name).needs
        kind = ("floor",) if row in FLOORS else ()
        place = {"cloud": "in the cloud", "wire": "on the wire"}[needs.vantage]
        sheet.add([Entry(row, kind, kind="name"), Entry(place), Entry(victims[needs.victim]), Entry(words(row) or "–")])
    sheet.notes.append(
        "In the cloud: its model at every picture, and what it receives. On the wire: the bytes. All are asked for the "
        "poses of the held-out views, none sees a pixel of them."
    )
    return sheet


def by_render(results: Sequence[CellResult]) -> Sheet | None:
    """Scores against the undefended render in place of the photograph, as the paper has them; None without one."""
    sheet = Sheet(
        "Against the undefended victim's render, as the paper has it",
        ["cells", "who", *[f"{metric.title} ↑" for metric in BY_RENDER]],
    )
    for title, group in by_seed(results).items():
        found: dict[str, dict[str, list[float]]] = {}
        for result in group:
            reference = result.folder.parent / result.cell.reference
            if not result.cell.reference or not reference.is_dir():
                continue
            for metric in BY_RENDER:
                for row, value in against(result.folder, reference, metric.name).items():
                    found.setdefault(row, {}).setdefault(metric.name, []).append(value)
        for row, values in found.items():
            if row == VICTIM and group[0].cell.reference == group[0].cell.id:
                continue  # its own reference
            fields = [entry(spread(values.get(m.name, [])), m) for m in BY_RENDER]
            sheet.add([Entry(title, kind="name"), Entry(row), *fields])
    sheet.notes.append(
        "The render of the same view by the same training without a defense, in place of the photograph."
    )
    return sheet if sheet.rows else None


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of those that there are; None of none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
