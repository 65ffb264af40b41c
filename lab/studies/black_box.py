"""What the studies of inversion by queries share: who learns from which pictures, and how a cell first trains, then
streams."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attacker.attacks.image.inversion_networks.trained import asked_about, load_trained
from attacker.knowledge import KnowledgeCard
from defenses.calibrate import CALIBRATION_FRAMES
from lab.calibrating import calibration_of
from lab.cell import run_cell
from lab.fitting import FitSettings, Fitted, fit
from lab.runfolder import RunFolder
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell, CellResult, plain
from lab.studies.image import Plan, keep_apart
from lab.tables import Sheet
from lab.telling import table
from victims.base import Progress
from victims.readable import readable
from victims.registry import victim
from wire.errors import InputError

KINDS: Final = ("inversion-direct", "inversion-decoder", "inversion-diffusion")
SHIFTED: Final = "inversion-direct-shifted"
"""``inversion-direct`` that asked about pictures of another kind than those that are streamed."""

FIT_SHARE: Final = 0.7
"""Part of a cell's progress bar that its trainings take."""


@dataclass(frozen=True)
class Learner:
    """One row of a table: an attack, what it asks about, and how it learns.

    data: a path or ``procedural``; data_settings: which of it. of: what the pictures are, in words. defended: whether
    the oracle answers under the stream's defense; else it answers as if there were none, and the attack learns nothing
    of it. rows: row -> what is set when it inverts, where one network fills several rows; else it fills ``row``.
    """

    row: str
    attack: str
    data: str
    data_settings: Mapping[str, Any]
    of: str
    queries: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    defended: bool = True
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def filled(self) -> Mapping[str, Mapping[str, Any]]:
        """Row -> what is set when it inverts, for every row of this network."""
        return self.rows or {self.row: {}}


def learners(asked: Plan, queries: int, diffusion_queries: int, settings: Mapping[str, Any]) -> list[Learner]:
    """A row for each of :data:`KINDS` that can be trained here, and one that asks about procedural pictures.

    settings: of the training, for all of them. InputError where there are no auxiliary pictures to ask about.
    """
    if asked.auxiliary is None:
        raise InputError("there are no pictures to ask the oracle about; give --set auxiliary=PATH")
    path, of = str(asked.auxiliary), f"pictures of {asked.auxiliary.name}"
    rows = [
        Learner(
            kind, kind, path, {}, of, diffusion_queries if kind == KINDS[2] else queries, _own(asked, kind, settings)
        )
        for kind in KINDS
        if kind == KINDS[0] or (asked.prior and (kind == KINDS[1] or (asked.prior / "unet").is_dir()))
    ]
    scenes = {"frames_per_scene": 1}
    shifted = Learner(SHIFTED, KINDS[0], "procedural", scenes, "procedural pictures", queries, rows[0].settings)
    return [*rows, shifted]


