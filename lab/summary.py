"""``summary.json``: what a run found, for machines, and the sums that must hold before it may be written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from lab.metrics.base import ORACLE, Answer, Scorer
from lab.metrics.statistics import paired
from lab.parts import STAGES, Parts, by_segment, percentiles, summarize_part, summarize_scores, utility
from lab.recorded import Truths, outcomes, reconstructions, stages, truths
from lab.runfolder import RunFolder
from lab.scores import Scores
from wire.errors import RunError
from wire.seeds import generator

LISTENER_STAGES = ("decode", "wait", "invert")


@dataclass(frozen=True)
class Sender:
    """What the edge counted: frames that got a number, and how each ended."""

    sent: int
    answered: int
    failed: int
    lost: int = 0


@dataclass(frozen=True)
class Listener:
    """What the listener counted, and what came of the captured frames, attack by attack.

    captured, missed: frames the listener has whole, and those it has not. duplicated: frames it saw more than once
    (resent after a reconnect, or after a training rolled back), kept once. dropped: attack -> captured frames the queue
    gave up for newer ones. lost: attack -> captured frames the attack failed on. inverted: attack -> captured frames it
    rebuilt; None: as recorded. learnt: attack -> numbers of the captured frames that it has learnt from.
    """

    captured: int
    missed: int
    duplicated: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)
    inverted: Mapping[str, int] | None = None
    learnt: Mapping[str, Collection[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Frames:
    """The frame counts of a run.

    sent: got a frame number at the edge. answered, failed: what came back for it. lost: nothing came back (live mode
    does not resend). captured, missed, duplicated: see :class:`Listener`. inverted: captured frames that *every* attack
    rebuilt; learnt: those that every attack rebuilt or learnt from, without the inverted ones; dropped: captured frames
    that some attack did neither with.
    """

    sent: int
    answered: int
    failed: int
    captured: int
    missed: int
    inverted: int
    lost: int
    duplicated: int
    dropped: int
    learnt: int = 0

    def told(self) -> dict[str, int]:
        """As the summary holds them; ``learnt`` only where an attack learns."""
        return {name: count for name, count in asdict(self).items() if name != "learnt" or count}


def count_frames(
    run: RunFolder, listener: Listener, attacks: Sequence[str], *, live: bool = False, sender: Sender | None = None
) -> Frames:
    """Check every sum and return the counts.

    attacks: those that were asked to run. sender: the edge's own figures; by default its record is counted, which is
    only right while nothing of it was deleted (``--record-gb``). RunError names the sum that does not hold.
    """
    sender = sender or recorded_sender(run)
    rebuilt: dict[str, set[int]] = {attack: set() for attack in attacks}
    for found in reconstructions(run.reconstructions):
        if found.attack not in rebuilt:
            raise RunError(f"{run.name}: a reconstruction by {found.attack!r}, which was not asked for")
        rebuilt[found.attack].update(found.frames)
    ends = {"answered": sender.answered, "failed": sender.failed}
    if live:
        ends["lost"] = sender.lost
    _must_hold(run, f"sent = {' + '.join(ends)}", sender.sent, ends)
    heard = {"captured": listener.captured, "missed": listener.missed}
    _must_hold(run, "sent = captured + missed", sender.sent, heard)
    inverted = {attack: len(frames) for attack, frames in rebuilt.items()} | dict(listener.inverted or {})
    learnt = {attack: set(frames) - rebuilt.get(attack, set()) for attack, frames in listener.learnt.items()}
    for attack, count in inverted.items():
        parts = {"inverted": count, "dropped": listener.dropped.get(attack, 0), "lost": listener.lost.get(attack, 0)}
        if attack in learnt:
            parts["learnt"] = len(learnt[attack])
        _must_hold(run, f"captured = {' + '.join(parts)} ({attack})", listener.captured, parts)
    if listener.inverted is None and rebuilt:
        by_all = len(set.intersection(*rebuilt.values()))
        used = len(set.intersection(*(frames | learnt.get(attack, set()) for attack, frames in rebuilt.items())))
    else:
        by_all = used = min(inverted.values(), default=0)
    return Frames(
        sent=sender.sent,
        answered=sender.answered,
        failed=sender.failed,
        captured=listener.captured,
        missed=listener.missed,
        inverted=by_all,
        lost=sender.lost,
        duplicated=listener.duplicated,
        dropped=listener.captured - used if inverted else 0,
        learnt=used - by_all,
    )


def recorded_sender(run: RunFolder) -> Sender:
    """The edge's figures as its record shows them: a frame with a truth and no end is lost."""
    rows = stages(run.edge)
    sent = {frame for frame, _ in truths(run.edge)} | set(rows)
    failed = sum(1 for row in rows.values() if row.get("error"))
    return Sender(len(sent), len(rows) - failed, failed, len(sent) - len(rows))


