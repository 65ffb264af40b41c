"""What a defended classifier is still worth: right answers, and agreement with its undefended self."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from lab.metrics.base import Answer, Arrays, Metric
from lab.metrics.statistics import Summary, summarize
from wire.seeds import generator

METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "agreement",
        "",
        "higher",
        "Share of pictures that get the same first class with and without the defense.",
        "Ours: needs no labels, and is 1 without a defense",
        "agreement with the undefended classifier",
        (0, 1),
    ),
    Metric(
        "accuracy",
        "",
        "higher",
        "Share of pictures whose first class is their label; pictures without a label have no value.",
        "usual",
        "top-1 accuracy",
        (0, 1),
    ),
)


def utility(answers: Sequence[Answer], seed: int) -> Mapping[str, Summary]:
    """Summaries by metric name, of answers with ``logits`` (1, K); one without anything to compare with is absent."""
    logits = [(answer, first) for answer in answers if (first := _class(answer.found)) is not None]
    result: dict[str, Summary] = {}
    compared = [
        (answer, float(first == other))
        for answer, first in logits
        if answer.reference is not None and (other := _class(answer.reference)) is not None
    ]
    labelled = [(a, float(first == int(a.truth.truth["label"]))) for a, first in logits if "label" in a.truth.truth]
    for name, found in (("agreement", compared), ("accuracy", labelled)):
        if found:
            groups = [answer.group for answer, _ in found]
            result[name] = summarize([value for _, value in found], groups, generator(seed, f"bootstrap.{name}"))
    return result


def _class(arrays: Arrays) -> int | None:
    """The first class; None where the answer is no row of logits."""
    logits = arrays.get("logits")
    if logits is None or logits.ndim != 2 or len(logits) != 1:
        return None
    return int(np.argmax(logits[0]))
