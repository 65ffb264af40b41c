"""Some of a run's frames summed up by themselves: a segment under one defense, or a set of streets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lab.metrics.base import Answer, Scorer
from lab.metrics.statistics import summarize
from lab.recorded import Segment, defended_by_segment, segments
from lab.runfolder import RunFolder
from lab.scores import Scores
from wire.seeds import generator

STAGES = ("capture", "head", "defend", "encode", "queue", "wire", "decode", "tail", "reply", "total")
"""A frame's way from the sensor to the answer, in order; ``total`` is measured by itself, not summed."""

Parts = Mapping[str, Mapping[str, Collection[int]]]
"""Kind of part -> name -> its frames: sets of frames that a summary also sums up by themselves."""


def summarize_part(
    frames: Collection[int],
    scorer: Scorer,
    scores: Scores,
    answers: Mapping[int, Answer],
    rows: Mapping[int, Mapping[str, Any]],
    seed: int,
) -> dict[str, Any]:
    """Some of a run's frames by themselves: ``frames`` (how many), ``groups``, ``scores``, ``utility``, ``latency_ms``
    and ``costs``.

    answers, rows (of stage times): by frame. costs: ``total_ms``, ``payload_bytes`` and ``wire_up`` of a frame, each
    with mean, median and an interval over independent scenes.
    """
    chosen = scores.within(frames)
    groups = {frame: answer.group for frame, answer in answers.items()} | chosen.groups
    whole = {f: row for f, row in rows.items() if f in frames and f in groups and not row.get("error")}
    times = {stage: percentiles(row.get(stage) for row in whole.values()) for stage in STAGES}
    costs = {}
    for key, column in (("total_ms", "total"), ("payload_bytes", "payload_bytes"), ("wire_up", "wire_up")):
        values = [row.get(column) for row in whole.values()]
        drawn = generator(seed, f"bootstrap.{column}")
        costs[key] = summarize(values, [groups[f] for f in whole], drawn).asdict()
    return {
        "frames": len([f for f in rows if f in frames]),
        "groups": len({groups[f] for f in frames if f in groups}),
        "scores": summarize_scores(chosen, seed),
        "utility": utility(scorer, [answer for frame, answer in answers.items() if frame in frames], seed),
        "latency_ms": {stage: found for stage, found in times.items() if found},
        "costs": costs,
    }


def by_segment(run: RunFolder) -> dict[str, tuple[dict[str, Any], list[int]]]:
    """Number -> what the segment's defense was, and its frames; empty where the defense was never swapped."""
    found: dict[int, tuple[Segment, list[int]]] = {}
    for frame, segment in sorted(segments(run.edge).items()):
        found.setdefault(segment.number, (segment, []))[1].append(frame)
    if len(found) < 2:
        return {}
    told, measured = {}, defended_by_segment(run.edge)
    for number, (segment, frames) in sorted(found.items()):
        defense = {"name": segment.defense, **segment.settings, "measured": measured.get(number, {})}
        told[str(number)] = ({"defense": defense, "first_frame": frames[0], "last_frame": frames[-1]}, frames)
    return told


def summarize_scores(scores: Scores, seed: int) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Attack -> metric -> {mean, median, low, high, n}."""
    groups = scores.groups
    result: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for attack in scores.attacks:
        for metric in scores.metrics:
            values = scores.of(attack, metric)
            summary = summarize(
                list(values.values()), [groups[f] for f in values], generator(seed, f"bootstrap.{metric}")
            )
            result.setdefault(attack, {})[metric] = summary.asdict()
    return result


def utility(scorer: Scorer, answers: Sequence[Answer], seed: int) -> dict[str, dict[str, float | int | None]]:
    """Utility metric -> summary, of these answers."""
    return {name: summary.asdict() for name, summary in scorer.utility(answers, seed).items()}


def percentiles(values: Iterable[Any]) -> dict[str, float]:
    """p50 and p95 of what was measured; empty where nothing was."""
    measured = [float(v) for v in values if v is not None]
    if not measured:
        return {}
    p50, p95 = np.percentile(measured, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}
