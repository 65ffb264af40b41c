"""What a metric is and who computes it: one declaration, read by everything that prints a figure.

A modality brings one :class:`Scorer`; :data:`SCORERS` names where it lives, and nothing else in the lab knows which
modalities there are.  The scorer is built from the settings of the run (its preset, say) and is then a pure function
of truth and reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Literal, Protocol, cast, runtime_checkable

import numpy as np

from lab.metrics.statistics import Summary
from victims.base import Sample
from wire.errors import InputError
from wire.payload import Meta

Arrays = Mapping[str, np.ndarray]

ORACLE = "oracle"
"""Name of the attack rows that :meth:`Scorer.oracle` makes from the truth."""


@dataclass(frozen=True)
class Metric:
    """One figure.

    name: short, stable, the key in ``scores.csv`` and ``summary.json``. label: how a person reads it.
    unit: ``"m"``, ``"dB"``; empty for a ratio. better: which way it grows when a reconstruction comes closer to the
    truth, or a victim's output closer to what its user wants. definition: one sentence that settles every convention.
    source: the paper, or the reason, it comes from. bounds: the values it can take, for an axis; None if unlimited.
    """

    name: str
    unit: str
    better: Literal["higher", "lower", "neither"]
    definition: str
    source: str
    label: str = ""
    bounds: tuple[float, float] | None = None

    @property
    def title(self) -> str:
        """Label and unit, for a column or an axis."""
        label = self.label or self.name
        return f"{label} ({self.unit})" if self.unit else label


@dataclass(frozen=True)
class Scored:
    """What one reconstruction scored.

    values: metric name -> value; None where the metric has none (the distance to an empty cloud), which is counted.
    notes: what a reader of the row must know (scored from a sample).
    """

    values: Mapping[str, float | None]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the victim's user got for one frame, for the utility metrics.

    found: arrays of the outcome. reference: the outcome of the same victim without defense; None where it was not run.
    """

    truth: Sample
    found: Arrays
    reference: Arrays | None = None
    group: str = ""


class Scorer(Protocol):
    """A modality's metrics."""

    headline: str  # the metric shown first
    key: Sequence[str]  # the few metrics of the first table, headline first
    floors: Sequence[str]  # names of attacks that learn nothing
    oracle_is: str  # what the oracle's rows are: "best possible"
    metrics: Sequence[Metric]
    utilities: Sequence[Metric]

    def score(self, truth: Sample, reconstruction: Arrays, rng: np.random.Generator) -> Scored:
        """Compare. ``rng`` is the frame's own stream, for scoring from a sample. Never raises for an empty side."""
        ...

    def oracle(self, truth: Sample) -> Arrays | None:
        """The best reconstruction that the payload's own resolution allows; None where there is no such thing."""
        ...

    def group(self, truth: Sample) -> str:
        """The independent scene, street or picture this sample belongs to: what the bootstrap draws."""
        ...

    def utility(self, answers: Sequence[Answer], seed: int) -> Mapping[str, Summary]:
        """What the victim was still worth to its user, by utility metric; those that cannot be computed are absent."""
        ...


@runtime_checkable
class Enrolling(Protocol):
    """A scorer that wants to see every truth of a run before the first score (to find one among them)."""

    def enroll(self, truths: Iterable[Sample]) -> None: ...


@runtime_checkable
class Gathering(Protocol):
    """A scorer that wants to see all reconstructions of an attack before it scores the first (to weigh one in all)."""

    def gather(self, reconstructions: Iterable[Arrays]) -> None: ...


Factory = Callable[[Mapping[str, Meta]], Scorer]

SCORERS: dict[str, str] = {
    "lidar": "lab.metrics.points:scorer",
    "image": "lab.metrics.pictures:scorer",
    "radiance": "lab.metrics.radiance:scorer",
}
"""Modality -> where its scorer's factory lives (``module:function``); plug-ins add to ``eavesplit.scorers``."""


def scorer(modality: str, settings: Mapping[str, Meta]) -> Scorer:
    """The scorer of a modality, built from the run's settings.

    Raises InputError when there is none, naming the ones there are.
    """
    if modality in SCORERS:
        module, _, function = SCORERS[modality].partition(":")
        return cast(Factory, getattr(import_module(module), function))(settings)
    plugged = {e.name: e for e in entry_points(group="eavesplit.scorers")}
    if modality in plugged:
        return cast(Factory, plugged[modality].load())(settings)
    raise InputError(f"no metrics for modality {modality!r}; there are {', '.join(sorted([*SCORERS, *plugged]))}")


@dataclass(frozen=True)
class Declarations:
    """Metric name -> declaration of one scorer, utilities included; the place to ask how a figure is printed."""

    by_name: Mapping[str, Metric] = field(default_factory=dict)

    @classmethod
    def of(cls, scorer: Scorer) -> Declarations:
        """Collect them; a name declared twice is an error of the scorer."""
        found: dict[str, Metric] = {}
        for metric in [*scorer.metrics, *scorer.utilities]:
            if metric.name in found:
                raise ValueError(f"metric {metric.name!r} is declared twice")
            found[metric.name] = metric
        return cls(found)

    def __getitem__(self, name: str) -> Metric:
        try:
            return self.by_name[name]
        except KeyError:
            raise InputError(f"metric {name!r} is unknown; declared are {', '.join(self.by_name)}") from None
