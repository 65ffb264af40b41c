"""``eavesplit sweep``: a study over every combination of some settings, each a run folder, told in one table.

The sweep's folder has a run folder for each trial under ``cells/``, named by the digest of what the trial resolves to;
``eavesplit report`` and ``run --resume`` work on each of them. A trial with a report is finished and never run again. A
trial that fails leaves ``failed.json`` with its reason, the others go on, and a resumed sweep tries it again.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab import link_probe
from lab.axes import Trial, trials
from lab.execute import execute
from lab.measuring import scorer_of
from lab.report import render
from lab.runfolder import RunFolder
from lab.studies.base import CellResult, Settings, Study, plain, restored
from lab.studies.registry import study as find
from lab.tables import Entry, Sheet
from lab.telling import command, page
from victims.base import Progress
from wire.errors import EavesplitError, InputError

PREFIX = "sweep-"
FAILED = "failed.json"


@dataclass(frozen=True)
class Outcome:
    """How one trial ended. status: ``finished``, ``failed`` or (told again) ``unfinished``. results: its cells; none
    unless it finished."""

    trial: Trial
    folder: RunFolder
    status: str
    reason: str = ""
    results: Sequence[CellResult] = ()


@dataclass(frozen=True)
class Swept:
    """A sweep that reached its end: its folder, what to print, and the file to show last."""

    folder: RunFolder
    outcomes: Sequence[Outcome]
    lines: Sequence[str]
    made: Path


def sweep(
    name: str, settings: Settings, over: Sequence[str], root: Path, resume: Path | None, progress: Progress
) -> Swept:
    """Run every trial that is not finished, then write ``sweep.csv``, ``sweep.json`` and ``report.html``.

    resume: an earlier sweep's folder, whose own settings and axes are used. InputError for a bad ``over`` (before
    anything starts) and for a folder of another study.
    """
    study = find(name)
    if resume is not None:
        folder = RunFolder.open(resume)
        config = folder.config
        if config["study"] != PREFIX + name:
            raise InputError(f"--resume {resume}: that is a run of {config['study']}, not of {PREFIX}{name}")
        if over and list(over) != config["over"]:
            raise InputError(f"--over {' '.join(over)}: the sweep in {resume} goes over {' '.join(config['over'])}")
        settings, over = restored(config["settings"]), config["over"]
        wanted = trials(study, settings, over)
    else:
        wanted = trials(study, settings, over)
        resolved = {"seed": settings.seed, "settings": plain(settings), "over": list(over)}
        folder = RunFolder.create(root, PREFIX + name, resolved)
    outcomes = _run_all(study, folder, wanted, progress)
    return _told(study, folder, settings, over, outcomes)


def retell(folder: RunFolder) -> Path:
    """``sweep.csv``, ``sweep.json`` and ``report.html`` of a sweep anew, from what its trials left; runs nothing.

    A trial that has not run is listed as unfinished. InputError when none has finished.
    """
    outcomes = _recorded(folder)
    name = str(folder.config["study"]).removeprefix(PREFIX)
    if not any(outcome.results for outcome in outcomes):
        again = f"eavesplit sweep {name} --resume {folder.path}"
        raise InputError(f"{folder.path}: no trial has finished; go on with `{again}`")
    return _told(find(name), folder, restored(folder.config["settings"]), folder.config["over"], outcomes).made


def finished(folder: RunFolder) -> list[RunFolder]:
    """The run folders of a sweep's finished trials, in order, each once."""
    return list(dict.fromkeys(outcome.folder for outcome in _recorded(folder) if outcome.results))


def _recorded(folder: RunFolder) -> list[Outcome]:
    """How every trial stands on disk."""
    study = find(str(folder.config["study"]).removeprefix(PREFIX))
    outcomes = []
    for trial in trials(study, restored(folder.config["settings"]), folder.config["over"]):
        work = folder.cell(trial.id)
        failed = work.path / FAILED
        if _finished(work):
            outcomes.append(Outcome(trial, work, "finished", results=_results(trial, work)))
        elif failed.is_file():
            reason = str(json.loads(failed.read_text(encoding="utf-8"))["reason"])
            outcomes.append(Outcome(trial, work, "failed", " ".join(reason.split())))
        else:
            outcomes.append(Outcome(trial, work, "unfinished", "it has not run to its end yet"))
    return outcomes


