"""What the image studies share: which victim, which pictures, which attacks, and what the listener is granted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attacker.knowledge import KnowledgeCard
from attacker.registry import attack as registered
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell, Settings
from lab.studies.image_tuning import POLISHED, VARIANTS, WAVES, basis, depth_of, tuned
from victims.base import Sample, weights_folder
from victims.image import cifar
from victims.image.victim import ImageVictim
from victims.registry import victim
from wire.errors import InputError
from wire.payload import Meta

VICTIM: Final = "cifar-resnet20"
PRIOR: Final = "cifar-prior"
"""The shipped prior's folder in ``weights/``; it makes pictures of :data:`SMALL`."""

SMALL: Final = (cifar.SIDE, cifar.SIDE)

FLOORS: Final = ("mean-picture", "nearest-picture", "prior-sample")
OPTIMISING: Final = ("direct", "decoder", "diffusion")
ROWS: Final = (*FLOORS, "direct", WAVES, "decoder", "diffusion", POLISHED)
"""All of them, in the order of tables."""

STREAMED: Final = ("lossless-test", "lossless")
"""CIFAR-10's sets that may be streamed: no prior, no auxiliary set and no query set has seen them."""

AUXILIARY_FRAMES: Final = 1000
AUXILIARY: Final = "jpeg-train"

