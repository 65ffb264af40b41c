"""Truth joined with reconstructions: ``scores.csv``, a row per frame, attack and metric.

Rows are appended to ``scores.csv.part`` as they are made, and the file gets its name when all are there; a killed
scoring goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.metrics.base import ORACLE, Arrays, Enrolling, Gathering, Scorer
from lab.recorded import Segment, Truths, reconstructions, segments, truths
from lab.runfolder import RunFolder, write_whole
from victims.base import Progress, Sample, silent
from wire.errors import RunError
from wire.seeds import generator

COLUMNS = ("frame", "segment", "defense", "sample", "group", "attack", "metric", "value", "note")


@dataclass(frozen=True)
class Row:
    """One line of ``scores.csv``; ``value`` None is an empty field (the metric has no value there).

    segment, defense: what the frame left the edge under (``feature_centric strength=0.5``); a live swap begins another.
    """

    frame: int
    segment: int
    defense: str
    sample: str
    group: str
    attack: str
    metric: str
    value: float | None
    note: str = ""

    def cells(self) -> list[str]:
        """The line's fields, floats so that they read back exactly."""
        value = "" if self.value is None else repr(self.value)
        names = [self.defense, self.sample, self.group, self.attack, self.metric]
        return [str(self.frame), str(self.segment), *names, value, self.note]


@dataclass(frozen=True)
class Scores:
    """All rows of a run, by attack and metric."""

    rows: tuple[Row, ...]

    @cached_property
    def _table(self) -> dict[str, dict[str, dict[int, float | None]]]:
        table: dict[str, dict[str, dict[int, float | None]]] = {}
        for row in sorted(self.rows, key=lambda r: r.frame):
            table.setdefault(row.attack, {}).setdefault(row.metric, {})[row.frame] = row.value
        return table

    @property
    def attacks(self) -> list[str]:
        """Names, in the order of their first row."""
        return list(self._table)

    @property
    def metrics(self) -> list[str]:
        """Names, in the order of their first row."""
        return list(dict.fromkeys(metric for by_metric in self._table.values() for metric in by_metric))

    def of(self, attack: str, metric: str) -> dict[int, float | None]:
        """Frame -> value, in order of frames."""
        return self._table.get(attack, {}).get(metric, {})

    @cached_property
    def groups(self) -> dict[int, str]:
        """Frame -> the independent scene it belongs to."""
        return {row.frame: row.group for row in self.rows}

    def within(self, frames: Collection[int]) -> Scores:
        """The rows of these frames only."""
        return Scores(tuple(row for row in self.rows if row.frame in frames))

    @property
    def notes(self) -> dict[str, dict[str, int]]:
        """Attack -> note -> frames it was made on."""
        counted: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for row in self.rows:
            if row.note:
                counted[row.attack][row.note].add(row.frame)
        return {attack: {note: len(frames) for note, frames in notes.items()} for attack, notes in counted.items()}


def score_run(run: RunFolder, scorer: Scorer, seed: int, progress: Progress = silent) -> Scores:
    """Score every recorded reconstruction of ``run`` and write ``scores.csv``; returns all rows.

    Frames already scored are left alone. Oracle rows are made from the truth itself, for every recorded frame, where
    the scorer knows one. Raises RunError when there are reconstructions and no truth to hold against any of them.
    """
    part = run.path / "scores.csv.part"
    done: dict[tuple[int, str], list[Row]] = {}
    wanted = {m.name for m in scorer.metrics}
    for row in [*read_rows(run.scores), *read_rows(part)]:
        done.setdefault((row.frame, row.attack), []).append(row)
    done = {key: rows for key, rows in done.items() if {r.metric for r in rows} >= wanted}
    # Begin with what is whole: a kill may have cut the last line, or the last frame's rows.
    write_whole(part, _text(row for rows in done.values() for row in rows))
    found, orphans = 0, 0
    total = float(sum(1 for _ in truths(run.edge)))
    under = segments(run.edge)
    if isinstance(scorer, Enrolling):
        scorer.enroll(truth for _, truth in truths(run.edge))
    with part.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)

        def add(frame: int, attack: str, truth: Sample, arrays: Arrays) -> None:
            rows = _rows(scorer, seed, frame, under.get(frame, Segment()), attack, truth, arrays)
            done[frame, attack] = rows
            writer.writerows(row.cells() for row in rows)
            file.flush()

        if isinstance(scorer, Gathering):
            scorer.gather(best for _, truth in truths(run.edge) if (best := scorer.oracle(truth)) is not None)
        for count, (frame, truth) in enumerate(truths(run.edge), 1):
            if (frame, ORACLE) not in done and (best := scorer.oracle(truth)) is not None:
                add(frame, ORACLE, truth, best)
            progress(count, total, ORACLE)
        for attack in dict.fromkeys(r.attack for r in reconstructions(run.reconstructions)):
            by_frame = Truths(run.edge)
            if isinstance(scorer, Gathering):
                scorer.gather(r.arrays for r in reconstructions(run.reconstructions, attack))
            for count, rebuilt in enumerate(reconstructions(run.reconstructions, attack), 1):
                found += 1
                progress(min(count, total), total, attack)
                if (rebuilt.frame, attack) in done:
                    continue
                sample = by_frame.get(rebuilt.frame)
                if sample is None:
                    orphans += 1
                else:
                    add(rebuilt.frame, attack, sample, rebuilt.arrays)
    if orphans and orphans == found:
        raise RunError(f"{run.name}: {found} reconstructions, but no truth was recorded for any of their frames")
    everything = sorted((r for rows in done.values() for r in rows), key=lambda r: (r.frame, r.attack))
    write_whole(run.scores, _text(everything))
    part.unlink(missing_ok=True)
    return Scores(tuple(everything))


def read_scores(run: RunFolder) -> Scores:
    """The rows of ``scores.csv``; empty when there is none."""
    return Scores(tuple(read_rows(run.scores)))


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a scores file, complete or not; a line that was cut is left out. Absent file: none."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for cells in csv.reader(file):
            if len(cells) != len(COLUMNS) or cells[0] == COLUMNS[0]:
                continue
            try:
                value = float(cells[-2]) if cells[-2] else None
                segment, defense, sample, group, attack, metric = int(cells[1]), *cells[2:-2]
                yield Row(int(cells[0]), segment, defense, sample, group, attack, metric, value, cells[-1])
            except ValueError:
                continue


def _rows(
    scorer: Scorer, seed: int, frame: int, under: Segment, attack: str, truth: Sample, arrays: Arrays
) -> list[Row]:
    scored = scorer.score(truth, arrays, generator(seed, f"score.{attack}", frame=frame))
    note, group = "; ".join(scored.notes), scorer.group(truth)
    return [
        Row(frame, under.number, under.text, truth.name, group, attack, metric, value, note)
        for metric, value in scored.values.items()
    ]


def _text(rows: Iterable[Row]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    writer.writerows(row.cells() for row in rows)
    return buffer.getvalue()
