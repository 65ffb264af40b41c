"""Noise on the features against inversion: what is left of the picture, and of the network's use.

``direct`` and ``decoder`` do not know of the noise, nor does ``inversion-direct``, which learns from clean answers;
``inversion-direct-aware`` learns from answers under the very noise. What the noise guarantees stands beside them
(:mod:`lab.privacy`), and what it leaves to any unbiased estimate (:mod:`lab.fisher`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from defenses.registry import build
from lab.contacts import contact
from lab.fisher import fisher_bound, head_of
from lab.measuring import scorer_of
from lab.metrics.base import ORACLE
from lab.metrics.pictures import PSNR, SSIM
from lab.recorded import truths
from lab.runfolder import RunFolder
from lab.scores import read_scores
from lab.stream import AttackChoice
from lab.studies.base import Cell, CellResult, Settings, plain
from lab.studies.black_box import KINDS, Learner, learning, run_black_box
from lab.studies.image import FLOORS, Plan, cell, plan, stage_ends
from lab.studies.options import listed, whole
from lab.tables import Entry, Sheet, estimate
from lab.telling import table
from victims.base import Progress
from victims.image.preprocessing import pictures_of
from wire.errors import InputError

STRENGTHS: Final[Mapping[str, Sequence[float]]] = {
    "quick": (0.25, 1.0),
    "cpu": (0.1, 0.25, 0.5, 1.0, 2.0),
    "paper": (0.1, 0.25, 0.5, 1.0, 2.0),
}
"""Deviation of the noise in units of the clean features' root mean square."""

NOISES: Final = ("gaussian", "laplace")
ATTACKS: Final = (*FLOORS, "direct", "decoder")

NAIVE: Final = KINDS[0]
AWARE: Final = f"{NAIVE}-aware"
QUERIES: Final = {"quick": 1024, "cpu": 4096, "paper": 4096}
EPOCHS: Final = {"quick": 16, "cpu": 40, "paper": 96}
"""Of both networks that learn from queries."""

BOUNDED: Final = {"quick": 2, "cpu": 8, "paper": 16}
"""So many pictures get a Fisher bound: each takes some ten CPU-seconds."""

FISHER: Final = "fisher.json"


class Noise:
    """A cell for each kind and strength of noise, after one without; the same pictures in all."""

    name = "visual-secrets-noise"
    summary = "inversion of pictures under Gaussian and Laplace noise, naive and aware: leak, use and guarantee"
    source = ""
    takes_victim = True

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """``options``: those of :data:`lab.studies.image.OPTIONS`, ``strengths`` (``0.25,1``), ``kinds``, ``queries``,
        ``epochs`` and ``bounded`` (how many pictures get a Fisher bound)."""
        asked = plan(settings, ("strengths", "kinds", "queries", "epochs", "bounded"), KINDS)
        wanted = asked.wanted if "attacks" in settings.options else [a for a in asked.wanted if a in ATTACKS]
        asked = replace(asked, wanted=wanted)
        strengths = STRENGTHS[settings.profile]
        if "strengths" in settings.options:
            strengths = [_strength(text) for text in listed(settings.options["strengths"], "strengths")]
        kinds = listed(settings.options.get("kinds", NOISES[0]), "kinds")
        if unknown := [kind for kind in kinds if kind not in NOISES]:
            raise InputError(f"--set kinds={unknown[0]}; accepted: {', '.join(NOISES)}")
        cells: list[Cell] = []
        for split in settings.splits or stage_ends(asked.victim)[1:2]:
            bounded = _number(settings, "bounded", BOUNDED, least=0)
            bare = cell(asked, split, f"{asked.victim.name}, {split}, no noise", defense="none", bounded=bounded)
            learnt = _learning(asked, settings)
            first = _with(bare, learnt[:1])
            cells.append(replace(first, reference=first.id))
            for kind in kinds:
                cells += [
                    replace(_with(_noised(bare, kind, {"strength": strength}), learnt), reference=first.id)
                    for strength in strengths
                ]
        return cells

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Train on queries, stream, invert when all has been heard, score, sum up; then the bound."""
        result = run_black_box(self.name, cell, work, progress)
        _bound(result)
        return result

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """Pictures, what is left of leak and use, what any attack could do, what was learned."""
        found = [contact(results), _by_noise(results), _bounds(results), learning(results)]
        return [sheet for sheet in found if sheet is not None]

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """The paper names noise as a defense and does not measure it."""
        return {}


def _noised(bare: Cell, kind: str, given: Mapping[str, Any]) -> Cell:
    build(kind, given)  # a strength out of range is answered before anything starts
    stream = replace(bare.stream, defense=kind, defense_settings=dict(given))
    told = f"{kind} {given['strength']:g}"
    title = f"{stream.victim}, {stream.split}, {told}"
    card = replace(stream.knowledge, defense="aware", defense_name=kind, defense_settings=dict(given))
    stream = replace(stream, knowledge=card)
    return replace(bare, title=title, stream=stream, columns={**bare.columns, "defense": told})


def _learning(asked: Plan, settings: Settings) -> list[Learner]:
    """The network that learns from clean answers, and the one that learns from noised ones; none without pictures."""
    if asked.auxiliary is None:
        return []
    queries, epochs = _number(settings, "queries", QUERIES), _number(settings, "epochs", EPOCHS)
    own = {k.partition(".")[2]: v for k, v in settings.options.items() if k.startswith(f"{NAIVE}.")}
    naive = Learner(
        NAIVE,
        NAIVE,
        str(asked.auxiliary),
        {},
        f"pictures of {asked.auxiliary.name}",
        queries,
        {"epochs": epochs, **own},
        defended=False,
    )
    return [naive, replace(naive, row=AWARE, defended=True)]


def _with(streamed: Cell, learnt: Sequence[Learner]) -> Cell:
    """The same cell with these rows after its own."""
    rows = [AttackChoice(one.attack, one.row, dict(one.settings), {}) for one in learnt]
    held = streamed.stream.knowledge
    asked = max((one.queries for one in learnt), default=0)
    card = replace(held, queries=asked, data="; ".join(dict.fromkeys([held.data, *(one.of for one in learnt)])))
    stream = replace(streamed.stream, attacks=[*streamed.stream.attacks, *rows], knowledge=card)
    return replace(streamed, stream=stream, columns={**streamed.columns, "learners": plain(list(learnt))})


def _bound(result: CellResult) -> None:
    """Keep the Fisher bound of the cell's first pictures beside its summary, where Gaussian noise was added."""
    folder, stream = RunFolder(result.folder), result.cell.stream
    path, count = folder.path / FISHER, int(result.cell.columns["bounded"])
    measured = result.summary["defense"]["measured"]
    if path.exists() or stream.defense != "gaussian" or not count or not measured.get("sigma"):
        return
    head = head_of(stream.victim, stream.split, stream.victim_settings)
    found = []
    for frame, sample in islice(truths(folder.edge), count):
        picture = pictures_of(sample.arrays["image"][None])[0]
        bound = fisher_bound(head, picture, float(measured["sigma"]), clip=float(measured["clip"]))
        found.append({"frame": frame, "psnr": bound.psnr, "dfil": bound.dfil})
    folder.write(FISHER, json.dumps(found, indent=1))


