"""What the noise of a run guarantees: differential privacy of a frame, and of the whole session.

A frame is one release: how well a listener could tell which of any two pictures it is of (replacement of one by
another, which is why a norm clipped to C has sensitivity 2C). A session of k frames replaces all k: the frames of one
camera show the same scene, so nothing is gained from there being many, and no amplification by subsampling is claimed.
dp-accounting composes: Gaussian releases add up to a Gaussian one exactly, anything else by its privacy loss
distribution (Koskela et al. 2020), whose rounding is upwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defenses.base import Calibration, Mechanism
from defenses.gaussian import DEFAULT_DELTA
from defenses.registry import build
from lab.recorded import Segment, calibration, segments
from lab.runfolder import RunFolder
from lab.tables import Entry, Sheet
from wire import record
from wire.errors import InputError, MissingExtraError

_INTERVAL = 1e-4
"""Privacy losses are rounded up to multiples of this (dp-accounting's own default), or to 1e-4 of the largest."""

_MOST_LAPLACE = 100.0
"""A Laplace frame that costs more: composing saves less than a hundredth of the sum, and exp(-epsilon) underflows."""

CLEAR = "part of what leaves is not noised"
UNDEFENDED = "some frames left under a defense that guarantees nothing"


@dataclass(frozen=True)
class Releases:
    """So many frames under one mechanism."""

    mechanism: Mechanism
    frames: int


def frame_epsilon(mechanism: Mechanism, delta: float) -> float:
    """epsilon of one release at ``delta``: exact. Laplace: at delta 0, whatever ``delta`` is."""
    ratio = _ratio(mechanism)
    if mechanism.kind == "laplace":
        return 1 / ratio
    return float(_accounting().get_epsilon_gaussian(ratio, delta))


def session_epsilon(releases: Sequence[Releases], delta: float) -> float:
    """epsilon at ``delta`` of everything that was released. Raises InputError for a delta outside (0, 1)."""
    if not 0.0 < delta < 1.0:
        raise InputError(f"delta is {delta!r}; accepted: a number between 0 and 1")
    sent = [r for r in releases if r.frames]
    # k Gaussian releases are one whose (sensitivity / sigma)^2 is the sum of theirs (Dong, Roth & Su 2022).
    inverse = math.sqrt(sum(r.frames / _ratio(r.mechanism) ** 2 for r in sent if r.mechanism.kind == "gaussian"))
    gaussian = float(_accounting().get_epsilon_gaussian(1 / inverse, delta)) if inverse else 0.0
    others = [r for r in sent if r.mechanism.kind != "gaussian"]
    summed = gaussian + pure_epsilon(others)
    largest = max((frame_epsilon(r.mechanism, delta) for r in others), default=0.0)
    if not others or largest > _MOST_LAPLACE:
        return summed
    return min(summed, _distributed(others, inverse, delta, max(_INTERVAL, largest * _INTERVAL)))


def pure_epsilon(releases: Sequence[Releases]) -> float:
    """epsilon at delta 0: the sum over frames; infinite where a Gaussian is among them."""
    kinds = {r.mechanism.kind for r in releases if r.frames}
    if kinds - {"laplace"}:
        return math.inf
    return sum(r.frames / _ratio(r.mechanism) for r in releases if r.frames)


def _distributed(others: Sequence[Releases], inverse: float, delta: float, interval: float) -> float:
    accounting = _accounting()
    # Our sensitivity is already that of a replacement: the pair (0, sensitivity), which this relation compares.
    accountant = accounting.pld.PLDAccountant(
        accounting.NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=interval
    )
    for release in others:
        accountant.compose(accounting.LaplaceDpEvent(_ratio(release.mechanism)), release.frames)
    if inverse:
        accountant.compose(accounting.GaussianDpEvent(1 / inverse))
    return float(accountant.get_epsilon(delta))


def _ratio(mechanism: Mechanism) -> float:
    """Noise over sensitivity. InputError for a kind that no accountant here covers."""
    if mechanism.kind not in ("gaussian", "laplace"):
        raise InputError(f"mechanism {mechanism.kind!r} cannot be composed; accepted: gaussian, laplace")
    return mechanism.sigma / mechanism.sensitivity


def _accounting() -> Any:
    try:
        import dp_accounting
        import dp_accounting.pld
    except ImportError as error:
        raise MissingExtraError(
            f"accounting needs dp-accounting ({error}); install it with: pip install -e .[image]"
        ) from error
    return dp_accounting


def run_privacy(run: RunFolder, defense: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ``privacy`` of a summary; None where no frame left under a mechanism.

    defense, settings: those of a record that names no segments. Keys: ``epsilon_frame`` (the dearest frame) at
    ``delta_frame`` (0: Laplace), ``epsilon_session`` at ``delta``, ``epsilon_session_pure`` (delta 0; None where there
    is none), ``frames``, and, where the defense was swapped, ``segments``: the same by number. An epsilon is None where
    nothing is guaranteed, and ``why`` says so. Every frame number up to the last counts, whether or not its record is
    still there.
    """
    measured = calibration(run.edge)
    units = Calibration(measured["rms"], measured.get("clip")) if "rms" in measured else None
    parts: list[tuple[int, Mechanism | None, int, float]] = []
    for segment, frames in _counted(run):
        name, given = (segment.defense, segment.settings) if segment.defense else (defense, settings)
        mechanism = build(name, given, units).mechanism()
        parts.append((segment.number, mechanism, frames, float(given.get("delta", DEFAULT_DELTA))))
    if not any(mechanism for _, mechanism, _, _ in parts):
        return None
    clear = _in_the_clear(run)
    told: dict[str, dict[str, Any]] = {}
    released: list[Releases] = []
    for number, mechanism, frames, delta in parts:
        why = UNDEFENDED if mechanism is None else CLEAR if number in clear else ""
        own = [Releases(mechanism, frames)] if mechanism is not None and not why else []
        told[str(number)] = _told(own, frames, delta, why)
        released += own
    whys = [part["why"] for part in told.values() if "why" in part]
    delta = max(delta for _, mechanism, _, delta in parts if mechanism is not None)
    found = _told([] if whys else released, sum(frames for _, _, frames, _ in parts), delta, *whys[:1])
    return {**found, "segments": told} if len(told) > 1 else found


def _told(releases: Sequence[Releases], frames: int, delta: float, why: str = "") -> dict[str, Any]:
    if why or not releases:
        return {
            "epsilon_frame": None,
            "delta_frame": None,
            "epsilon_session": None,
            "epsilon_session_pure": None,
            "delta": delta,
            "frames": frames,
            "why": why,
        }
    pure = pure_epsilon(releases)
    return {
        "epsilon_frame": max(frame_epsilon(r.mechanism, delta) for r in releases),
        "delta_frame": 0.0 if math.isfinite(pure) else delta,
        "epsilon_session": session_epsilon(releases, delta),
        "epsilon_session_pure": pure if math.isfinite(pure) else None,
        "delta": delta,
        "frames": frames,
    }


def _counted(run: RunFolder) -> list[tuple[Segment, int]]:
    """Each segment and its frames: numbers without a record belong to the segment of the next that has one."""
    counts: dict[int, tuple[Segment, int]] = {}
    passed = 0
    for frame, segment in sorted(segments(run.edge).items()):
        counts[segment.number] = (segment, counts.get(segment.number, (segment, 0))[1] + frame + 1 - passed)
        passed = frame + 1
    return [counts[number] for number in sorted(counts)]


def _in_the_clear(run: RunFolder) -> set[int]:
    """The segments with a frame of which something left that was not noised."""
    rows: Iterator[Mapping[str, Any]] = (item.json() for item in record.read(run.edge) if item.topic == "defended")
    return {row["segment"] for row in rows if row.get("covered") is False}


def privacy_line(summary: Mapping[str, Any]) -> str:
    """One line for the terminal; empty where no frame left under a mechanism."""
    found = summary.get("privacy")
    if not found:
        return ""
    if found["epsilon_session"] is None:
        return f"privacy: nothing is guaranteed: {found['why']}"
    pure = found["epsilon_session_pure"]
    at_zero = f" ({pure:.4g} at delta 0)" if pure is not None else ""
    return (
        f"privacy: epsilon {found['epsilon_frame']:.4g} a frame (delta {found['delta_frame']:g}), "
        f"{found['epsilon_session']:.4g} over {found['frames']} frames (delta {found['delta']:g}){at_zero}"
    )


def privacy_sheet(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> Sheet | None:
    """The costs of every cell, by segment where there are several; None where nothing has one.

    cells: title and summary.
    """
    sheet = Sheet(
        "What the noise guarantees",
        ["cell", "frames", "epsilon, a frame", "epsilon, the session", "the session at delta 0", "frames clipped"],
    )
    for title, summary in cells:
        found = summary.get("privacy")
        if not found:
            continue
        sheet.add(_row(title, found, summary.get("defense", {})))
        for number, part in found.get("segments", {}).items():
            defense = summary.get("segments", {}).get(number, {}).get("defense", {})
            sheet.add(_row(f"{title}, segment {number}", part, defense))
    if not sheet.rows:
        return None
    sheet.notes += [
        "Differential privacy against replacement of one picture by any other; the session replaces all of its "
        "pictures. Composed by dp-accounting, without amplification.",
        "It holds for a listener who does not know the noise's seed; a seed is used here so that a run can be "
        "repeated. An epsilon above about 10 promises little, whatever the attacks of this report achieve.",
    ]
    return sheet


def _row(title: str, found: Mapping[str, Any], defense: Any) -> list[Entry]:
    measured = defense.get("measured", {}) if isinstance(defense, Mapping) else {}
    clipped = measured.get("clipped")
    why = found.get("why", "")
    return [
        Entry(title, kind="name"),
        Entry(str(found["frames"])),
        _epsilon(found["epsilon_frame"], found["delta_frame"], why),
        _epsilon(found["epsilon_session"], found["delta"], why),
        _epsilon(found["epsilon_session_pure"], 0.0, why or "Gaussian noise has no bound at delta 0"),
        Entry(f"{clipped:.0%}") if clipped is not None else Entry("–", why="no frame was clipped and noised"),
    ]


def _epsilon(value: float | None, delta: float | None, why: str) -> Entry:
    return Entry("–", why=why) if value is None else Entry(f"{value:.4g}", (f"delta {delta:g}",))