def summarize_run(
    run: RunFolder,
    scorer: Scorer,
    scores: Scores,
    frames: Frames,
    described: Mapping[str, Any],
    *,
    seed: int,
    references: Mapping[int, Mapping[str, np.ndarray]] | None = None,
    link_measured: Mapping[str, Any] | None = None,
    parts: Parts | None = None,
) -> dict[str, Any]:
    """One summary object.

    described: ``study``, ``victim``, ``split``, ``defense``, ``link`` and ``knowledge`` (names or tables). references:
    frame -> outcome of the undefended victim, for the agreement. parts: kind -> name -> frames that are also summed up
    by themselves. Beside the documented keys it holds ``differences`` (paired, ``"A - B"``), ``groups`` (independent
    scenes), ``notes`` (what a reader of the scores must know), ``segments`` (by number, where the defense was swapped)
    and a key for each kind of part: objects of :func:`summarize_part`.
    """
    absent = [key for key in ("study", "victim", "split", "defense", "link", "knowledge") if key not in described]
    if absent:
        raise RunError(f"{run.name}: the summary needs {', '.join(absent)}")
    answers = _answers(run, scorer, references)
    rows = stages(run.edge)

    def part(chosen: Collection[int]) -> dict[str, Any]:
        return summarize_part(chosen, scorer, scores, answers, rows, seed)

    swapped = by_segment(run)
    return {
        **described,
        "frames": frames.told(),
        "scores": summarize_scores(scores, seed),
        "utility": utility(scorer, list(answers.values()), seed),
        "latency_ms": latency(run),
        "bytes": byte_counts(run),
        "link_measured": dict(link_measured or {}),
        "environment": run.config.get("environment", {}) | {"versions": run.config.get("versions", {})},
        "differences": differences(scores, seed),
        "groups": len(set(scores.groups.values())),
        "notes": scores.notes,
        **({"segments": {n: {**told, **part(chosen)} for n, (told, chosen) in swapped.items()}} if swapped else {}),
        **{kind: {name: part(chosen) for name, chosen in named.items()} for kind, named in (parts or {}).items()},
    }


def summarize_study(study: str, cells: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of a study with several cells: one object per cell under ``cells``."""
    return {"study": study, "cells": dict(cells)}


def differences(scores: Scores, seed: int) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """``"A - B"`` -> metric -> summary of the paired differences, for every two attacks (the oracle apart)."""
    attacks = [a for a in scores.attacks if a != ORACLE]
    return {
        f"{a} - {b}": {m: compare(scores, a, scores, b, m, seed) for m in scores.metrics}
        for a, b in combinations(attacks, 2)
    }


def compare(
    ours: Scores, attack: str, theirs: Scores, other: str, metric: str, seed: int
) -> dict[str, float | int | None]:
    """Paired difference between two attacks, or between two cells that sent the same frames (a defense and none)."""
    groups = theirs.groups | ours.groups
    stream = generator(seed, f"bootstrap.difference.{metric}")
    return paired(ours.of(attack, metric), theirs.of(other, metric), groups, stream).asdict()


def latency(run: RunFolder) -> dict[str, dict[str, float]]:
    """Stage -> p50 and p95 in milliseconds over frames; a stage that was never measured is absent.

    The listener's stages are ``listener.decode``, ``listener.wait`` and ``listener.invert``, per attack with its name
    behind.
    """
    rows = stages(run.edge).values()
    result = {stage: percentiles(row.get(stage) for row in rows if not row.get("error")) for stage in STAGES}
    heard: dict[str, dict[str, list[Any]]] = {stage: {} for stage in LISTENER_STAGES}
    for rebuilt in reconstructions(run.reconstructions):
        for stage in LISTENER_STAGES:
            heard[stage].setdefault(rebuilt.attack, []).append(rebuilt.meta.get(f"{stage}_ms"))
    for stage, by_attack in heard.items():
        result[f"listener.{stage}"] = percentiles(value for values in by_attack.values() for value in values)
        result |= {f"listener.{stage}.{attack}": percentiles(values) for attack, values in by_attack.items()}
    return {stage: found for stage, found in result.items() if found}


def byte_counts(run: RunFolder) -> dict[str, float]:
    """payload_mean: tensor bytes a frame. wire_up, wire_down: bytes a frame on the wire, framing included (means)."""
    rows = [row for row in stages(run.edge).values() if not row.get("error")]
    result = {}
    for key, column in (("payload_mean", "payload_bytes"), ("wire_up", "wire_up"), ("wire_down", "wire_down")):
        values = [float(row[column]) for row in rows if row.get(column) is not None]
        if values:
            result[key] = float(np.mean(values))
    return result


def _answers(
    run: RunFolder, scorer: Scorer, references: Mapping[int, Mapping[str, np.ndarray]] | None
) -> dict[int, Answer]:
    by_frame, answers = Truths(run.edge), {}
    for frame, found in outcomes(run.edge):
        truth = by_frame.get(frame)
        if truth is not None:
            # The scan itself is not needed for utility, and hundreds of them do not fit into memory.
            light = type(truth)(truth.name, {}, truth.truth, truth.meta)
            answers[frame] = Answer(light, found, (references or {}).get(frame), scorer.group(truth))
    return answers


def _must_hold(run: RunFolder, sum_name: str, whole: int, parts: Mapping[str, int]) -> None:
    if whole != sum(parts.values()) or min(parts.values()) < 0:
        listed = ", ".join(f"{k} {v}" for k, v in parts.items())
        raise RunError(f"{run.name}: {sum_name} does not hold: {whole} against {sum(parts.values())} ({listed})")
