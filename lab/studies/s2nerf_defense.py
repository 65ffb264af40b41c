"""S2NeRF's defense, noise in units of the largest gradient row, judged by who does not know it and by who does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from defenses.registry import build
from lab.cell import run_cell
from lab.metrics.radiance import GAIN, PSNR_AFFINE, SSIM_AFFINE, VICTIM_PSNR
from lab.over_seeds import Spread, entry, spread
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.stream import AttackChoice
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.options import flag, listed
from lab.studies.radiance import FLOORS, PROFILES, SOLVED, SPLIT, STRONGER, Amount, cell, choices, plan
from lab.studies.s2nerf_sheets import by_render, by_seed, curves, gains, knowledge, mean_of, ordered
from lab.studies.s2nerf_surrogate import SOURCE
from lab.studies.s2nerf_views import under_defenses, views
from lab.tables import Entry, Sheet
from victims.base import Progress
from wire.errors import InputError

NOISE: Final = "gradient-norm-noise"

AVERAGING: Final[Mapping[str, Any]] = {"average": True, "average_rays": 65_536, "share": 1.0}
"""All rays of a step, and room for every pixel of the pictures of ``quick``: only what comes again can be averaged."""

KNOWING: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "surrogate-weighted": ("surrogate", {"weighting": "sigma", **SOLVED}),
    "surrogate-late": ("surrogate", {"from_step": 0.75, "decay": "exp", **SOLVED}),
    "surrogate-averaging": ("surrogate", {**AVERAGING, **SOLVED}),
    "surrogate-both": ("surrogate", {"weighting": "sigma", **AVERAGING, **SOLVED}),
    "surrogate-dropping": ("surrogate", {"drop_dead": True, **SOLVED}),
}
"""The surrogate attack as one would run it who knows the defense: row -> attack and settings."""

NAIVE: Final = ("surrogate", "surrogate-solved")
ROWS: Final = {"surrogate-solved": STRONGER["surrogate-solved"], **KNOWING}

WITHOUT: Final = {
    "surrogate-weighted": "surrogate-solved",
    "surrogate-both": "surrogate-averaging",
    "surrogate-dropping": "surrogate-solved",
}
"""Row -> the row that does the same where there is no noise to know of."""

WORDS: Final = {
    "surrogate-weighted": "c, r and T of the noise: weighs a step by 1 / sigma^2",
    "surrogate-late": "that the noise decays: learns from the last quarter of the steps only",
    "surrogate-averaging": "that there is noise: averages the gradients of a ray that comes again",
    "surrogate-both": "c, r and T of the noise: averages with the weights 1 / sigma^2",
    "surrogate-dropping": "that noise is put where embeddings are 0: leaves those entries out",
}

GRIDS: Final[Mapping[str, tuple[Sequence[float], Sequence[float]]]] = {
    "quick": ((1.2,), (1e-4, 1.0)),
    "cpu": ((0.12, 1.2, 9.6), (1e-4, 1.0)),
    "paper": ((0.12, 1.2, 9.6), (1e-4, 1e-2, 1.0)),
}
"""c and r; c = 1.2, r = 1e-4 are the paper's, c = 9.6, r = 1 its published command's."""

VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "partial": {"mode": "partial"}, "mix": {"mode": "mix"}, "chunk": {"scope": "chunk"},
}  # fmt: skip
"""Of the noise, beside the grid, at its defaults of c and r: the published code's modes, and our scope."""

TAKEN: Final[Mapping[str, Sequence[str]]] = {
    "quick": ("partial",), "cpu": tuple(VARIANTS), "paper": tuple(VARIANTS),
}  # fmt: skip

STDS: Final[Mapping[str, Sequence[float]]] = {"quick": (8.0,), "cpu": (0.5, 8.0), "paper": (0.5, 8.0)}
"""Of the noise on labels; 8 is the published command's."""

