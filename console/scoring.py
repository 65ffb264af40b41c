"""Live scores: the lab's own metrics, on each attack's newest reconstruction and on the victim's last answers."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from lab.metrics.base import Answer, Arrays, Declarations, Metric, Scorer
from victims.base import Sample
from wire.seeds import generator

TRUTHS = 32
ANSWERS = 24
"""Frames that utility is computed over, all of one segment: one frame alone has no average precision."""

UTILITY_EVERY_S = 3.0

SHARE = 0.25
"""Of a core, at most, for figures; what waits meanwhile is replaced by what is newer."""

NICE = 10
"""Of the scoring thread beside the others of this process: pictures go first."""

OnScore = Callable[[int, str, Mapping[str, float | None], tuple[str, ...]], None]
"""frame, attack, metric -> value, notes."""
OnUtility = Callable[[int, Mapping[str, float | None], int], None]
"""frame, metric -> value, frames it was computed over."""


class LiveScores(threading.Thread):
    """Scores in a thread of its own. What waits is replaced by what is newer: pictures never wait for figures."""

    def __init__(self, scorer: Scorer, seed: int, on_score: OnScore, on_utility: OnUtility) -> None:
        super().__init__(name="score", daemon=True)
        self._scorer, self._seed = scorer, seed
        self._on_score, self._on_utility = on_score, on_utility
        self._truths: OrderedDict[int, Sample] = OrderedDict()
        self._waiting: OrderedDict[str, tuple[int, Arrays]] = OrderedDict()  # by attack
        self._answers: deque[Answer] = deque(maxlen=ANSWERS)
        self._segment: int | None = None
        self._last = -1  # newest frame with an answer
        self._fresh = False
        self._due = 0.0
        self._changed = threading.Condition()
        self._stopped = False
        self.skipped = 0

    def truth(self, frame: int, sample: Sample) -> None:
        """What the edge saw."""
        with self._changed:
            self._truths[frame] = sample
            while len(self._truths) > TRUTHS:
                self._truths.popitem(last=False)
            self._changed.notify_all()

    def answered(self, frame: int, segment: int, outcome: Arrays) -> None:
        """What the edge was answered for a frame (empty: nothing, or it is no longer kept)."""
        with self._changed:
            if segment != self._segment:
                self._answers.clear()
                self._segment = segment
            sample = self._truths.get(frame)
            if outcome and sample is not None:
                self._answers.append(Answer(sample, outcome, group=self._scorer.group(sample)))
                self._last, self._fresh = frame, True
            self._changed.notify_all()

    def rebuilt(self, frame: int, attack: str, arrays: Arrays) -> None:
        """A reconstruction to score when its truth is known."""
        with self._changed:
            self.skipped += attack in self._waiting
            self._waiting[attack] = (frame, arrays)
            self._changed.notify_all()

    def forget(self) -> None:
        """Another session: nothing of before belongs to it."""
        with self._changed:
            self._truths.clear()
            self._waiting.clear()
            self._answers.clear()
            self._segment, self._last, self._fresh = None, -1, False

    def stop(self) -> None:
        """End after what is being scored."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with self._changed:
                work = self._next()
                while work is None and not self._stopped:
                    self._changed.wait(1.0)
                    work = self._next()
                if self._stopped:
                    return
            if work is not None:
                begun = time.thread_time()
                work()
                self._rest((time.thread_time() - begun) * (1 / SHARE - 1))

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, timeout=seconds)

    def _next(self) -> Callable[[], None] | None:
        if self._fresh and time.monotonic() >= self._due:  # first: there is always something else that waits
            self._fresh = False
            answers, last = list(self._answers), self._last
            return lambda: self._utility(last, answers)
        for attack, (frame, arrays) in self._waiting.items():
            truth = self._truths.get(frame)
            if truth is not None:
                del self._waiting[attack]
                return lambda: self._score(frame, attack, truth, arrays)
        return None

    def _score(self, frame: int, attack: str, truth: Sample, arrays: Arrays) -> None:
        scored = self._scorer.score(truth, arrays, generator(self._seed, f"score.{attack}", frame=frame))
        self._on_score(frame, attack, scored.values, scored.notes)

    def _utility(self, frame: int, answers: list[Answer]) -> None:
        found = self._scorer.utility(answers, self._seed)
        self._on_utility(frame, {name: summary.mean for name, summary in found.items()}, len(answers))
        self._due = time.monotonic() + UTILITY_EVERY_S


def declared(scorer: Scorer) -> dict[str, Any]:
    """What the page needs to know of the metrics, as JSON: name -> title, better, definition, bounds."""
    return {name: _metric(metric) for name, metric in Declarations.of(scorer).by_name.items()}


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "title": metric.title,
        "better": metric.better,
        "definition": metric.definition,
        "source": metric.source,
        "bounds": metric.bounds,
    }
