"""A study from its settings to its report; a killed one goes on where it stopped."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.contacts import write_contact
from lab.runfolder import RunFolder
from lab.sources import check_sources
from lab.studies.base import Captioned, CellResult, Settings, plain, restored
from lab.studies.links import cells_of
from lab.studies.registry import study as find
from lab.summary import summarize_study
from lab.telling import headline, write_picture, write_report
from victims.base import Progress
from wire.errors import InputError


@dataclass(frozen=True)
class Finished:
    """A run that reached its end: what to print, and where the report is."""

    folder: RunFolder
    report: Path
    lines: Sequence[str]


class Stopped(Exception):
    """Ctrl-C in the middle of a run; ``command`` goes on with it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.command = f"eavesplit run {name} --resume {folder}"
        super().__init__(self.command)


def execute(name: str, settings: Settings, root: Path, resume: Path | None, progress: Progress) -> Finished:
    """Run every cell of a study that is not finished, then sum up and report.

    resume: an earlier run's folder, whose own settings are used; InputError when it belongs to another study.
    Ctrl-C becomes Stopped.
    """
    began = time.monotonic()
    study = find(name)
    if resume is not None:
        folder = RunFolder.open(resume)
        if folder.config["study"] != name:
            raise InputError(f"--resume {resume}: that is a run of {folder.config['study']}, not of {name}")
        settings = restored(folder.config["settings"])
        cells = cells_of(study, settings)
        check_sources(cell for cell in cells if not folder.cell(cell.id).finished)
    else:
        cells = cells_of(study, settings)
        check_sources(cells)
        folder = RunFolder.create(root, name, {"seed": settings.seed, "settings": plain(settings)})
    results: list[CellResult] = []
    for number, cell in enumerate(cells):

        def on_cell(done: float, total: float, note: str = "", number: int = number) -> None:
            progress(number + done / max(total, 1e-9), len(cells), note)

        work = folder.cell(cell.id, {"seed": settings.seed, "title": cell.title, "stream": plain(cell.stream)})
        try:
            results.append(study.run(cell, work.path, on_cell))
        except KeyboardInterrupt:
            raise Stopped(name, folder.path) from None
    if len(results) == 1:
        folder.write_summary({**results[0].summary, "cell": results[0].cell.id})
    else:
        folder.write_summary(summarize_study(name, {r.cell.id: r.summary for r in results}))
    drawn = [write_contact(folder, results), *(write_picture(result) for result in results)]
    pictures = [made for made in drawn if made is not None]
    report = write_report(folder, study, results)
    told = [study.caption(results)] if isinstance(study, Captioned) else []
    lines = [*headline(results), *told, _took(began), *(str(picture) for picture in pictures[:1])]
    return Finished(folder, report, lines)


def _took(began: float) -> str:
    """Wall and CPU time of this command: the lab's own and that of every process it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    return f"in all: {cpu:.0f} CPU-seconds, {time.monotonic() - began:.0f} s on the clock"