def _own(asked: Plan, kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``ATTACK.SETTING`` among the study's options goes before what all rivals get."""
    own = {key.partition(".")[2]: value for key, value in asked.options.items() if key.startswith(f"{kind}.")}
    shared = {} if kind == KINDS[2] else dict(settings)  # each of its steps costs a whole sampling: it has its own
    return shared | own


def black_box_cell(asked: Plan, streamed: Cell, chosen: Sequence[Learner]) -> Cell:
    """``streamed`` with these learners in the place of its attacks that know the victim."""
    floors = [a for a in streamed.stream.attacks if a.name in ("mean-picture", "prior-sample")]
    rows = [
        AttackChoice(one.attack, row, {**one.settings, **given}, _files(asked, one.attack))
        for one in chosen
        for row, given in one.filled.items()
    ]
    most = max(one.queries for one in chosen)
    card = KnowledgeCard(victim="black", queries=most, data="; ".join(dict.fromkeys(one.of for one in chosen)))
    stream = replace(streamed.stream, attacks=[*floors, *rows], knowledge=card)
    columns = {**streamed.columns, "learners": plain(list(chosen))}
    return replace(streamed, stream=stream, columns=columns)


def _files(asked: Plan, attack: str) -> dict[str, Path]:
    return {"prior": asked.prior} if attack != KINDS[0] and asked.prior else {}


def run_black_box(study: str, cell: Cell, work: Path, progress: Progress) -> CellResult:
    """Train what the cell's learners need, each in processes of its own, then stream, invert and score.

    InputError where a picture that was asked about is streamed as well.
    """
    keep_apart(cell)
    folder = RunFolder(work)
    if folder.finished:
        return CellResult(cell, folder.path, folder.read_summary())
    chosen = [Learner(**values) for values in cell.columns["learners"]]
    fitted: dict[str, Fitted] = {}
    for number, one in enumerate(chosen):

        def on_fit(done: float, total: float, note: str = "", number: int = number) -> None:
            share = (number + done / max(total, 1e-9)) / len(chosen)
            progress(FIT_SHARE * share, 1.0, f"{cell.title}: {chosen[number].row}, {note}")

        fitted[one.row] = fit(fit_settings(cell.stream, one), work.parent / "fits" / _name(cell.stream, one), on_fit)
    trained = {row: fitted[one.row].made for one in chosen for row in one.filled}
    attacks = [
        replace(a, settings=_inverting(a.settings), files={**a.files, "inverter": trained[a.row]})
        if a.row in trained
        else a
        for a in cell.stream.attacks
    ]
    keep_asked_apart(cell.stream, {row: one.made for row, one in fitted.items()})

    def on_stream(done: float, total: float, note: str = "") -> None:
        progress(FIT_SHARE + (1 - FIT_SHARE) * done / max(total, 1e-9), 1.0, note)

    told = {row: _told(one) for row, one in fitted.items()}
    ready = replace(cell, stream=replace(cell.stream, attacks=attacks), columns={**cell.columns, "fitted": told})
    result = run_cell(study, ready, folder, on_stream)
    return CellResult(cell, result.folder, result.summary)


def fit_settings(stream: StreamSettings, one: Learner) -> FitSettings:
    """How a learner is trained for the split point of a stream: under the stream's defense, on a card of its own."""
    files = next(a.files for a in stream.attacks if a.row in one.filled)
    return FitSettings(
        victim=stream.victim,
        split=stream.split,
        victim_settings=stream.victim_settings,
        attack=AttackChoice(one.attack, one.row, {**one.settings, "queries": one.queries}, files),
        knowledge=KnowledgeCard(victim="black", queries=one.queries, data=one.of),
        data=one.data,
        data_settings=one.data_settings,
        frames=one.queries,
        defense=stream.defense if one.defended else "none",
        defense_settings=stream.defense_settings if one.defended else {},
        calibration=calibration_of(
            stream.victim,
            stream.split,
            stream.victim_settings,
            stream.defense if one.defended else "none",
            stream.defense_settings,
            source=stream.source,
            samples={"seed": stream.seed, **stream.victim_settings},
            frames=CALIBRATION_FRAMES,
        ),
        seed=stream.seed,
        device=stream.device,
    )


_TOLD: Final = ("queries", "epoch", "psnr", "cpu_min")


def _told(one: Fitted) -> dict[str, float]:
    _, card = load_trained(one.made)
    return dict(zip(_TOLD, (one.queries, card.epoch, card.psnr, one.cpu_s / 60), strict=True))


def _name(stream: StreamSettings, one: Learner) -> str:
    told = json.dumps(plain(fit_settings(stream, one)), sort_keys=True, default=str)
    return f"{one.row}-{stream.split}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _inverting(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What of a learner's settings holds after its training; the trained file knows the rest."""
    return {key: settings[key] for key in ("steps", "prompt") if key in settings}


def keep_asked_apart(stream: StreamSettings, made: Mapping[str, Path]) -> None:
    """Refuse trained files (row -> path) that asked about what is streamed. InputError names the first such sample."""
    samples = victim(stream.victim).samples(stream.source, {"seed": stream.seed, **stream.victim_settings})
    streamed = {sample.digest(): sample.name for sample in islice(readable(samples), stream.frames)}
    for row, path in made.items():
        both = asked_about(path, streamed)
        if both:
            raise InputError(f"{row}: {streamed[min(both)]} was asked about and is streamed; accepted: other pictures")


def learning(results: Sequence[CellResult]) -> Sheet:
    """What each learner asked, learned and cost."""
    rows: list[list[object]] = []
    for result in results:
        fitted = result.summary["columns"].get("fitted", {})
        of = {values["row"]: values["of"] for values in result.cell.columns["learners"]}
        for row, told in fitted.items():
            rows.append([result.cell.title, row, of[row], *(told[key] for key in _TOLD)])
    return table(
        "What was learned from queries",
        ("cell", "attack", "asked about", "queries", "best epoch", "PSNR on held-out queries (dB)", "CPU minutes"),
        rows,
        ("Every query was answered, and counted, by a second edge process with the victim's weights and defense.",),
    )
