"""Tables of a report: every empty cell has a reason, every column reads its metric's declaration."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lab.metrics.base import ORACLE, Declarations, Metric
from lab.metrics.statistics import MIN_GROUPS

NO_INTERVAL = f"no interval: fewer than {MIN_GROUPS} independent scenes had a value"
NO_VALUE = "no frame had a value: the reconstruction or the truth was empty"
NOT_SCORED = "this attack was not scored here"

FRAME_WORDS: Mapping[str, str] = {
    "sent": "got a frame number at the edge",
    "answered": "came back from the cloud with a result",
    "failed": "came back as an error, or could not be sent",
    "lost": "nothing came back (live mode does not send again)",
    "captured": "heard whole by the listener",
    "missed": "not heard, or not whole",
    "duplicated": "heard twice after a reconnect or a rollback, kept once",
    "inverted": "rebuilt by every attack",
    "learnt": "rebuilt or learnt from by every attack, without those inverted",
    "dropped": "captured, but skipped for newer ones by some attack",
}

STAGE_WORDS: Mapping[str, str] = {
    "capture": "sensor to head",
    "head": "first layers, on the edge",
    "defend": "defense",
    "encode": "tensors to bytes",
    "queue": "waiting to be sent",
    "wire": "on the line",
    "decode": "bytes to tensors",
    "tail": "remaining layers, in the cloud",
    "reply": "answer back to the edge",
    "total": "capture to answer",
    "listener.decode": "listener: bytes to tensors",
    "listener.wait": "listener: waiting for a worker",
    "listener.invert": "listener: inversion",
}


@dataclass(frozen=True)
class Entry:
    """One cell: the figure, what stands small below it, and the reason where it is empty."""

    text: str
    small: tuple[str, ...] = ()
    why: str = ""
    kind: str = ""  # "paper": the paper's value; "name": a row's heading; "words": a text that may wrap
    paper: str = ""  # the paper's value of the same figure


@dataclass
class Sheet:
    """A table ready to print. ``reasons`` are its footnotes, numbered in the order they came up.

    picture: a PNG above the table, or instead of one (no columns); ``reads`` says in words what it shows.
    """

    title: str
    columns: Sequence[str] = ()
    rows: list[list[Entry]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    hints: Sequence[str] = ()  # tool tips of the columns
    reasons: list[str] = field(default_factory=list)
    picture: bytes = b""
    reads: str = ""

    @property
    def picture_address(self) -> str:
        """The picture as a page carries it within itself."""
        return f"data:image/png;base64,{b64encode(self.picture).decode()}"

    def add(self, row: Sequence[Entry]) -> None:
        """Append a row; remembers its reasons."""
        for entry in row:
            if entry.why and entry.why not in self.reasons:
                self.reasons.append(entry.why)
        self.rows.append(list(row))

    def mark(self, why: str) -> str:
        """The footnote's letter."""
        return "abcdefghijklmnopqrstuvwxyz"[self.reasons.index(why) % 26]


@dataclass(frozen=True)
class Roles:
    """floors: names of attacks that learn nothing. oracle_is: what the oracle's rows are."""

    floors: Sequence[str]
    oracle_is: str = "best possible"


def role_of(attack: str, floors: Sequence[str]) -> str:
    """``floor``, ``oracle`` or ``attack``."""
    return ORACLE if attack == ORACLE else "floor" if attack in floors else "attack"


def figure(value: float | None, metric: Metric | None = None) -> str:
    """A number as printed: three decimals for what lies within (0, 1) or in metres, else three digits."""
    if value is None:
        return "–"
    if metric is not None and (metric.bounds == (0, 1) or metric.unit == "m"):
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def estimate(found: Mapping[str, Any] | None, metric: Metric) -> Entry:
    """Mean with its interval, and below it median and n."""
    if found is None:
        return Entry("–", why=NOT_SCORED)
    if found["mean"] is None:
        return Entry("–", why=NO_VALUE)
    text, n = figure(found["mean"], metric), f"n {found['n']}"
    if found["median"] is None:
        return Entry(text, (n,), "one figure over all frames: no median, no interval")
    small = f"median {figure(found['median'], metric)}, {n}"
    if found["low"] is None:
        return Entry(text, (small,), NO_INTERVAL)
    return Entry(text, (f"{figure(found['low'], metric)} to {figure(found['high'], metric)}", small))


def score_sheet(
    title: str,
    cells: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Mapping[str, float]]]],
    metrics: Sequence[Metric],
    roles: Roles,
    paper_source: str,
) -> Sheet:
    """A row for each cell and attack. cells: (title, summary, paper's values by attack and metric)."""
    columns = (["cell"] if len(cells) > 1 else []) + ["attack"]
    hints = [""] * len(columns)
    columns += [m.title + {"higher": " ↑", "lower": " ↓", "neither": ""}[m.better] for m in metrics]
    hints += [f"{m.definition} Source: {m.source}." for m in metrics]
    sheet = Sheet(title, columns, hints=hints)
    words = {"floor": ("floor: learns nothing",), ORACLE: (roles.oracle_is,), "attack": ()}
    quoted = False
    for cell, summary, paper in cells:
        for attack, found in ordered(summary["scores"], roles.floors):
            row = [Entry(cell, kind="name")] if len(cells) > 1 else []
            row.append(Entry(attack, words[role_of(attack, roles.floors)], kind="name"))
            for metric in metrics:
                entry = estimate(found.get(metric.name), metric)
                theirs = paper.get(attack, {}).get(metric.name)
                if theirs is not None:
                    entry, quoted = replace(entry, paper=figure(theirs, metric)), True
                row.append(entry)
            sheet.add(row)
    sheet.notes.append(
        "Mean over frames; below it its 95 % bootstrap interval over independent scenes, the median, and the number of "
        "frames. ↑ ↓: where a better reconstruction goes, which is worse for privacy."
    )
    if quoted:
        sheet.notes.append(f"Values marked as the paper's are quoted, not measured here: {paper_source}")
    for cell, summary, _ in cells:
        for attack, notes in summary.get("notes", {}).items():
            sheet.notes += [f"{cell}, {attack}: {note} ({n} frames)." for note, n in notes.items()]
    return sheet