PUBLISHED: Final = {
    "cifar-resnet20": "weights/cifar10_resnet/resnet20-12fca82f.th",
    "cifar-resnet56": "weights/cifar10_resnet/resnet56-4bfd9763.th",
    "fastestdet": "weights/fastestdet/fastestdet_coco_280epoch.pth",
    "espnet": "weights/espnet/encoder_p2_q8.pth",
    "espnet-512": "weights/espnet/encoder_p2_q8.pth",
    "espnet-full": "weights/espnet/decoder_p2_q8.pth",
}
"""Checkpoints in ``EAVESPLIT_DATA`` of victims that ship no weights."""


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

    InputError in one line for an option that does not exist, a victim that does not look at pictures, and data,
    weights or a prior that are not where they are said to be.
    """
    options = settings.options
    known = (*OPTIONS, *further)
    for key in options:
        if key not in known and key.partition(".")[0] not in (*ROWS, *attacks):
            raise InputError(f"--set {key}: no option of this study; there are: {', '.join(known)}, ATTACK.SETTING")
    for key in NETWORKS:
        if key in options and not Path(str(options[key])).is_file():
            raise InputError(f"--set {key}={options[key]}: there is no such file")
    found = victim(str(options.get("victim", VICTIM)))
    if not isinstance(found, ImageVictim):
        raise InputError(f"victim {found.name}: looks at no pictures; accepted: victims of the image modality")
    amount = _amount(settings)
    frames = settings.frames or amount.frames
    source = _source(settings, found)
    weights = _weights(options, found)
    victim_settings: dict[str, Meta] = {
        "weights": str(options["weights"]) if options.get("weights") == "random" else str(weights),
        "set": _set(options, frames),
    }
    if victim_settings["weights"] == "random":
        victim_settings["seed"] = settings.seed
    prior, auxiliary = _prior(options, found), _auxiliary(options, source, found)
    wanted, absent = _wanted(options, prior, auxiliary, amount)
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

    further: settings that go before the plan's; what the user set for this attack goes before both.
    """
    name = VARIANTS.get(row, row)
    registered(name)  # a name that is not there is answered before anything starts
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
    return AttackChoice(name, label or (row if row != name else ""), {**settings, **further, **own}, files)


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

    By digest of each decoded picture, so that the same file under another name is found too.
    """
    stream = cell.stream
    files = {choice.files["auxiliary"] for choice in stream.attacks if "auxiliary" in choice.files}
    found = victim(stream.victim)
    streamed = {
        sample.digest(): sample.name
        for sample in islice(_readable(found.samples(stream.source, stream.victim_settings)), stream.frames)
    }
    for path in files:
        for sample in islice(_readable(found.samples(str(path), {})), AUXILIARY_FRAMES):
            if sample.digest() in streamed:
                raise InputError(
                    f"auxiliary {path}: {sample.name} is streamed as {streamed[sample.digest()]}; accepted: pictures "
                    "that are not under attack"
                )


def real_data() -> Path | None:
    """``EAVESPLIT_DATA``, or ``shared/data`` beside the project; None where neither is there."""
    named = os.environ.get("EAVESPLIT_DATA")
    folder = Path(named) if named else weights_folder().parent.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def _amount(settings: Settings) -> Amount:
    amount, options = PROFILES[settings.profile], settings.options
    if "iterations" in options:
        number = whole(options, "iterations")
        amount = replace(amount, iterations=dict.fromkeys(OPTIMISING, number))
    if "polish" in options:
        amount = replace(amount, polish=whole(options, "polish", least=0))
    return amount


def whole(options: Mapping[str, Any], key: str, least: int = 1) -> int:
    """A whole number among the options."""
    value = options[key]
    if type(value) is not int or value < least:
        raise InputError(f"--set {key}={value}; accepted: a whole number from {least}")
    return value


def listed(value: Any, key: str) -> list[str]:
    """``a,b,c`` among the options."""
    found = [str(item).strip() for item in (value if isinstance(value, list) else str(value).split(","))]
    if not found or not all(found):
        raise InputError(f"--set {key}={value}: has an empty name; accepted: a,b,c")
    return list(dict.fromkeys(found))


def _source(settings: Settings, found: ImageVictim) -> Path:
    if len(settings.data) > 1:
        raise InputError("--data: given twice; accepted: one folder of pictures")
    if settings.data:
        return Path(settings.data[0])
    data = real_data()
    folder = data / "images" / ("cifar10" if found.size == SMALL else "photos") if data else None
    if folder is None or not folder.is_dir():
        raise InputError(f"{found.name} looks at real pictures; give --data FOLDER, or set EAVESPLIT_DATA")
    return folder


def _set(options: Mapping[str, Any], frames: int) -> str:
    name = str(options.get("set", STREAMED[0] if frames <= 100 else STREAMED[1]))
    if name not in STREAMED:
        raise InputError(
            f"--set set={name}: of CIFAR-10, {', '.join(STREAMED)} are accepted; priors and attacks learn from the rest"
        )
    return name


def _weights(options: Mapping[str, Any], found: ImageVictim) -> Path | None:
    named = str(options.get("weights", "shipped"))
    if named == "random":
        return None
    if named != "shipped":
        path = Path(named)
        if not path.is_file():
            raise InputError(f"--set weights={named}: no such file; accepted: a checkpoint, shipped or random")
        return path
    shipped, data = weights_folder() / f"{found.name}.safetensors", real_data()
    published = data / PUBLISHED[found.name] if data and found.name in PUBLISHED else None
    for checkpoint in (shipped, published):
        if checkpoint is not None and checkpoint.is_file():
            return checkpoint
    raise InputError(f"{found.name} ships no weights; give --set weights=PATH, or weights=random")


def _prior(options: Mapping[str, Any], found: ImageVictim) -> Path | None:
    if "prior" not in options:
        path = weights_folder() / PRIOR
        return path if found.size == SMALL and path.is_dir() else None
    path = Path(str(options["prior"]))
    if not (path / "config.json").is_file() and not (path / "vae").is_dir():
        raise InputError(
            f"--set prior={path}: no prior; accepted: a folder in the diffusers layout, or one autoencoder's"
        )
    return path


def _auxiliary(options: Mapping[str, Any], source: Path, found: ImageVictim) -> Path | None:
    if "auxiliary" in options:
        path = Path(str(options["auxiliary"]))
        if not path.exists():
            raise InputError(f"--set auxiliary={path}: no such file or folder of pictures")
        return (cifar.find(path, AUXILIARY) or path) if path.is_dir() else path
    data = real_data()
    folders = [source, source.parent, *([data / "images"] if data and found.size == SMALL else [])]
    found_there = (cifar.find(folder, AUXILIARY) for folder in folders if folder.is_dir())
    return next((file for file in found_there if file is not None), None)


def _wanted(
    options: Mapping[str, Any], prior: Path | None, auxiliary: Path | None, amount: Amount
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
        elif name in ("diffusion", POLISHED, "prior-sample") and not (prior and (prior / "unet").is_dir()):
            without[name] = "the prior is an autoencoder alone"
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


def _readable(source: Iterable[Sample]) -> Iterator[Sample]:
    """The pictures that can be read; the stream counts the others itself."""
    samples = iter(source)
    while True:
        try:
            yield next(samples)
        except StopIteration:
            return
        except InputError:
            continue