def _results(trial: Trial, work: RunFolder) -> list[CellResult]:
    return [CellResult(c, work.path / "cells" / c.id, work.cell(c.id).read_summary()) for c in trial.cells]


def _run_all(study: Study, folder: RunFolder, wanted: Sequence[Trial], progress: Progress) -> list[Outcome]:
    """Every trial's outcome, in order; those that resolve to the same work are run once and share it."""
    distinct = list({trial.id: trial for trial in wanted}.values())
    clock = _Clock(sum(not _finished(folder.cell(trial.id)) for trial in distinct))
    ended: dict[str, Outcome] = {}
    for number, trial in enumerate(distinct):
        fresh = not _finished(folder.cell(trial.id))

        def on_trial(done: float, total: float, note: str = "", number: int = number, title: str = trial.title) -> None:
            share = done / max(total, 1e-9)
            text = f"trial {number + 1} of {len(distinct)} ({title}){clock.left(share)}: {note}"
            progress(number + share, len(distinct), text)

        ended[trial.id] = _run_one(study, folder, trial, on_trial)
        clock.ended(fresh)
    return [replace(ended[trial.id], trial=trial) for trial in wanted]


def _finished(trial: RunFolder) -> bool:
    # The report is the last file that a run writes: with a summary alone it was killed in between.
    return trial.finished and trial.report.exists()


def _run_one(study: Study, folder: RunFolder, trial: Trial, progress: Progress) -> Outcome:
    """One trial to its end, whatever that is; only Ctrl-C passes through."""
    resolved = {"study": study.name, "seed": trial.settings.seed, "settings": plain(trial.settings)}
    work = folder.cell(trial.id, {**resolved, "trial": dict(trial.values)})
    if trial.reason:
        return _failed(work, trial, trial.reason)
    try:
        if not _finished(work):
            execute(study.name, trial.settings, folder.path, work.path, progress)
        results = _results(trial, work)
    except EavesplitError as error:
        return _failed(work, trial, str(error))
    except Exception as error:  # one trial's bug or full disk must not cost the others
        return _failed(work, trial, f"{type(error).__name__}: {error}")
    (work.path / FAILED).unlink(missing_ok=True)
    return Outcome(trial, work, "finished", results=results)


def _failed(work: RunFolder, trial: Trial, reason: str) -> Outcome:
    work.write(FAILED, json.dumps({"trial": plain(trial.values), "reason": reason}, indent=1) + "\n")
    return Outcome(trial, work, "failed", " ".join(reason.split()))


class _Clock:
    """The time left, from the mean of the trials that this process has run."""

    def __init__(self, remaining: int) -> None:
        self._remaining, self._ended, self._started = remaining, 0, time.monotonic()

    def ended(self, fresh: bool) -> None:
        self._ended += fresh

    def left(self, share: float) -> str:
        done = self._ended + share
        if not self._ended or done >= self._remaining:
            return ""
        seconds = (time.monotonic() - self._started) / done * (self._remaining - done)
        return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"


