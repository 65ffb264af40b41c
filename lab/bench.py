"""Paired measurements: interleaved rounds, ratios, and a null comparison that says what a ratio must exceed.

A time by itself means nothing on a machine that does other things too. So contenders run one after the other in every
round, in an order that rotates, and only ratios within a round are told: median, smallest, largest. One contender
stands in the field twice; the ratios between those two are the noise floor, and a ratio whose median lies inside it
shows no difference.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from lab.runfolder import RunFolder
from victims.base import Progress
from wire.errors import InputError

WHAT = ("wire", "attack", "page", "queue", "radiance")
MIN_ROUNDS = 3
NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True)
class Ratio:
    """One contender against another, quantity by quantity, over rounds. n: how many rounds."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """Of paired values, ours over theirs. ValueError when there are none."""
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios), len(ratios))

    @property
    def spread(self) -> float:
        """Largest minus smallest, in units of the median."""
        return (self.high - self.low) / self.median

    def verdict(self, null: Ratio) -> str:
        """What it shows beside the null comparison, in which neither contender is the faster by right."""
        low, high = min(null.low, 1 / null.high), max(null.high, 1 / null.low)
        if low <= self.median <= high:
            return NO_DIFFERENCE
        return "more" if self.median > 1 else "less"


@dataclass(frozen=True)
class Comparison:
    """A line of the result: what was compared with what, in which quantity, and the null comparison beside it."""

    case: str
    ours: str
    theirs: str
    quantity: str
    ratio: Ratio
    null: Ratio

    def asdict(self) -> dict[str, Any]:
        """The line in ``bench.json``."""
        return {**asdict(self), "verdict": self.ratio.verdict(self.null)}


@dataclass(frozen=True)
class Bench:
    """What a bench found. facts: title and line for what is no ratio (faults a page, sites a depth)."""

    name: str
    comparisons: Sequence[Comparison]
    facts: Sequence[tuple[str, str]] = ()
    gates: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def write(self, root: Path, rounds: int) -> Path:
        """``bench.json`` in a new run folder under ``root``; its path."""
        folder = RunFolder.create(root, f"bench-{self.name}", {"rounds": rounds})
        whole = {
            "bench": self.name,
            "comparisons": [line.asdict() for line in self.comparisons],
            "facts": dict(self.facts),
            "gates": list(self.gates),
            "details": self.details,
            "load_average": os.getloadavg(),
        }
        return folder.write("bench.json", json.dumps(whole, indent=1, allow_nan=False) + "\n")


def tell(bench: Bench, out: Console) -> None:
    """Print the comparisons, the facts and the gates."""
    if bench.comparisons:
        out.print(
            "ratios within a round: median (smallest to largest); [same against same]", markup=False, highlight=False
        )
    for line in bench.comparisons:
        what = f"{line.case}, {line.ours} / {line.theirs}, {line.quantity}: {_span(line.ratio)}"
        said = f"{what} [{_span(line.null)}]: {line.ratio.verdict(line.null)}"
        out.print(said, markup=False, highlight=False, soft_wrap=True)
    for title, found in bench.facts:
        out.print(f"{title}: {found}", highlight=False, soft_wrap=True)
    for gate in bench.gates:
        out.print(gate, highlight=False, soft_wrap=True)


def _span(ratio: Ratio) -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


Measure = Callable[[], Mapping[str, float]]
"""Runs a contender once and returns its quantities."""


def rounds_of(
    contenders: Mapping[str, Measure], rounds: int, progress: Progress, note: str = ""
) -> dict[str, list[Mapping[str, float]]]:
    """Run every contender once a round, the order rotated; one round before the first warms up and is dropped.

    Contender -> quantities of each round. InputError for fewer than three rounds.
    """
    check_rounds(rounds)
    names = list(contenders)
    found: dict[str, list[Mapping[str, float]]] = {name: [] for name in names}
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            measured = contenders[name]()
            if number:
                found[name].append(measured)
        progress(number + 1, rounds + 1, f"{note} round {number} of {rounds}")
    return found


def check_rounds(rounds: int) -> None:
    """InputError unless there are enough rounds for a median to be one."""
    if rounds < MIN_ROUNDS:
        raise InputError(f"--rounds {rounds}; accepted: {MIN_ROUNDS} or more")


def ratio(found: Mapping[str, Sequence[Mapping[str, float]]], ours: str, theirs: str, quantity: str) -> Ratio:
    """``ours`` over ``theirs`` in one quantity, paired by round."""
    return Ratio.of([r[quantity] for r in found[ours]], [r[quantity] for r in found[theirs]])


def process_cpu_s(pid: int) -> float:
    """CPU seconds (user and system, all threads, those that ended too) of a running process, to the nanosecond.

    The clock number is Linux's: the process in the upper bits, the scheduler's clock in the lower three.
    """
    return time.clock_gettime(~pid << 3 | 2)


def process_faults(pid: int) -> int:
    """Minor page faults of a running process so far (``/proc/PID/stat``, field 10)."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text[text.rindex(")") + 2 :].split()[7])