def difference_sheet(summary: Mapping[str, Any], metrics: Sequence[Metric]) -> Sheet:
    """Paired differences between attacks of one cell."""
    sheet = Sheet("Differences between attacks, frame by frame", ["pair", *[m.title for m in metrics]])
    for pair, found in summary.get("differences", {}).items():
        sheet.add([Entry(pair, kind="name"), *[estimate(found.get(m.name), m) for m in metrics]])
    sheet.notes.append("First minus second on the same frame; an interval that leaves out 0 is a difference.")
    return sheet


def utility_sheet(cells: Sequence[tuple[str, Mapping[str, Any]]], declared: Declarations) -> Sheet:
    """What the victim was still worth to its user."""
    names = list(dict.fromkeys(name for _, summary in cells for name in summary["utility"]))
    metrics = [declared[name] for name in names]
    sheet = Sheet(
        "What the network was still worth to its user",
        ["cell", *[m.title for m in metrics]],
        hints=["", *[f"{m.definition} Source: {m.source}." for m in metrics]],
    )
    missing = "no labelled object of this class, or no undefended run to compare with"
    for cell, summary in cells:
        found = summary["utility"]
        row = [estimate(found[m.name], m) if m.name in found else Entry("–", why=missing) for m in metrics]
        sheet.add([Entry(cell, kind="name"), *row])
    return sheet


def segment_sheet(cells: Sequence[tuple[str, Mapping[str, Any]]], metric: Metric, floors: Sequence[str]) -> Sheet:
    """One metric by segment, where a live swap of the defense opened more than one: each under its own defense."""
    swapped = [(cell, summary) for cell, summary in cells if summary.get("segments")]
    attacks = list(dict.fromkeys(a for _, summary in swapped for a, _ in ordered(summary["scores"], floors)))
    sheet = Sheet(
        f"The defense was swapped while it ran: {metric.title} by segment",
        ["cell", "segment", "defense", "frames", *attacks],
    )
    for cell, summary in swapped:
        for number, found in summary["segments"].items():
            defense = {k: v for k, v in found["defense"].items() if k not in ("name", "measured")}
            words = " ".join([found["defense"]["name"], *(f"{key}={value}" for key, value in defense.items())])
            span = f"{found['first_frame']} to {found['last_frame']}"
            scores = [estimate(found["scores"].get(attack, {}).get(metric.name), metric) for attack in attacks]
            row = [Entry(cell, kind="name"), Entry(number), Entry(words), Entry(str(found["frames"]), (span,))]
            sheet.add([*row, *scores])
    sheet.notes.append(
        "A frame belongs to the segment in which it left the edge; what was in flight kept the old defense."
    )
    return sheet


def latency_sheet(summary: Mapping[str, Any]) -> Sheet:
    """Stage times of one cell."""
    sheet = Sheet("Where the time goes", ["stage", "what", "median (ms)", "95th percentile (ms)"])
    for stage, found in summary["latency_ms"].items():
        general, _, attack = stage.partition(".")[2].partition(".")
        words = STAGE_WORDS.get(stage) or f"{STAGE_WORDS.get(f'listener.{general}', stage)}, {attack}"
        sheet.add(
            [Entry(stage, kind="name"), Entry(words), Entry(f"{found['p50']:,.1f}"), Entry(f"{found['p95']:,.1f}")]
        )
    return sheet


def byte_sheet(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> Sheet:
    """Bytes a frame."""
    keys = {"payload_mean": "tensors (kB)", "wire_up": "on the wire, to the cloud (kB)", "wire_down": "back (kB)"}
    sheet = Sheet("Bytes per frame (mean)", ["cell", *keys.values()])
    for cell, summary in cells:
        found = summary["bytes"]
        row = [Entry(f"{found[k] / 1000:,.1f}") if k in found else Entry("–", why="not measured") for k in keys]
        sheet.add([Entry(cell, kind="name"), *row])
    return sheet


def frame_sheet(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> Sheet:
    """Where every frame went; ``learnt`` only where an attack learns."""
    learns = any("learnt" in summary["frames"] for _, summary in cells)
    words = {key: said for key, said in FRAME_WORDS.items() if learns or key != "learnt"}
    sheet = Sheet("Where every frame went", ["cell", *words], hints=["", *words.values()])
    for cell, summary in cells:
        sheet.add([Entry(cell, kind="name"), *[Entry(str(summary["frames"].get(key, 0))) for key in words]])
    sheet.notes += [f"{key}: {said}." for key, said in words.items()]
    ends = "inverted + learnt + dropped" if learns else "inverted + dropped"
    sheet.notes.append(f"sent = answered + failed + lost; sent = captured + missed; captured = {ends}.")
    return sheet


def ordered(scores: Mapping[str, Any], floors: Sequence[str]) -> list[tuple[str, Any]]:
    """Attacks first, then floors, then the oracle; each as they came."""
    rank = {"attack": 0, "floor": 1, ORACLE: 2}
    return sorted(scores.items(), key=lambda item: rank[role_of(item[0], floors)])
