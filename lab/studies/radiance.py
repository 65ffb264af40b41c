"""What the radiance studies share: which scenes and seeds, how long a training is, which attacks, what is granted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from attacker.attacks.base import Needs
from attacker.attacks.radiance.settings import own as checked
from attacker.knowledge import VANTAGES, VICTIMS, KnowledgeCard
from attacker.registry import attack as registered
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell, Settings
from lab.studies.options import listed, whole
from victims.radiance.networks import check_split
from victims.radiance.pictures import pictures
from victims.radiance.settings import Training, training
from victims.radiance.victim import scene
from wire.errors import InputError
from wire.payload import Meta

VICTIM: Final = "splitnerf"
SPLIT: Final = "mid"

UNTRAINED: Final = "untrained-surrogate"
FLOORS: Final = (UNTRAINED, "gradient-norms", "mean-view")
SURROGATES: Final = ("surrogate", "surrogate-fit", "surrogate-replay")

SOLVED: Final[Mapping[str, Any]] = {"dummy": "solved", "inner": 3}
"""The surrogate attack as it gets furthest here: dummy pixels solved for, three optimiser steps a step."""

STRONGER: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "surrogate-solved": ("surrogate", SOLVED),
    "surrogate-fit-solved": ("surrogate-fit", SOLVED),
}
"""Row -> the attack that it is, and its settings: ours, beside the paper's."""

PROCEDURAL: Final = "procedural"

OF_TRAINING: Final = tuple(field.name for field in fields(Training) if field.name not in ("seed", "edge_seed"))
OF_SCENES: Final = ("side", "views", "box")
OF_STREAMS: Final = ("preset", "pictures", "curve_every", "curve_views")
OPTIONS: Final = ("seeds", "attacks", "curve", *OF_STREAMS, *OF_TRAINING, *OF_SCENES)
"""Beside them ``ATTACK.SETTING``, for a setting of one attack."""


@dataclass(frozen=True)
class Amount:
    """How much a profile does. training: of the victim. side: pixels on the longer side of a picture (-1: the source's
    own). seeds: trainings of each scene. curve: points of the curves over steps. share: the part of a step's rays that
    attacks learn from, so that they keep up with the training on as many cores as it has."""

    training: Mapping[str, Meta]
    side: int
    seeds: int
    curve: int
    share: float


PROFILES: Final[Mapping[str, Amount]] = {
    "quick": Amount({"steps": 1000, "rays": 256, "samples": 32}, 48, 3, 6, 0.25),
    "cpu": Amount({"steps": 3000, "rays": 1024, "samples": 48}, 96, 3, 12, 0.25),
    "paper": Amount({"preset": "paper"}, 0, 3, 20, 1.0),
}
"""``quick``: minutes on two cores, and pictures of 48 pixels. ``paper``: the published code's figures, days on
the CPU."""


@dataclass(frozen=True)
class Place:
    """One scene with one seed. source: as the victim reads it. learnt, held_out: how many pictures are for which."""

    name: str
    source: str
    seed: int
    learnt: int
    held_out: int


@dataclass(frozen=True)
class Plan:
    """What a study's settings come to: everything but cut, defense and attacks.

    victim: the settings of its training and of its stream that are the same in all cells. places: scenes by seed.
    wanted: rows, in the order of tables.
    """

    settings: Settings
    amount: Amount
    victim: Mapping[str, Meta]
    places: Sequence[Place]
    wanted: Sequence[str]

    @property
    def training(self) -> Training:
        """The victim's, but for its seed."""
        return training(self.victim)


