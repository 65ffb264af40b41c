"""What the image studies share: which victim, which pictures, which attacks, and what the listener is granted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attacker.knowledge import KnowledgeCard
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell, Settings
from lab.studies.image_checks import SAMPLING, check_choice, check_options, misfit
from lab.studies.image_files import auxiliary_of, prior_of, set_of, source_of, weights_of
from lab.studies.image_tuning import POLISHED, VARIANTS, WAVES, basis, depth_of, tuned
from lab.studies.options import listed, whole
from victims.image.victim import ImageVictim
from victims.readable import readable
from victims.registry import victim
from wire.errors import InputError
from wire.payload import Meta

VICTIM: Final = "cifar-resnet20"

FLOORS: Final = ("mean-picture", "nearest-picture", "prior-sample")
OPTIMISING: Final = ("direct", "decoder", "diffusion")
ROWS: Final = (*FLOORS, "direct", WAVES, "decoder", "diffusion", POLISHED)
"""All of them, in the order of tables."""

AUXILIARY_FRAMES: Final = 1000


@dataclass(frozen=True)
class Amount:
    """How much a profile does. iterations: by attack, or by row. polish: those of ``decoder`` on the latent of
    ``diffusion``. steps: of the sampler. More iterations with few steps beat fewer with many in the same time."""

    frames: int
    iterations: Mapping[str, int]
    polish: int
    steps: int = 4
    snapshots: int = 32


PROFILES: Final[Mapping[str, Amount]] = {
    "quick": Amount(16, {"direct": 1000, WAVES: 600, "decoder": 1000, "diffusion": 100}, 500),
    "cpu": Amount(64, {"direct": 2000, WAVES: 1000, "decoder": 1500, "diffusion": 150}, 1000),
    "paper": Amount(100, {"direct": 1500, "decoder": 1500, "diffusion": 1500}, 0, steps=20),
}

NETWORKS: Final = ("lpips", "lpips_linear", "inception")
"""Files that metrics need and nobody ships."""

OPTIONS: Final = (
    "victim", "weights", "set", "prior", "auxiliary", "attacks", "iterations", "polish", *NETWORKS,
)  # fmt: skip
"""Beside them ``ATTACK.SETTING``, for a setting of one attack."""


@dataclass(frozen=True)
class Plan:
    """What a study's settings come to: everything but the split point.

    frames: pictures that are streamed. prior: a prior's folder, or an autoencoder's alone. absent: attack -> why it
    does not run.
    """

    victim: ImageVictim
    settings: Settings
    amount: Amount
    source: Path
    victim_settings: Mapping[str, Meta]
    weights: Path | None
    prior: Path | None
    auxiliary: Path | None
    frames: int
    wanted: Sequence[str]
    options: Mapping[str, Any]
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def measure(self) -> dict[str, Meta]:
        """What the scorer gets beside the victim's settings."""
        found: dict[str, Meta] = {key: str(self.options[key]) for key in NETWORKS if key in self.options}
        return found | ({"oracle_prior": str(self.prior)} if self.prior else {})


def plan(settings: Settings, further: Sequence[str] = (), attacks: Sequence[str] = ()) -> Plan:
    """Resolve a study's settings. further: options of the study's own. attacks: its attacks beside those here.

    InputError in one line for an option that does not exist, a setting that its attack does not take, a victim that
    does not look at pictures, and data, weights or a prior that are not where they are said to be.
    """
    options = settings.options
    known = (*OPTIONS, *further)
    for key in options:
        row, dot, _ = key.partition(".")
        if key not in known and not (dot and row in (*ROWS, *attacks)):
            raise InputError(f"--set {key}: no option of this study; there are: {', '.join(known)}, ATTACK.SETTING")
    check_options({key: value for key, value in options.items() if key not in known})
    for key in NETWORKS:
        if key in options and not Path(str(options[key])).is_file():
            raise InputError(f"--set {key}={options[key]}: there is no such file")
    found = victim(str(options.get("victim", VICTIM)))
    if not isinstance(found, ImageVictim):
        raise InputError(f"victim {found.name}: looks at no pictures; accepted: victims of the image modality")
    amount = _amount(settings)
    frames = settings.frames or amount.frames
    source = source_of(settings, found)
    weights = weights_of(options, found)
    victim_settings: dict[str, Meta] = {
        "weights": str(options["weights"]) if options.get("weights") == "random" else str(weights),
        "set": set_of(options, frames),
    }
    if victim_settings["weights"] == "random":
        victim_settings["seed"] = settings.seed
    prior, auxiliary = prior_of(options, found), auxiliary_of(options, source, found)
    wanted, absent = _wanted(options, prior, auxiliary, amount, found.size)
    return Plan(
        found, settings, amount, source, victim_settings, weights, prior, auxiliary, frames, wanted, options, absent
    )


