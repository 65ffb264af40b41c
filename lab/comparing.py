"""Reports told again: of one run, of a sweep, or of several runs side by side on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import link_probe
from lab.measuring import scorer_of
from lab.metrics.base import ORACLE, Metric
from lab.metrics.statistics import paired
from lab.recorded import sample_digests
from lab.report import render
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.studies.base import CellResult, Study
from lab.studies.registry import study as find
from lab.summary import summarize_study
from lab.sweep import PREFIX, retell
from lab.sweep import finished as finished_trials
from lab.tables import Entry, Sheet, estimate
from lab.telling import page, results_of, table, tell
from victims.registry import victim
from wire.errors import InputError
from wire.seeds import generator

COMPARISON = "comparison"


@dataclass(frozen=True)
class Member:
    """One finished cell of one of the runs."""

    run: RunFolder
    study: Study
    result: CellResult
    title: str


def report(paths: Sequence[Path]) -> Path:
    """Write the report of one run, sweep or comparison anew, or of several runs side by side; returns its path.

    A page of several is a run folder of its own beside the first (``..._comparison``), and can be told again itself.
    InputError for a folder that is no finished run, and for runs of different modalities.
    """
    if len(paths) > 1:
        return _compare(paths, None)
    folder = RunFolder.open(paths[0])
    kind = str(folder.config["study"])
    if kind == COMPARISON:
        return _compare([Path(path) for path in folder.config["runs"]], folder)
    return retell(folder) if kind.startswith(PREFIX) else tell(folder)


def _compare(paths: Sequence[Path], into: RunFolder | None) -> Path:
    distinct = list(dict.fromkeys(path.resolve() for path in paths))
    if len(distinct) < len(paths):
        raise InputError("report: a run is given twice; accepted: each folder once")
    members = _titled([member for path in paths for member in _members(path)])
    modalities = {victim(m.result.cell.stream.victim).modality for m in members}
    if len(modalities) > 1:
        raise InputError(f"report: runs of {' and '.join(sorted(modalities))}; accepted together: runs of one modality")
    folder = into or RunFolder.create(paths[0].parent, COMPARISON, {"seed": 0, "runs": [str(path) for path in paths]})
    folder.write_summary(summarize_study(COMPARISON, {m.title: m.result.summary for m in members}))
    return render(
        folder,
        [page(m.result, m.study.paper(m.result.cell), title=m.title) for m in members],
        title=f"{len(paths)} runs side by side",
        command=" ".join(["eavesplit report", *map(str, paths)]),
        extra=[_settings(members), _paired(members)],
        after=[link_probe.sheet([(m.title, m.result.summary) for m in members])],
        paper_source="; ".join(dict.fromkeys(m.study.source for m in members if m.study.source)),
    )


def _members(path: Path) -> list[Member]:
    folder = RunFolder.open(path)
    kind = str(folder.config["study"])
    if kind == COMPARISON:
        raise InputError(f"{path}: a comparison cannot be compared; give the runs: {', '.join(folder.config['runs'])}")
    runs = finished_trials(folder) if kind.startswith(PREFIX) else [folder]
    return [
        Member(run, find(run.config["study"]), result, result.cell.title) for run in runs for result in results_of(run)
    ]


def _titled(members: Sequence[Member]) -> list[Member]:
    """Cells of one name in several runs are told apart by what differs between them, or by the run."""
    titles = [member.title for member in members]
    made = []
    for member in members:
        twins = [_facts(other) for other in members if other.title == member.title]
        facts = _facts(member)
        apart = [f"{key} {facts[key]}" for key in facts if len({twin[key] for twin in twins}) > 1]
        if titles.count(member.title) > 1:
            told = ", ".join(apart) if twins.count(facts) == 1 else member.run.name
            member = Member(member.run, member.study, member.result, f"{member.title} ({told})")
        made.append(member)
    return made


def _facts(member: Member) -> dict[str, str]:
    """What was set, as a reader compares it."""
    stream, summary = member.result.cell.stream, member.result.summary
    defense = {k: v for k, v in summary["defense"].items() if k not in ("calibration", "measured")}
    link = summary["link"]
    return {
        "study": member.study.name,
        "split": stream.split,
        "defense": " ".join([str(defense.pop("name")), *(f"{key}={value}" for key, value in defense.items())]),
        "link": str(link.get("profile") or (link and "own figures") or "unlimited"),
        "TLS": "on" if stream.tls else "off",
        "vantage": stream.knowledge.vantage,
        "frames": str(summary["frames"]["sent"]),
        "seed": str(stream.seed),
        "source": stream.source,
    }


def _settings(members: Sequence[Member]) -> Sheet:
    facts = [_facts(member) for member in members]
    rows = [[m.title, *told.values(), m.run.name] for m, told in zip(members, facts, strict=True)]
    return table("What was compared", ("cell", *facts[0], "run"), rows)


def _paired(members: Sequence[Member]) -> Sheet:
    """Every cell against the first, on the samples that both streamed."""
    first = members[0]
    stream = first.result.cell.stream
    measure = scorer_of(first.result.cell)
    metrics = [metric for metric in measure.metrics if metric.name in measure.key]
    sheet = Sheet(
        f"Against {first.title}, sample by sample", ["cell", "attack", "samples in both", *[m.title for m in metrics]]
    )
    base = _Sampled(first)
    for member in members[1:]:
        ours = _Sampled(member)
        for attack in [a for a in ours.scores.attacks if a in base.scores.attacks and a != ORACLE]:
            common = len(ours.of(attack, metrics[0]).keys() & base.of(attack, metrics[0]).keys())
            row = [Entry(member.title, kind="name"), Entry(attack, kind="name"), Entry(str(common))]
            why = "the two streamed different samples, or did not record them: there is nothing to pair"
            for metric in metrics:
                drawn = generator(stream.seed, f"bootstrap.difference.{metric.name}")
                found = paired(ours.of(attack, metric), base.of(attack, metric), ours.groups, drawn)
                row.append(estimate(found.asdict(), metric) if common else Entry("–", why=why))
            sheet.add(row)
    sheet.notes.append(
        "The cell minus the first cell on the same sample; an interval that leaves out 0 is a difference. Attacks that "
        "only one of the two ran are not listed."
    )
    return sheet


class _Sampled:
    """A cell's scores by what was scored: the sample's digest, not its name or number."""

    def __init__(self, member: Member) -> None:
        folder = RunFolder(member.result.folder)
        self.scores = read_scores(folder)
        self._digests = sample_digests(folder.edge)
        self.groups = {self._digests[f]: group for f, group in self.scores.groups.items() if f in self._digests}

    def of(self, attack: str, metric: Metric) -> dict[str, float | None]:
        """Digest -> value."""
        values = self.scores.of(attack, metric.name)
        return {self._digests[frame]: value for frame, value in values.items() if frame in self._digests}
