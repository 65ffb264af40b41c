"""A study's report: its own tables above the standard ones, and what to print at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import link_probe, trouble
from lab.measuring import scorer_of, scorer_settings
from lab.pictures import side_by_side
from lab.privacy import privacy_line, privacy_sheet
from lab.recorded import payload, reconstructions, stages, truths
from lab.report import CellPage, render
from lab.runfolder import RunFolder
from lab.studies.base import Cell, CellResult, Settings, Study, restored
from lab.studies.links import cells_of, spelled
from lab.studies.registry import study as find
from lab.tables import Entry, Sheet
from victims.registry import victim
from victims.view import Points, view
from wire.errors import InputError


def write_report(folder: RunFolder, study: Study, results: Sequence[CellResult]) -> Path:
    """``report.html`` of a run, its pictures and its tables."""
    pages = [page(result, study.paper(result.cell)) for result in results]
    told = [(result.cell.title, result.summary) for result in results]
    costs, wrong = privacy_sheet(told), trouble.sheet(results)
    return render(
        folder,
        pages,
        title=study.summary,
        command=command(study.name, restored(folder.config["settings"])),
        extra=study.sheets(results),
        after=[*([wrong] if wrong else []), _defenses(results), *([costs] if costs else []), link_probe.sheet(told)],
        paper_source=study.source,
    )


def write_picture(result: CellResult) -> Path | None:
    """``picture.png`` beside a cell's record: truth, what crossed the wire, what its last attack rebuilt.

    The frame is the middle one of the stream, whatever it scored. None where the modality is not pictured as points, or
    nothing was kept.
    """
    folder, attack = RunFolder(result.folder), result.cell.stream.attacks[-1].row
    frames = sorted(stages(folder.edge))
    frame = frames[len(frames) // 2] if frames else -1
    truth = next((sample for number, sample in truths(folder.edge) if number == frame), None)
    sent = payload(folder.capture, frame)
    made = next((r for r in reconstructions(folder.reconstructions, attack) if r.frame == frame), None)
    if truth is None or sent is None or made is None:
        return None
    drawn = view(victim(result.cell.stream.victim).modality)
    panels = [
        (f"What {drawn.sees} saw", drawn.sample(truth)),
        ("What crossed the wire", drawn.payload(sent)),
        (f"What the listener rebuilt ({attack})", drawn.reconstruction(made.arrays)),
    ]
    points = [(title, picture) for title, picture in panels if isinstance(picture, Points)]
    if len(points) < len(panels):
        return None
    seen = points[1][1].xyz  # what crossed bounds what can be compared
    if not len(seen):
        return None
    box = (seen.min(axis=0), seen.max(axis=0))
    return side_by_side(folder.path / "picture.png", points, box=box)


def tell(folder: RunFolder) -> Path:
    """Write the report of a finished run anew; returns its path. InputError for one that has not finished."""
    return write_report(folder, find(folder.config["study"]), results_of(folder))


def results_of(folder: RunFolder) -> list[CellResult]:
    """The finished cells of a run, in the order of its study. InputError when there is none."""
    study = find(folder.config["study"])
    if "settings" not in folder.config:
        raise InputError(f"{folder.path}: a run of {study.name} without settings; accepted: what `eavesplit run` made")
    cells = cells_of(study, restored(folder.config["settings"]))
    order = {cell.id: number for number, cell in enumerate(cells)}
    done = [cell for cell in folder.cells() if cell.finished and cell.path != folder.path]
    results = [_result({cell.id: cell for cell in cells}, cell) for cell in done]
    if not results:
        again = f"eavesplit run {study.name} --resume {folder.path}"
        raise InputError(f"{folder.path}: no cell has finished; go on with `{again}`")
    return sorted(results, key=lambda result: order[result.cell.id])


def command(name: str, settings: Settings) -> str:
    """The line that makes a run again."""
    words = ["eavesplit", "run", name]
    for folder in settings.data:
        words += ["--data", str(folder)]
    for split in settings.splits:
        words += ["--split", split]
    defaults = Settings()
    for key in ("profile", "frames", "seed", "record", "record_gb"):
        value = getattr(settings, key)
        if value != getattr(defaults, key):
            words += [f"--{key.replace('_', '-')}", str(value)]
    if settings.tls:
        words.append("--tls")
    if settings.link:
        words += ["--link", spelled(settings.link)]
    if settings.redis:
        words += ["--redis", settings.redis]
    if settings.workers:
        words += ["--workers", str(settings.workers)]
    for key, value in settings.options.items():
        words += ["--set", f"{key}={value}"]
    return " ".join(words)


def headline(results: Sequence[CellResult]) -> list[str]:
    """A few lines for the terminal: the first metric of every attack, and what the processes used."""
    lines = []
    for result in results:
        frames, metric = result.summary["frames"], scorer_of(result.cell).headline
        found = [
            f"{attack} {values[metric]['mean']:.3f}"
            for attack, values in result.summary["scores"].items()
            if values.get(metric, {}).get("mean") is not None
        ]
        lines.append(
            f"{result.cell.title}: {frames['answered']} of {frames['sent']} frames answered, "
            f"{frames['captured']} captured, {frames['inverted']} inverted; {metric}: {', '.join(found) or 'none'}"
        )
        measured = link_probe.line(result.summary.get("link_measured", {}))
        if measured:
            lines.append(f"  {measured}")
        if guaranteed := privacy_line(result.summary):
            lines.append(f"  {guaranteed}")
        lines += [f"  {line}" for line in trouble.lines(result.summary)]
    used = [usage for result in results for usage in result.summary["processes"].values()]
    lines.append(
        f"processes: {sum(u['cpu_s'] for u in used):.0f} CPU-seconds, largest {max(u['peak_mb'] for u in used):.0f} MB"
    )
    return lines


def _result(cells: Mapping[str, Cell], folder: RunFolder) -> CellResult:
    cell = cells.get(folder.path.name)
    if cell is None:
        raise InputError(f"{folder.path}: its settings are not among this version's cells of the study")
    return CellResult(cell, folder.path, folder.read_summary())


def page(result: CellResult, paper: Mapping[str, Mapping[str, float]], title: str = "") -> CellPage:
    """One cell of a report; its own title unless another is given."""
    folder, stream = RunFolder(result.folder), result.cell.stream
    return CellPage(
        title or result.cell.title,
        folder,
        result.summary,
        victim(stream.victim).modality,
        scorer_settings(result.cell),
        paper,
        lambda frame: payload(folder.capture, frame),
    )


def _defenses(results: Sequence[CellResult]) -> Sheet:
    """What every cell's defense was and what it added: means over its frames."""
    rows = []
    for result in results:
        told = {"calibration": {}, "measured": {}, **result.summary["defense"]}
        given = ", ".join(f"{k} {v}" for k, v in told.items() if k not in ("name", "calibration", "measured"))
        added = told["measured"]
        figures = [added.get(key) for key in ("sigma", "sites", "energy", "bytes")]
        rows.append([result.cell.title, told["name"], given or "-", told["calibration"].get("rms"), *figures])
    return table(
        "The defense",
        ("cell", "defense", "settings", "RMS of clean features", "deviation added", "sites", "energy", "bytes a frame"),
        rows,
        ("Strength is the deviation in units of the RMS; energy is deviation squared times noised values, a frame.",),
    )


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()) -> Sheet:
    """A sheet of texts and numbers; None is an empty field that says so."""
    sheet = Sheet(title, columns, notes=list(notes))
    for row in rows:
        sheet.add([_entry(value) for value in row])
    return sheet


def _entry(value: Any) -> Entry:
    if value is None:
        return Entry("", why="not given, or no frame had a value")
    return Entry(f"{value:.4g}" if isinstance(value, float) else str(value))