def needs_diffusion(plan: Plan, study: str) -> None:
    """InputError with the reason where the ``diffusion`` attack does not run."""
    if "diffusion" not in plan.wanted:
        why = plan.absent.get("diffusion", "it is not among the attacks that were asked for")
        raise InputError(f"{study}: diffusion cannot run: {why}")


def stage_ends(found: ImageVictim) -> tuple[str, ...]:
    """The last block of every residual stage; of another network, the points at its thirds."""
    stages: dict[str, str] = {}
    for point in found.points:
        if block := re.fullmatch(r"(layer\d+)\.\d+", point):
            stages[block[1]] = point
    if len(stages) > 1:
        return tuple(stages.values())
    count = len(found.points)
    return tuple(found.points[round(count * share / 3) - 1] for share in (1, 2, 3)) if count >= 3 else found.points


def choices(plan: Plan, split: str) -> list[AttackChoice]:
    """The attacks at a split point, each with what it is granted: the same files and steps for all rivals."""
    return [choice(plan, name, split) for name in plan.wanted]


def choice(plan: Plan, row: str, split: str, label: str = "", **further: Any) -> AttackChoice:
    """One attack at a split point. row: its name, or one of :data:`VARIANTS`. label: what its rows are called instead.

    further: settings that go before the plan's; what the user set for this attack goes before both. InputError where
    the attack would refuse all these when the stream is over.
    """
    name = VARIANTS.get(row, row)
    amount = plan.amount
    files, settings = _granted(plan, name)
    if name in ("diffusion", "prior-sample"):
        settings["steps"] = amount.steps
    if name in OPTIMISING:
        settings |= {"iterations": amount.iterations.get(row, amount.iterations[name]), "snapshots": amount.snapshots}
        if plan.settings.profile == "paper":
            settings["paper"] = True
        else:
            # Both pixels and latents begin at the mean of the same public pictures.
            settings |= {"start": "mean"} if "auxiliary" in files else {}
            layer = plan.victim.layers.get(split, split)
            settings |= tuned(row, depth_of(plan.victim, layer, stage_ends(plan.victim)))
        settings |= basis(row)
    if row == POLISHED:
        settings["polish"] = amount.polish
    own = {key.partition(".")[2]: value for key, value in plan.options.items() if key.startswith(f"{row}.")}
    made = AttackChoice(name, label or (row if row != name else ""), {**settings, **further, **own}, files)
    check_choice(made, plan.victim.size)
    return made


def cell(plan: Plan, split: str, title: str = "", attacks: Sequence[AttackChoice] = (), **columns: Any) -> Cell:
    """A stream of the plan's pictures, cut at ``split``: first all of them, then the inversion in full batches."""
    settings, chosen = plan.settings, list(attacks) or choices(plan, split)
    stream = StreamSettings(
        victim=plan.victim.name,
        split=split,
        victim_settings=plan.victim_settings,
        attacks=chosen,
        knowledge=knowledge(plan),
        source=str(plan.source),
        frames=plan.frames,
        seed=settings.seed,
        record=settings.record,
        record_gb=settings.record_gb,
        tls=settings.tls,
        device=settings.device,
        workers=2,
        invert_after=True,
    )
    named = title or f"{plan.victim.name}, {split}"
    return Cell(named, stream, {"split": split, "absent": dict(plan.absent), **columns}, measure=plan.measure)