def plan(
    settings: Settings,
    rows: Sequence[str],
    further: Sequence[str] = (),
    most: Mapping[str, Amount] = PROFILES,
    named: Sequence[str] = (),
) -> Plan:
    """Resolve a study's settings.

    rows: the attacks that run unless ``attacks`` says otherwise. named: rows that may be asked for or set beside them.
    further: options of the study's own. most: how much each profile does. InputError in one line for an option that
    does not exist, a value that is not accepted, and a scene that cannot be read.
    """
    if settings.device == "cuda" and settings.device_named:
        raise InputError("--device cuda: radiance runs on the CPU, training and attacks alike; accepted: auto, cpu")
    options, amount = settings.options, most[settings.profile]
    every = (*rows, *named)
    for key in options:
        row, dot, _ = key.partition(".")
        if key not in (*OPTIONS, *further) and not (dot and row in every):
            known = ", ".join((*OPTIONS, *further))
            raise InputError(f"--set {key}: no option of this study; there are: {known}, ATTACK.SETTING")
    given = {key: _meta(options[key]) for key in (*OF_STREAMS, *OF_TRAINING, *OF_SCENES) if key in options}
    if settings.frames:
        given.setdefault("steps", settings.frames)
    victim: dict[str, Meta] = {**amount.training, "pictures": -1, "curve_views": 2, **given}
    if amount.side and "side" not in given:
        victim["side"] = amount.side
    chosen = training(victim)
    curve = whole(options, "curve", least=0) if "curve" in options else amount.curve
    victim.setdefault("curve_every", max(1, -(-chosen.steps // curve)) if curve else 0)
    seeds = whole(options, "seeds") if "seeds" in options else amount.seeds
    wanted = listed(options["attacks"], "attacks") if "attacks" in options else list(rows)
    for row in wanted:
        if row not in every:
            raise InputError(f"--set attacks={row}: no attack of this study; there are: {', '.join(every)}")
    return Plan(settings, amount, victim, _places(settings, victim, seeds), wanted)


def _places(settings: Settings, victim: Mapping[str, Meta], seeds: int) -> list[Place]:
    sources = [str(folder) for folder in settings.data] or [PROCEDURAL]
    places = []
    for source in sources:
        for seed in range(settings.seed, settings.seed + seeds):
            found = scene(source, {**victim, "seed": seed})
            name = "the room" if source == PROCEDURAL else Path(source).resolve().name
            places.append(Place(name, source, seed, len(found.training), len(found.testing)))
    return places


def choice(asked: Plan, place: Place, name: str, row: str = "", **own: Any) -> AttackChoice:
    """An attack on one place: what is public about the victim, what its row is called, and its own settings.

    What the user set for this row goes before the study's. All that learn get the same share of the rays.
    """
    kind = getattr(registered(name), "settings", None)  # what is not accepted is answered before anything starts
    label = row or name
    public = training({**asked.victim, "seed": place.seed}).shared()  # the edge's own seed is not among it
    settings: dict[str, Any] = {f"victim_{key}": value for key, value in public.items()}
    settings["views"] = place.learnt
    if name in (*SURROGATES, "scene-aided"):
        settings["share"] = asked.amount.share
    named = {key.partition(".")[2]: v for key, v in asked.settings.options.items() if key.startswith(f"{label}.")}
    whole = {**settings, **own, **named}
    if kind is not None:
        checked(kind, whole, label)
    return AttackChoice(name, label if label != name else "", whole)


def choices(asked: Plan, place: Place, rows: Mapping[str, tuple[str, Mapping[str, Any]]]) -> list[AttackChoice]:
    """The plan's attacks on one place. rows: row -> the attack that it is, and its settings; others are attacks."""
    made = []
    for row in asked.wanted:
        name, own = rows.get(row, (row, {}))
        made.append(choice(asked, place, name, row, **own))
    return made


def cell(
    asked: Plan,
    place: Place,
    attacks: Sequence[AttackChoice],
    split: str = SPLIT,
    defense: str = "none",
    defense_settings: Mapping[str, Any] | None = None,
    *,
    told: bool = False,
    leaks: Sequence[str] = (),
    title: str = "",
    **columns: Any,
) -> Cell:
    """A training of one place, cut at ``split``, with the pictures that are asked for on the way and at the end.

    told: the listener knows the defense. leaks: what it was given beside the capture.
    """
    check_split(split)
    settings, given = asked.settings, dict(defense_settings or {})
    victim = {**asked.victim, "seed": place.seed}
    stream = StreamSettings(
        victim=VICTIM,
        split=split,
        victim_settings=victim,
        attacks=attacks,
        knowledge=card([registered(a.name).needs for a in attacks], defense if told else "", given, leaks),
        source=place.source,
        frames=samples(victim, place.held_out),
        seed=place.seed,
        defense=defense,
        defense_settings=given,
        record=settings.record,
        record_gb=settings.record_gb,
        tls=settings.tls,
        workers=2,
    )
    where = {"scene": place.name, "seed": place.seed, "split": split, **columns}
    return Cell(f"{title or f'{place.name}, {split}'}, seed {place.seed}", stream, where)


def samples(victim: Mapping[str, Meta], held_out: int) -> int:
    """How many samples a whole training makes: its steps, and the pictures between and behind them."""
    steps, asked = training(victim).steps, pictures(victim)
    return steps + sum(len(asked.after(done, steps, held_out)) for done in range(1, steps + 1))


def card(
    needs: Sequence[Needs], defense: str, defense_settings: Mapping[str, Any], leaks: Sequence[str] = ()
) -> KnowledgeCard:
    """The least that entitles all of these attacks. defense: the one that the listener knows; "": it knows of none."""
    return KnowledgeCard(
        vantage=max((need.vantage for need in needs), key=VANTAGES.index, default=VANTAGES[0]),
        victim=max((need.victim for need in needs), key=VICTIMS.index, default=VICTIMS[0]),
        defense="aware" if defense else "unaware",
        defense_name=defense,
        defense_settings=dict(defense_settings) if defense else {},
        data="procedural rooms of other seeds, for the mean view alone",
        leaks=tuple(leaks),
    )


def at_split(found: Cell, split: str) -> Cell:
    """The same training cut elsewhere."""
    check_split(split)
    stream = replace(found.stream, split=split)
    title = found.title.replace(f", {found.stream.split},", f", {split},")
    return replace(found, title=title, stream=stream, columns={**found.columns, "split": split})


def _meta(value: Any) -> Meta:
    """A setting as it travels: lists of TOML are tuples there."""
    return tuple(value) if isinstance(value, list) else value
