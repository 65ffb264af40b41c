"""The course of an attack: how good its picture was after so many iterations, and after so much computing.

An optimising attack hands over snapshots of its best picture so far. They are compared with the truth here, in the lab,
which alone knows it; between two snapshots a value is interpolated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lab.metrics.base import ORACLE
from lab.metrics.pictures import psnr
from lab.metrics.statistics import Summary, paired, summarize
from lab.recorded import Truths, reconstructions
from lab.runfolder import RunFolder
from wire.errors import RunError
from wire.seeds import generator

PLATEAU_DB = 0.2
"""An attack that gains less than this in the last fifth of its iterations is said to be at its plateau."""

LAST = 0.8
"""Where that fifth begins, as a share of the iterations."""

_POINTS = 60


@dataclass(frozen=True)
class Course:
    """One attack on one picture: iteration int64 (K,), cpu_s float64 (K,) CPU-seconds a picture, psnr float64 (K,) dB.

    K at least 1, iterations rising.
    """

    iteration: NDArray[np.int64]
    cpu_s: NDArray[np.float64]
    psnr: NDArray[np.float64]

    def after(self, iterations: float) -> float:
        """PSNR after so many iterations; the last one's where there were fewer."""
        return float(np.interp(iterations, self.iteration, self.psnr))

    def within(self, cpu_s: float) -> float:
        """PSNR after so many CPU-seconds; the last one's where fewer were spent."""
        return float(np.interp(cpu_s, self.cpu_s, self.psnr))

    @property
    def gain(self) -> float:
        """dB that the last fifth of the iterations brought."""
        return float(self.psnr[-1]) - self.after(LAST * float(self.iteration[-1]))


@dataclass(frozen=True)
class Courses:
    """All of a run. by_attack: row -> frame -> course. groups: frame -> the independent picture or clip it is of."""

    by_attack: Mapping[str, Mapping[int, Course]]
    groups: Mapping[int, str]
    seed: int

    def iterations(self, attacks: Sequence[str]) -> int:
        """The most that every picture of these attacks had."""
        return min(int(c.iteration[-1]) for a in attacks for c in self.by_attack[a].values())

    def cpu_s(self, attacks: Sequence[str]) -> float:
        """The most that every picture of these attacks had."""
        return min(float(c.cpu_s[-1]) for a in attacks for c in self.by_attack[a].values())

    def summary(self, attack: str, values: Mapping[int, float]) -> Summary:
        """One value a frame, with its interval over independent pictures."""
        groups = [self.groups[frame] for frame in values]
        return summarize(list(values.values()), groups, generator(self.seed, f"bootstrap.course.{attack}"))

    def difference(self, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Summary:
        """Ours less theirs on the same pictures."""
        return paired(ours, theirs, self.groups, generator(self.seed, "bootstrap.difference.course"))

    def ends(self, attack: str) -> dict[int, float]:
        """Frame -> PSNR of the last snapshot."""
        return {frame: float(course.psnr[-1]) for frame, course in self.by_attack[attack].items()}

    def gains(self, attack: str) -> dict[int, float]:
        """Frame -> dB that the last fifth of the iterations brought."""
        return {frame: course.gain for frame, course in self.by_attack[attack].items()}

    def after(self, attack: str, iterations: float) -> dict[int, float]:
        """Frame -> PSNR after so many iterations."""
        return {frame: course.after(iterations) for frame, course in self.by_attack[attack].items()}

    def within(self, attack: str, cpu_s: float) -> dict[int, float]:
        """Frame -> PSNR after so many CPU-seconds a picture."""
        return {frame: course.within(cpu_s) for frame, course in self.by_attack[attack].items()}

    def over_iterations(self, attack: str) -> tuple[list[float], list[float]]:
        """Iterations, and the mean PSNR over pictures after them."""
        places = _spread(1.0, float(self.iterations([attack])))
        return places, [float(np.mean(list(self.after(attack, place).values()))) for place in places]

    def over_time(self, attack: str) -> tuple[list[float], list[float]]:
        """CPU-seconds a picture, and the mean PSNR over pictures after them."""
        first = max(float(course.cpu_s[min(1, len(course.cpu_s) - 1)]) for course in self.by_attack[attack].values())
        last = self.cpu_s([attack])
        places = _spread(min(max(first, 1e-6), last), last)
        return places, [float(np.mean(list(self.within(attack, place).values()))) for place in places]


def courses(run: RunFolder, groups: Mapping[int, str], seed: int) -> Courses:
    """Read the snapshots of a run; attacks without any, and frames without a truth, are left out.

    RunError for snapshots that do not fit their own iterations, or the truth.
    """
    by_frame, found = Truths(run.edge), dict[str, dict[int, Course]]()
    for rebuilt in reconstructions(run.reconstructions):
        snapshots = rebuilt.arrays.get("snapshots")
        truth = by_frame.get(rebuilt.frame) if snapshots is not None and rebuilt.attack != ORACLE else None
        if snapshots is None or not len(snapshots) or truth is None or rebuilt.frame not in groups:
            continue
        image = truth.arrays["image"]
        iteration, cpu_s = rebuilt.arrays.get("snapshot_iteration"), rebuilt.arrays.get("snapshot_cpu_s")
        if iteration is None or cpu_s is None or not len(snapshots) == len(iteration) == len(cpu_s):
            raise RunError(f"{run.name}: {rebuilt.attack} has snapshots without an iteration and a time for each")
        if snapshots.shape[1:] != image.shape:
            raise RunError(
                f"{run.name}: {rebuilt.attack} has snapshots {snapshots.shape[1:]} of a {image.shape} picture"
            )
        values = np.array([psnr(image, snapshot) for snapshot in snapshots])
        course = Course(iteration.astype(np.int64), cpu_s.astype(np.float64), values)
        found.setdefault(rebuilt.attack, {})[rebuilt.frame] = _distinct(course)
    return Courses(found, groups, seed)


def _distinct(course: Course) -> Course:
    """One point an iteration, the last one: a second descent begins where the first ended."""
    keep = np.append(np.flatnonzero(np.diff(course.iteration)), len(course.iteration) - 1)
    return replace(course, iteration=course.iteration[keep], cpu_s=course.cpu_s[keep], psnr=course.psnr[keep])


def _spread(first: float, last: float) -> list[float]:
    """Places evenly apart on a logarithmic axis."""
    if last <= first:
        return [last]
    places: list[float] = np.geomspace(first, last, _POINTS).tolist()
    return places