def knowledge(plan: Plan) -> KnowledgeCard:
    """A listener on the wire who has the victim's architecture and weights, and public pictures of another set."""
    held = []
    if plan.prior:
        held.append(f"prior {plan.prior.name}")
    if plan.auxiliary:
        held.append(f"auxiliary pictures of {plan.auxiliary.name}")
    return KnowledgeCard(vantage="wire", victim="white", data="; ".join(held))


def keep_apart(cell: Cell) -> None:
    """Refuse auxiliary pictures that are streamed as well. InputError names the first that is in both.

    By digest of each decoded picture, so that the same file under another name is found too; as many are compared as
    any attack is granted, and no fewer than :data:`AUXILIARY_FRAMES`.
    """
    stream = cell.stream
    granted: dict[Path, int] = {}
    for choice in stream.attacks:
        if path := choice.files.get("auxiliary"):
            number = int(choice.settings.get("auxiliary_frames", AUXILIARY_FRAMES))
            granted[path] = max(number, granted.get(path, AUXILIARY_FRAMES))
    found = victim(stream.victim)
    streamed = {
        sample.digest(): sample.name
        for sample in islice(readable(found.samples(stream.source, stream.victim_settings)), stream.frames)
    }
    for path, number in granted.items():
        for sample in islice(readable(found.samples(str(path), {})), number):
            if sample.digest() in streamed:
                raise InputError(
                    f"auxiliary {path}: {sample.name} is streamed as {streamed[sample.digest()]}; accepted: pictures "
                    "that are not under attack"
                )


def _amount(settings: Settings) -> Amount:
    amount, options = PROFILES[settings.profile], settings.options
    if "iterations" in options:
        number = whole(options, "iterations")
        amount = replace(amount, iterations=dict.fromkeys(OPTIMISING, number))
    if "polish" in options:
        amount = replace(amount, polish=whole(options, "polish", least=0))
    return amount


def _wanted(
    options: Mapping[str, Any], prior: Path | None, auxiliary: Path | None, amount: Amount, size: tuple[int, int]
) -> tuple[list[str], dict[str, str]]:
    """The attacks that run, and why the others do not. InputError for one that was asked for and cannot."""
    everything = [row for row in ROWS if row != POLISHED or amount.polish]
    asked = listed(options["attacks"], "attacks") if "attacks" in options else everything
    without: dict[str, str] = {}
    for name in asked:
        if name not in ROWS:
            raise InputError(f"--set attacks={name}: no attack of this study; there are: {', '.join(everything)}")
        if name in ("mean-picture", "nearest-picture") and auxiliary is None:
            without[name] = "there are no auxiliary pictures (--set auxiliary=PATH)"
        elif name in ("decoder", "diffusion", POLISHED, "prior-sample") and prior is None:
            without[name] = "there is no prior for pictures of this size (--set prior=FOLDER)"
        elif name in (*SAMPLING, POLISHED) and not (prior and (prior / "unet").is_dir()):
            without[name] = "the prior is an autoencoder alone"
        elif name in ("decoder", *SAMPLING, POLISHED) and prior and (why := misfit(prior, name, size)):
            without[name] = why
    if "attacks" in options and without:
        name, why = next(iter(without.items()))
        raise InputError(f"--set attacks={name}: {why}")
    return [name for name in asked if name not in without], without


def _granted(plan: Plan, name: str) -> tuple[dict[str, Path], dict[str, Any]]:
    """An attack's files, and what it must be told about them."""
    files: dict[str, Path] = {}
    settings: dict[str, Any] = {}
    if name in (*OPTIMISING, "nearest-picture"):
        if plan.weights is None:
            settings["weights"] = "random"
        else:
            files["weights"] = plan.weights
    if name in ("mean-picture", "nearest-picture", "direct", "decoder") and plan.auxiliary is not None:
        files["auxiliary"] = plan.auxiliary
        settings["auxiliary_frames"] = AUXILIARY_FRAMES
    if name in ("decoder", "diffusion", "prior-sample") and plan.prior is not None:
        files["prior"] = plan.prior
    return files, settings
