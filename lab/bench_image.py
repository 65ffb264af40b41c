"""``eavesplit bench attack --victim NAME`` of a network for pictures: what the image attacks cost.

``diffusion``: all pictures in one batch against the same attack picture by picture, in the same round, with the same
steps and iterations, one thread as in a stream. Memory: the peak of one iteration over the sampler's steps
(:mod:`lab.bench_memory`). Inversion networks: pictures a second.

Speed and memory depend on shapes and not on what was learned: the victim's weights and the inversion networks are
random, and so is the prior, of the shipped one's size, where none is given or shipped.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, Inverter, SessionInfo
from attacker.attacks.image.diffusion import DiffusionSettings, diffusion
from attacker.attacks.image.inversion import Problem
from attacker.attacks.image.inversion_networks.attack import InversionByNetwork
from attacker.attacks.image.inversion_networks.network import InversionNetwork, Shape
from attacker.attacks.image.inversion_networks.trained import Card, save_trained
from attacker.attacks.image.prior import Prior, load_prior
from attacker.attacks.image.prior_training.captions import all_captions
from attacker.attacks.image.prior_training.diffusion import Denoiser
from attacker.attacks.image.prior_training.export import write_folder
from attacker.attacks.image.prior_training.parts import new_autoencoder, new_tokenizer
from attacker.attacks.image.prior_training.settings import PriorTraining
from attacker.registry import attack
from lab import bench_memory
from lab.bench import Bench, Comparison, Measure, check_rounds, ratio, rounds_of
from lab.bench_attack import sent
from lab.studies.image import stage_ends
from lab.studies.image_files import PRIOR
from lab.studies.options import whole
from victims.base import Progress, Sample, weights_folder
from victims.image.split import Split
from victims.image.victim import ImageVictim
from victims.registry import victim
from wire.errors import InputError
from wire.payload import Meta

PICTURES: Final = 16
STEPS: Final = 10
ITERATIONS: Final = 2
MEMORY_PICTURES: Final = 8
MEMORY_STEPS: Final = (4, 8, 16)

AIM_RATIO: Final = 2.5
AIM_SLOPE: Final = 1.5
AIM_RATES: Final = {"inversion-direct": 50.0, "inversion-decoder": 50.0, "inversion-diffusion": 2.0}
"""Pictures a second: in batches, the last one by one."""

ASKED: Final = {"inversion-direct": 64, "inversion-decoder": 64, "inversion-diffusion": 4}
"""Pictures an inversion network is given in a round."""

BATCHED, AGAIN, LOOP = "batched", "batched again", "picture by picture"
RANDOM: Final[Mapping[str, Meta]] = {"weights": "random", "seed": 0}


def bench_image(
    name: str,
    rounds: int,
    progress: Progress,
    *,
    splits: Sequence[str] = (),
    prior: Path | None = None,
    pictures: int = PICTURES,
    steps: int = STEPS,
    parameters: PriorTraining | None = None,
) -> Bench:
    """Measure on the victim called ``name`` at one split point (default: the end of its second stage).

    prior: a folder; None: the shipped one, else a random one of the shape that ``parameters`` say (default: the
    shipped one's). InputError where the victim's pictures are not of the prior's size.
    """
    check_rounds(rounds)
    if len(splits) > 1:
        raise InputError("bench attack: several --split; accepted for pictures: one")
    found = victim(name)
    if not isinstance(found, ImageVictim):
        raise InputError(f"victim {name}: looks at no pictures; accepted here: victims of the image modality")
    split = splits[0] if splits else stage_ends(found)[1]
    with tempfile.TemporaryDirectory() as scratch, _one_thread():
        folder, of = _prior(prior, Path(scratch), parameters)
        work = Work(found, split, load_prior(folder, side=found.side), folder, pictures, steps, Path(scratch))
        timed = rounds_of(work.diffusion(), rounds, _part(progress, 0.0, 0.7), "diffusion")
        memory = bench_memory.measure(folder, MEMORY_PICTURES, MEMORY_STEPS)
        passes = rounds_of(work.networks(), rounds, _part(progress, 0.8, 1.0), "inversion networks")
    compared = [_compared(work, timed, quantity) for quantity in ("CPU seconds", "wall seconds")]
    facts = [("prior", of), *_speed(work, timed), *_peaks(memory), *_rates(work, passes)]
    slowest = {kind: _rate(passes[kind], "CPU seconds", ASKED[kind]) for kind in passes}
    gates = [
        _gate(f"diffusion, {LOOP} over {BATCHED}, CPU time", compared[0].ratio.median, AIM_RATIO, "at least", "times"),
        _gate("peak memory over steps", memory.slope, AIM_SLOPE, "at most", "times the latents' bytes a step"),
        *[_gate(kind, slowest[kind], AIM_RATES[kind], "at least", "pictures a CPU-second") for kind in slowest],
    ]
    details = {
        "victim": name, "split": split, "prior": of, "pictures": pictures, "steps": steps, "iterations": ITERATIONS,
        "diffusion": timed, "networks": passes, "memory": {
            "pictures": MEMORY_PICTURES, "latents_bytes": memory.latents, "recomputed": dict(memory.recomputed),
            "kept": dict(memory.kept), "slope_in_latents": memory.slope,
        },
    }  # fmt: skip
    return Bench("attack-image", compared, facts, gates, details)


def asked(name: str, rounds: int, progress: Progress, splits: Sequence[str], options: Mapping[str, Any]) -> Bench:
    """:func:`bench_image` with ``options`` of a command line: ``prior``, ``pictures`` and ``steps``."""
    for key in options:
        if key not in ("prior", "pictures", "steps"):
            raise InputError(f"--set {key}: no option of this bench; there are: prior, pictures, steps")
    prior = Path(str(options["prior"])) if "prior" in options else None
    settings = {"pictures": PICTURES, "steps": STEPS, **options}
    pictures, steps = (whole(settings, key) for key in ("pictures", "steps"))
    return bench_image(name, rounds, progress, splits=splits, prior=prior, pictures=pictures, steps=steps)


class Work:
    """One split point: features of noise pictures, a prior, and an inversion network of each kind."""

    def __init__(
        self, found: ImageVictim, split: str, prior: Prior, folder: Path, pictures: int, steps: int, scratch: Path
    ) -> None:
        self.pictures, self.steps = pictures, steps
        self._victim, self._split, self._prior, self._folder = found, split, prior, folder
        head = Split(found.network(RANDOM).requires_grad_(False), found.layers.get(split, split)).head
        preprocessing = found.preprocessing

        def features(pictures: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = head(preprocessing.normalised(pictures))
            return result

        drawn = torch.rand(pictures, 3, *found.size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            heard = features(drawn)
        self._problem = Problem(features, heard, found.size, tuple(range(pictures)))
        self._settings = DiffusionSettings(iterations=ITERATIONS, steps=steps, snapshots=0)
        edge = found.cut(split, RANDOM).head()
        images = np.random.default_rng(0).integers(0, 256, (max(ASKED.values()), *found.size, 3), np.uint8)
        self._frames = [_captured(n, sent(edge, Sample(str(n), {"image": image}))) for n, image in enumerate(images)]
        self._inverters = {kind: self._inverter(kind, scratch / f"{kind}.safetensors") for kind in ASKED}

    def diffusion(self) -> Mapping[str, Measure]:
        """The batch, the same batch again, and the loop."""
        return {
            BATCHED: partial(_timed, self.batch),
            AGAIN: partial(_timed, self.batch),
            LOOP: partial(_timed, self.loop),
        }

    def networks(self) -> Mapping[str, Measure]:
        """One pass over :data:`ASKED` pictures by each kind."""
        return {kind: partial(_timed, partial(self._invert, kind)) for kind in ASKED}

    def batch(self) -> np.ndarray:
        """All pictures, uint8 (N, H, W, 3), by one descent."""
        return diffusion(self._problem, self._settings, self._prior).images

    def loop(self) -> np.ndarray:
        """The same pictures by a descent each."""
        whole = self._problem
        parts = [replace(whole, features=whole.features[i : i + 1], frames=(i,)) for i in range(self.pictures)]
        return np.concatenate([diffusion(part, self._settings, self._prior).images for part in parts])

    def _invert(self, kind: str) -> None:
        frames = self._frames[: ASKED[kind]]
        alone = kind == "inversion-diffusion"
        for part in [[frame] for frame in frames] if alone else [frames]:
            self._inverters[kind].observe(part)

    def _inverter(self, kind: str, path: Path) -> Inverter:
        """A network with fresh weights, as a training would leave it."""
        chosen: Any = attack(kind)
        if not isinstance(chosen, InversionByNetwork):
            raise InputError(f"attack {kind}: is no inversion network; accepted: one that learns from queries")
        grants = Grants({"prior": self._folder})
        renderer = chosen.renderer(chosen.kind(), grants, self._victim.side)
        features = tuple(self._problem.features.shape[1:])
        network = InversionNetwork(Shape(features, renderer.side, renderer.made)).eval()
        card = Card(
            kind, self._victim.name, self._split, features, renderer.side, renderer.made, 1, network.shape.width,
            network.middle, renderer.prior, 0, 0, 0, 0.0, 0.0, "{}",
        )  # fmt: skip
        made = save_trained(path, network, card, np.zeros((0, 32), np.uint8))
        session = SessionInfo("bench", self._victim.name, self._split, "", ())
        return chosen.open(session, replace(grants, files={**grants.files, "inverter": made}))


def _prior(given: Path | None, scratch: Path, parameters: PriorTraining | None) -> tuple[Path, str]:
    """A folder, and what it is."""
    if given is not None:
        return given, f"given, {given.name}"
    shipped = weights_folder() / PRIOR
    if parameters is None and shipped.is_dir():
        return shipped, f"shipped, {PRIOR}"
    shape = parameters or PriorTraining()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        folder = write_folder(
            scratch / "prior", new_autoencoder(shape.width), Denoiser(shape, new_tokenizer(all_captions()))
        )
    return folder, f"random weights, autoencoder of width {shape.width}, U-Net of {shape.channels} channels"


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _timed(run: Callable[[], object]) -> Mapping[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return {"CPU seconds": time.process_time() - cpu, "wall seconds": time.perf_counter() - wall}


def _captured(number: int, parts: Sequence[Any]) -> CapturedFrame:
    heard = [CapturedPart("up", 0, part, len(parts), payload, 0, 0) for part, payload in enumerate(parts)]
    return CapturedFrame("bench", 0, number, heard)


def _part(progress: Progress, begin: float, end: float) -> Progress:
    def told(done: float, total: float, note: str = "") -> None:
        progress(begin + (end - begin) * done / total, 1.0, note)

    return told


Rounds = Mapping[str, Sequence[Mapping[str, float]]]


def _compared(work: Work, timed: Rounds, quantity: str) -> Comparison:
    case = f"diffusion, {work.pictures} pictures, {work.steps} steps"
    return Comparison(
        case, LOOP, BATCHED, quantity, ratio(timed, LOOP, BATCHED, quantity), ratio(timed, AGAIN, BATCHED, quantity)
    )


def _speed(work: Work, timed: Rounds) -> list[tuple[str, str]]:
    """An iteration here is its share of a descent, the evaluation of the last iterate included."""
    facts = []
    for name in (BATCHED, LOOP):
        seconds = median(row["CPU seconds"] for row in timed[name]) / ITERATIONS
        single = seconds / work.pictures
        rate = f"{work.pictures} pictures at {1 / seconds:.2f} iterations" if name == BATCHED else (
            f"one picture at {1 / single:.2f} iterations"
        )  # fmt: skip
        facts.append((f"diffusion, {name}", f"{rate} a CPU-second; 100 iterations: {100 * single:.1f} s a picture"))
    return facts


def _peaks(memory: bench_memory.Memory) -> list[tuple[str, str]]:
    facts = [(f"latents of {MEMORY_PICTURES} pictures", f"{memory.latents / 1e3:.1f} kB")]
    for name, peaks in (("each U-Net call recomputed", memory.recomputed), ("all activations kept", memory.kept)):
        told = ", ".join(f"{size / 1e6:.2f} MB at {steps} steps" for steps, size in peaks.items())
        more = f"{bench_memory.slope(peaks) / memory.latents:.2f} times the latents a step"
        facts.append((f"peak of one iteration, {name}", f"{told}: {more}"))
    return facts


def _rates(work: Work, passes: Rounds) -> list[tuple[str, str]]:
    facts = []
    for kind, rows in passes.items():
        how = "one by one, 4 steps" if kind == "inversion-diffusion" else f"{ASKED[kind]} at once"
        told = [f"{_rate(rows, quantity, ASKED[kind]):.1f} a {quantity[:-1]}" for quantity in rows[0]]
        facts.append((f"{kind}, pictures, {how}", " and ".join(told)))
    return facts


def _rate(rows: Sequence[Mapping[str, float]], quantity: str, pictures: int) -> float:
    return pictures / median(row[quantity] for row in rows)


def _gate(title: str, found: float, aim: float, how: str, unit: str) -> str:
    held = found >= aim if how == "at least" else found <= aim
    return f"{title}: {found:.2f} {unit}, aim {how} {aim:g}: {'held' if held else 'NOT HELD'}"