def _told(
    study: Study, folder: RunFolder, settings: Settings, over: Sequence[str], outcomes: Sequence[Outcome]
) -> Swept:
    rows = table(outcomes)
    folder.write("sweep.csv", _csv(rows))
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    whole = {
        "study": study.name,
        "over": list(over),
        "trials": [
            {
                "id": outcome.trial.id,
                "values": plain(outcome.trial.values),
                "status": outcome.status,
                "reason": outcome.reason,
                "folder": str(outcome.folder.path.relative_to(folder.path)),
                "cells": {result.cell.id: result.summary for result in outcome.results},
            }
            for outcome in outcomes
        ],
    }
    made = folder.write("sweep.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")
    distinct = {outcome.trial.id: outcome for outcome in outcomes}
    told = [(outcome, result) for outcome in distinct.values() for result in outcome.results]
    if told:
        again = command(study.name, settings).replace("eavesplit run", "eavesplit sweep", 1)
        made = render(
            folder,
            [page(r, study.paper(r.cell), title=_name(o, r)) for o, r in told],
            title=f"{study.name} over {', '.join(over)}",
            command=" ".join([again, *[f"--over {axis}" for axis in over]]),
            extra=[sheet(rows, _headline(told[0][1])), link_probe.sheet([(_name(o, r), r.summary) for o, r in told])],
            paper_source=study.source,
        )
    lines = [f"failed: {outcome.trial.title}: {outcome.reason}" for outcome in failed]
    done = sum(outcome.status == "finished" for outcome in outcomes)
    lines.append(f"{done} of {len(outcomes)} trials finished; {folder.path / 'sweep.csv'}")
    return Swept(folder, outcomes, lines, made)


def _headline(result: CellResult) -> str:
    return scorer_of(result.cell).headline


def _name(outcome: Outcome, result: CellResult) -> str:
    return outcome.trial.title if len(outcome.results) == 1 else f"{outcome.trial.title}: {result.cell.title}"


def table(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """A row for each cell of each trial, and one for each trial that failed: axes, status, frames, bytes, latency, then
    mean, interval and n of every attack and metric, and the utility's means."""
    rows: list[dict[str, Any]] = []
    for outcome in outcomes:
        head = {"trial": outcome.trial.id, **outcome.trial.values, "status": outcome.status, "reason": outcome.reason}
        if not outcome.results:
            rows.append(head)
        rows += [{**head, "cell": result.cell.title, **_flat(result.summary)} for result in outcome.results]
    return rows


def _flat(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of one summary under dotted names."""
    measured = summary.get("link_measured") or {}
    counted = ("sent", "answered", "captured", "inverted")
    row: dict[str, Any] = {f"frames.{key}": summary["frames"][key] for key in counted}
    row["link.within_band"] = measured.get("within_band", "")
    row |= {f"bytes.{key}": value for key, value in summary.get("bytes", {}).items()}
    for stage in ("head", "defend", "wire", "tail", "total"):
        found = summary.get("latency_ms", {}).get(stage, {})
        row |= {f"latency_ms.{stage}.{key}": found[key] for key in ("p50", "p95") if key in found}
    for attack, metrics in summary.get("scores", {}).items():
        for metric, found in metrics.items():
            row |= {f"{attack}.{metric}.{key}": found[key] for key in ("mean", "low", "high", "n")}
    row |= {f"utility.{name}.mean": found["mean"] for name, found in summary.get("utility", {}).items()}
    return row


def sheet(rows: Sequence[Mapping[str, Any]], headline: str) -> Sheet:
    """The sweep's table for people: axes, status, each attack's ``headline`` metric, utility, payload and latency."""
    told = (f".{headline}.mean", "latency_ms.total.p50", "bytes.payload_mean", "link.within_band")
    plain = [c for c in _columns(rows) if "." not in c or c.startswith(("link.", "options."))]
    axes = [c for c in plain if c not in ("trial", "reason", "cell", "link.within_band")]
    figures = [c for c in _columns(rows) if c.endswith(told) or (c.startswith("utility.") and c.endswith(".mean"))]
    shown = list(dict.fromkeys([*axes, "cell", *figures]))
    made = Sheet("Every trial", shown)
    for row in rows:
        why = str(row.get("reason") or "not measured in this trial")
        made.add([Entry("–", why=why) if row.get(c) in (None, "") else Entry(_text(row[c])) for c in shown])
    made.notes.append("Means over frames; intervals, n, other metrics and stages are in sweep.csv and sweep.json.")
    return made


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, _columns(rows), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