SHORTER: Final[Mapping[str, Amount]] = {
    **PROFILES,
    "quick": Amount({"steps": 400, "rays": 256, "samples": 24}, 32, 3, 3, 0.25),
}
"""``quick``: there are many cells."""


class Defense:
    """A training without a defense, one for each c and r, and comparisons; the same attackers and seeds in all."""

    name = "s2nerf-defense"
    summary = "S2NeRF: noise in units of the largest gradient row, against attackers that do and do not know it"
    source = SOURCE

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.radiance.OPTIONS`, ``c``, ``r`` (``1.2,9.6``), ``scope``, ``mode``
        (of the noise in the grid), ``variants`` (of the noise beside it: ``partial,mix,chunk`` or ``none``), ``std``
        (of noise on labels) and ``clip`` (true, false)."""
        options = settings.options
        asked = plan(
            settings, (*NAIVE, *KNOWING, *FLOORS), ("c", "r", "scope", "mode", "variants", "std", "clip"), SHORTER
        )
        more = {key: str(options[key]) for key in ("scope", "mode") if key in options}
        cs, rs = GRIDS[settings.profile]
        grid = [
            (NOISE, {"c": c, "r": r, **more}) for c in _numbers(options, "c", cs) for r in _numbers(options, "r", rs)
        ]
        others = _variants(options, TAKEN[settings.profile])
        others += [("label-noise", {"std": std}) for std in _numbers(options, "std", STDS[settings.profile])]
        if flag(options, "clip", True):
            others.append(("gradient-clip", {"norm": "median"}))
        for name, given in (*grid, *others):
            build(name, given)  # what is out of range is answered before anything starts
        cells: list[Cell] = []
        for split in settings.splits or (SPLIT,):
            for place in asked.places:
                rows = choices(asked, place, ROWS)
                title = f"{place.name}, {split}, no defense"
                bare = cell(asked, place, _fitting(rows, "none", {}), split, title=title, defense="none")
                cells.append(replace(bare, reference=bare.id))
                for name, given in (*grid, *others):
                    words = " ".join([name, *(f"{key} {value}" for key, value in given.items())])
                    cells.append(
                        replace(
                            cell(
                                asked, place, _fitting(rows, name, given), split, name, given,
                                told=True, title=f"{place.name}, {split}, {words}", defended=words,
                            ),
                            reference=bare.id,
                        )
                    )  # fmt: skip
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train, listen, score, sum up."""
        return run_cell(self.name, cell, RunFolder(work), progress)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Views, gains, what each defense takes and costs, the paper's reference, and who knows what."""
        found = [under_defenses(results, SHOWN), gains(results), _taken(results), _cost(results), by_render(results)]
        found += [*curves(results), views(results), knowledge(results, lambda row: WORDS.get(row, ""))]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """None: the tables of the paper could not be obtained."""
        return {}


SHOWN: Final = ("surrogate-solved", "surrogate-both", "surrogate-dropping")
"""Attackers in the picture: who does not know of the defense, and who knows most."""


def _fitting(rows: Sequence[AttackChoice], defense: str, given: Mapping[str, Any]) -> list[AttackChoice]:
    """The rows that mean something under a defense: nobody weighs by a noise that is not there, or of another form."""
    mode = given.get("mode", "random") if defense == NOISE else ""
    out = set()
    if mode != "random":
        out |= {"surrogate-weighted", "surrogate-both"}
    if mode not in ("partial", "mix"):
        out |= {"surrogate-dropping"}
    if defense not in ("none", NOISE) or mode == "partial" or given.get("r", 0) == 1:
        out |= {"surrogate-late"}  # nothing decays
    return [choice for choice in rows if choice.row not in out]


def _taken(results: Sequence[CellResult]) -> Sheet:
    """What each defense takes from each attacker, paired by seed with the training without one."""
    metrics = (PSNR_AFFINE, SSIM_AFFINE)
    sheet = Sheet("What the defense takes from an attacker", ["cells", "attack", *[m.title for m in metrics]])
    bare = {result.cell.id: result for result in results}
    for title, group in by_seed(results).items():
        pairs = [
            (r, bare[r.cell.reference]) for r in group if r.cell.reference in bare and r is not bare[r.cell.reference]
        ]
        for row in ordered(group[0]) if pairs else ():
            found = [_difference(pairs, row, metric.name) for metric in metrics]
            if any(found):
                fields = [entry(s, m) for s, m in zip(found, metrics, strict=True)]
                sheet.add([Entry(title, kind="name"), Entry(row), *fields])
    sheet.notes.append(
        "Score under the defense less that without one, same seed and views; then over seeds, with its interval. Below "
        "0: the defense took it. Who knows the noise is compared with the row that does the same without any. Floors "
        "move too: the cloud's field is another one under a defense."
    )
    return sheet


def _difference(pairs: Sequence[tuple[CellResult, CellResult]], row: str, metric: str) -> Spread | None:
    values = []
    for ours, theirs in pairs:
        asked = ((ours, row), (theirs, WITHOUT.get(row, row)))
        means = [mean_of(read_scores(RunFolder(r.folder)).of(name, metric).values()) for r, name in asked]
        if means[0] is not None and means[1] is not None:
            values.append(means[0] - means[1])
    return spread(values)


def _cost(results: Sequence[CellResult]) -> Sheet:
    """What each defense costs the victim, paired by seed."""
    sheet = Sheet(
        "What the defense costs the victim",
        ["cells", f"{VICTIM_PSNR.title} ↑", f"{GAIN.title} ↑", "less than without one (dB)", "sigma, mean over steps"],
    )
    bare = {result.cell.id: result for result in results}
    for title, group in by_seed(results).items():
        worth = [
            spread([v for r in group if (v := _worth(r, metric.name)) is not None]) for metric in (VICTIM_PSNR, GAIN)
        ]
        lost = []
        for result in group:
            reference = bare.get(result.cell.reference)
            ours, theirs = _worth(result, VICTIM_PSNR.name), _worth(reference, VICTIM_PSNR.name) if reference else None
            if ours is not None and theirs is not None and reference is not result:
                lost.append(ours - theirs)
        sigma = [s for r in group if (s := r.summary["defense"].get("measured", {}).get("sigma")) is not None]
        fields = [*[entry(s, m) for s, m in zip(worth, (VICTIM_PSNR, GAIN), strict=True)]]
        fields.append(entry(spread(lost), VICTIM_PSNR) if lost else Entry("–", why="this is the training without one"))
        fields.append(Entry(f"{sum(sigma) / len(sigma):.3g}") if sigma else Entry("–", why="adds no such noise"))
        sheet.add([Entry(title, kind="name"), *fields])
    sheet.notes.append("Against photographs of held-out views; over seeds, with its interval.")
    return sheet


def _worth(result: CellResult | None, metric: str) -> float | None:
    found = result.summary["utility"].get(metric) if result else None
    return None if found is None else float(found["mean"])


def _variants(options: Mapping[str, Any], default: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
    named = listed(options["variants"], "variants") if "variants" in options else default
    if list(named) == ["none"]:
        return []
    if wrong := [name for name in named if name not in VARIANTS]:
        raise InputError(f"--set variants={wrong[0]}; accepted: {', '.join(VARIANTS)}, or none")
    return [(NOISE, dict(VARIANTS[name])) for name in named]


def _numbers(options: Mapping[str, Any], key: str, default: Sequence[float]) -> list[float]:
    """``1.2,9.6`` among the options."""
    if key not in options:
        return list(default)
    try:
        return [float(text) for text in listed(options[key], key)]
    except ValueError:
        raise InputError(f"--set {key}={options[key]}; accepted: numbers, a,b,c") from None


STUDY = Defense()