def _bounds(results: Sequence[CellResult]) -> Sheet | None:
    """The bound beside what the attacks made of the same pictures."""
    rows: list[list[object]] = []
    for result in results:
        folder = RunFolder(result.folder)
        if not (folder.path / FISHER).exists():
            continue
        found = json.loads((folder.path / FISHER).read_text())
        scores = read_scores(folder)
        best = [
            max(
                (v for a in scores.attacks if a != ORACLE and (v := scores.of(a, PSNR.name).get(one["frame"]))),
                default=0.0,
            )
            for one in found
        ]
        rows.append(
            [
                result.cell.columns["defense"],
                len(found),
                float(np.mean([one["dfil"] for one in found])),
                float(np.mean([one["psnr"] for one in found])),
                float(np.mean(best)) if best else 0.0,
            ]
        )
    if not rows:
        return None
    return table(
        "What the noise leaves to any unbiased estimate",
        ("noise", "pictures", "Fisher information a value (dFIL)", "PSNR at most (dB)", "best attack's PSNR (dB)"),
        rows,
        (
            "Cramer-Rao with the diagonal of the Fisher information (Maeng et al. 2023), independent of any attack. It "
            "binds estimates without a bias: an attack with a prior over pictures is biased and may pass it.",
        ),
    )


def _number(settings: Settings, key: str, by_profile: Mapping[str, int], least: int = 1) -> int:
    return whole(settings.options, key, least) if key in settings.options else by_profile[settings.profile]


def _by_noise(results: Sequence[CellResult]) -> Sheet:
    measure = scorer_of(results[0].cell)
    sheet = Sheet(
        "Under noise",
        ["split", "noise", "attack", f"{PSNR.title} ↑", f"{SSIM.title} ↑", *[u.title for u in measure.utilities]],
        notes=[
            "Strength: deviation in units of the clean features' root mean square. Only the row that ends in -aware "
            "was trained under the noise.",
        ],
    )
    for result in results:
        useful = [
            estimate(found, metric)
            if (found := result.summary["utility"].get(metric.name))
            else Entry("–", why="no labels, or no undefended run to compare with")
            for metric in measure.utilities
        ]
        for choice in result.cell.stream.attacks:
            scores = result.summary["scores"].get(choice.row, {})
            figures = [estimate(scores.get(metric.name), metric) for metric in (PSNR, SSIM)]
            where = [Entry(result.cell.stream.split, kind="name"), Entry(str(result.cell.columns["defense"]))]
            sheet.add([*where, Entry(choice.row), *figures, *useful])
    return sheet


def _strength(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"--set strengths={text}; accepted: numbers, a,b,c") from None


STUDY = Noise()
