"""What every study of picture inversion prints beside the standard tables: pictures, paired differences, courses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from lab.contacts import contact
from lab.course import PLATEAU_DB, Courses, courses
from lab.measuring import scorer_of
from lab.metrics.base import ORACLE, Scorer
from lab.metrics.pictures import PSNR, SSIM
from lab.plots import Line, lines
from lab.runfolder import RunFolder
from lab.scores import Scores, read_scores
from lab.studies.base import CellResult
from lab.tables import Entry, Sheet, estimate

ZERO = "an interval that leaves out 0 is a difference"


def sheets(results: Sequence[CellResult]) -> list[Sheet]:
    """The contact sheet, paired differences, and each cell's course."""
    found = [contact(results), differences(results)]
    for result in results:
        found += course_sheets(result)
    return [sheet for sheet in found if sheet is not None]


def differences(results: Sequence[CellResult]) -> Sheet | None:
    """Every attack against every other on the same pictures, cell by cell; None where there is one attack only."""
    sheet = Sheet(
        "Differences between attacks, picture by picture", ["cell", "attacks", f"{PSNR.title} ↑", f"{SSIM.title} ↑"]
    )
    for result in results:
        for pair, found in result.summary["differences"].items():
            cells = [estimate(found.get(metric.name), metric) for metric in (PSNR, SSIM)]
            sheet.add([Entry(result.cell.title, kind="name"), Entry(pair, kind="name"), *cells])
    sheet.notes.append(
        f"The first less the second on the same picture, mean with its 95 % bootstrap interval over pictures; {ZERO}."
    )
    return sheet if sheet.rows else None


def course_sheets(result: CellResult) -> list[Sheet]:
    """A cell's course: curves, where each attack ended, and differences at equal iterations and equal time."""
    folder = RunFolder(result.folder)
    scores = read_scores(folder)
    found = courses(folder, scores.groups, result.cell.stream.seed)
    attacks = [choice.row for choice in result.cell.stream.attacks if choice.row in found.by_attack]
    if not attacks:
        return []
    sheets = [_course(result, found, scores, attacks)]
    return [*sheets, _equal(result, found, attacks)] if len(attacks) > 1 else sheets


def _course(result: CellResult, found: Courses, scores: Scores, attacks: Sequence[str]) -> Sheet:
    iterations, cpu_s = found.iterations(attacks), found.cpu_s(attacks)
    sheet = Sheet(
        f"The course of each attack: {result.cell.title}",
        [
            "attack",
            "iterations",
            "CPU-seconds a picture",
            "PSNR at the end (dB)",
            "gained in the last fifth (dB)",
            "plateau",
            f"PSNR after {iterations} iterations (dB)",
            f"PSNR after {cpu_s:.3g} CPU-seconds (dB)",
        ],
        picture=_plot(found, scores, attacks, scorer_of(result.cell)),
        reads="Mean PSNR over pictures, left over iterations, right over CPU-seconds a picture.",
    )
    for attack in attacks:
        gain = found.summary(attack, found.gains(attack))
        still = gain.mean is not None and gain.mean >= PLATEAU_DB
        figures = [
            found.summary(attack, values)
            for values in (found.ends(attack), found.after(attack, iterations), found.within(attack, cpu_s))
        ]
        end, after, within = (estimate(figure.asdict(), PSNR) for figure in figures)
        row = [Entry(attack, kind="name"), Entry(str(found.iterations([attack])))]
        row += [Entry(f"{found.cpu_s([attack]):.3g}"), end, estimate(gain.asdict(), PSNR)]
        sheet.add([*row, Entry("still rising" if still else "reached"), after, within])
    sheet.notes += [
        f"A plateau is reached where the last fifth of the iterations gains less than {PLATEAU_DB:g} dB on average.",
        "CPU-seconds are those of a batch over its pictures. Values between snapshots are interpolated.",
        "The order at equal iterations and that at equal time are as found; an iteration of one attack costs another's "
        "many times over.",
    ]
    return sheet


def _equal(result: CellResult, found: Courses, attacks: Sequence[str]) -> Sheet:
    sheet = Sheet(
        f"Differences at equal effort: {result.cell.title}",
        ["attacks", "at equal iterations, PSNR (dB)", "at equal CPU-seconds, PSNR (dB)", "at their ends, PSNR (dB)"],
    )
    for ours, theirs in combinations(attacks, 2):
        iterations, cpu_s = found.iterations([ours, theirs]), found.cpu_s([ours, theirs])
        compared = (
            (found.after(ours, iterations), found.after(theirs, iterations), f"{iterations} iterations"),
            (found.within(ours, cpu_s), found.within(theirs, cpu_s), f"{cpu_s:.3g} s a picture"),
            (found.ends(ours), found.ends(theirs), ""),
        )
        row = [Entry(f"{ours} - {theirs}", kind="name")]
        for a, b, where in compared:
            entry = estimate(found.difference(a, b).asdict(), PSNR)
            row.append(Entry(entry.text, (*entry.small, *([where] if where else [])), entry.why))
        sheet.add(row)
    sheet.notes.append(f"The first less the second on the same picture, at what the shorter of the two had; {ZERO}.")
    return sheet


def _plot(found: Courses, scores: Scores, attacks: Sequence[str], measure: Scorer) -> bytes:
    panels: list[tuple[str, list[Line]]] = [("iterations", []), ("CPU-seconds a picture", [])]
    for attack in attacks:
        end = found.summary(attack, found.ends(attack))
        bounds = (end.low, end.high) if end.low is not None and end.high is not None else None
        for (_, drawn), (x, y) in zip(panels, (found.over_iterations(attack), found.over_time(attack)), strict=True):
            drawn.append(Line(attack, x, y, bounds))
    return lines(panels, f"{PSNR.title}, mean over pictures", _levels(scores, measure))


def _levels(scores: Scores, measure: Scorer) -> Mapping[str, float]:
    """Mean PSNR of the floors and the oracle, which have no course."""
    levels = {}
    for attack in (*measure.floors, ORACLE):
        values = [value for value in scores.of(attack, PSNR.name).values() if value is not None]
        if values:
            levels[measure.oracle_is if attack == ORACLE else attack] = sum(values) / len(values)
    return levels
