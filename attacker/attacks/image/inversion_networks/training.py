"""Training on answered queries: Adam, a held-out share that chooses the epoch, a checkpoint after every epoch.

Everything random in an epoch is drawn from (seed, epoch) and the rate is a function of the step, so that a resumed
training does the same arithmetic as an uninterrupted one.
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacker.attacks.image.inversion_networks.answers import Answers
from attacker.attacks.image.inversion_networks.network import InversionNetwork
from attacker.attacks.image.inversion_networks.rendering import Renderer
from attacker.attacks.image.inversion_networks.settings import InversionSettings
from attacker.attacks.image.losses import total_variation
from victims.base import Progress
from victims.image.preprocessing import pictures_of
from wire.errors import InputError
from wire.seeds import generator

LEAST = 16
"""Fewer pictures (or clips) than these are no training set."""
HELD, MOST_HELD = 16, 256
"""One of so many queries is held out, at most so many."""
FLOOR = 0.02
"""Share of the rate that is left at the end of the cosine."""


@dataclass(frozen=True)
class Clips:
    """Answers in groups of ``frames`` consecutive ones; what does not fill a group is left out."""

    answers: Answers
    frames: int

    def __len__(self) -> int:
        return len(self.answers) // self.frames

    def batch(self, chosen: np.ndarray, device: str) -> tuple[Tensor, Tensor, list[str]]:
        """Features (B, frames, ...), pictures (B * frames, 3, S, S) in 0..1, and B * frames prompts."""
        rows = (chosen[:, None] * self.frames + np.arange(self.frames)).reshape(-1)
        features = torch.from_numpy(self.answers.features[rows])
        features = features.reshape(len(chosen), self.frames, *features.shape[1:])
        pictures = pictures_of(self.answers.images[rows])
        return features.to(device), pictures.to(device), [self.answers.prompts[row] for row in rows]


@dataclass
class Best:
    """The epoch with the highest mean PSNR on the held-out queries, and its weights."""

    epoch: int = 0
    psnr: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


class Training:
    """One training in ``work``. held: numbers of the clips that choose the epoch. best: that epoch. seconds: of CPU."""

    def __init__(
        self,
        network: InversionNetwork,
        renderer: Renderer,
        answers: Answers,
        settings: InversionSettings,
        *,
        seed: int,
        device: str,
        work: Path,
        origin: str,
    ) -> None:
        """origin: what else makes this training what it is; a checkpoint of another one is refused."""
        self.network, self.renderer, self.settings = network, renderer, settings
        self._seed, self._device, self._work = seed, device, work
        self._clips = Clips(answers, settings.frames)
        if len(self._clips) < LEAST:
            what = "pictures" if settings.frames == 1 else f"clips of {settings.frames} frames"
            raise InputError(f"{len(self._clips)} {what} were asked for; accepted: at least {LEAST} to learn from")
        held = min(max(1, len(self._clips) // HELD), MOST_HELD)
        order = generator(seed, "inversion.held").permutation(len(self._clips))
        self.held, self._learnt = np.sort(order[:held]), np.sort(order[held:])
        self._batch = min(settings.batch, len(self._learnt))
        self._steps = len(self._learnt) // self._batch
        self._origin = json.dumps([origin, asdict(settings), seed, len(answers)])
        self._checkpoint = work / "training.ckpt"
        self._optimiser = torch.optim.Adam(network.parameters(), lr=settings.lr)
        self._epoch, self.seconds, self.best = 0, 0.0, Best()
        self._rows: list[dict[str, float]] = []
        if self._checkpoint.exists():
            self._resume()
        else:
            self._standardise()

    def run(self, progress: Progress) -> None:
        """Train from the last checkpoint to the end; the network then has the best epoch's weights, in eval mode."""
        total = self.settings.epochs * self._steps
        while self._epoch < self.settings.epochs:
            began = time.process_time()
            loss = 0.0
            for step, chosen in enumerate(self._batches()):
                loss += self._step(self._epoch * self._steps + step, chosen) / self._steps
                progress(self._epoch * self._steps + step + 1, total, self._note())
            psnr = self._measure()
            self._epoch += 1
            if psnr > self.best.psnr:
                weights = {k: v.detach().cpu().clone() for k, v in self.network.state_dict().items()}
                self.best = Best(self._epoch, psnr, weights)
            self.seconds += time.process_time() - began
            self._rows.append({"epoch": self._epoch, "cpu_s": round(self.seconds, 2), "loss": loss, "psnr": psnr})
            self._save()
        self._write_curve()
        self.network.load_state_dict(self.best.weights)
        self.network.eval().requires_grad_(False)

    def _batches(self) -> Iterator[np.ndarray]:
        order = generator(self._seed, "inversion.order", 0, self._epoch).permutation(self._learnt)
        for first in range(0, self._steps * self._batch, self._batch):
            yield np.sort(order[first : first + self._batch])

    def _rate(self, step: int) -> float:
        if self.settings.schedule == "constant":
            return self.settings.lr
        cosine = (1 + math.cos(math.pi * step / (self.settings.epochs * self._steps))) / 2
        return self.settings.lr * (FLOOR + (1 - FLOOR) * cosine)

    def _step(self, step: int, chosen: np.ndarray) -> float:
        features, pictures, prompts = self._clips.batch(chosen, self._device)
        self.network.train()
        output, made = self._made(features, prompts)
        loss = self._loss(output, made, pictures, prompts)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(step)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        return float(loss.detach())

    def _made(self, features: Tensor, prompts: list[str]) -> tuple[Tensor, Tensor]:
        half = self.settings.precision == "bfloat16"
        with torch.autocast(torch.device(self._device).type, torch.bfloat16, enabled=half):
            output = self.network(features).flatten(0, 1)
            made = self.renderer.pictures(output, prompts)
        return output.float(), made.float()

    def _loss(self, output: Tensor, made: Tensor, pictures: Tensor, prompts: list[str]) -> Tensor:
        """Equations 5 and 11 to 13, divided by the values of a picture: the mean squared error leads."""
        terms = (made - pictures).square().flatten(1).sum(1)
        if self.settings.tv:
            terms = terms + self.settings.tv * total_variation(made)
        penalty = self.renderer.penalty(output, prompts)
        if penalty is not None:
            terms = terms + penalty
        return terms.mean() / pictures[0].numel()

    @torch.no_grad()
    def _measure(self) -> float:
        """Mean PSNR of the held-out queries, dB."""
        self.network.eval()
        found = []
        for first in range(0, len(self.held), self._batch):
            features, pictures, prompts = self._clips.batch(self.held[first : first + self._batch], self._device)
            made = self._made(features, prompts)[1]
            square = (made.clamp(0, 1) - pictures).square().flatten(1).mean(1)
            found.append(-10 * square.clamp_min(1e-10).log10())
        return float(torch.cat(found).mean())

    def _standardise(self) -> None:
        """Mean and deviation of each channel over the queries that are learnt from."""
        total = squares = torch.zeros(self.network.maps.channels, dtype=torch.float64)
        count = 0
        for first in range(0, len(self._learnt), 256):
            features = self._clips.batch(self._learnt[first : first + 256], "cpu")[0]
            maps = self.network.maps.fold(features.flatten(0, 1)).double()
            total, squares = total + maps.sum((0, 2, 3)), squares + maps.square().sum((0, 2, 3))
            count += maps.shape[0] * maps.shape[2] * maps.shape[3]
        mean = total / count
        self.network.standardise(mean.float(), (squares / count - mean.square()).clamp_min(0).sqrt().float())

    def _note(self) -> str:
        kept = f", held out {self.best.psnr:.2f} dB" if self.best.epoch else ""
        return f"epoch {self._epoch + 1} of {self.settings.epochs}{kept}"

    def _save(self) -> None:
        saved: dict[str, Any] = {
            "origin": self._origin,
            "epoch": self._epoch,
            "seconds": self.seconds,
            "rows": self._rows,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "best": asdict(self.best),
        }
        part = self._checkpoint.with_suffix(".part")
        torch.save(saved, part)
        os.replace(part, self._checkpoint)
        self._write_curve()

    def _write_curve(self) -> None:
        """``curve.csv``: epoch, CPU seconds, mean loss, PSNR on the held-out queries (dB)."""
        part = self._work / "curve.part"
        with part.open("w", newline="") as out:
            writer = csv.DictWriter(out, ["epoch", "cpu_s", "loss", "psnr"])
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(part, self._work / "curve.csv")

    def _resume(self) -> None:
        saved = torch.load(self._checkpoint, weights_only=True, map_location=self._device)
        if saved["origin"] != self._origin:
            raise InputError(
                f"{self._checkpoint}: was begun with other settings, another victim or other queries; "
                "accepted: the same ones, or an empty folder"
            )
        self.network.load_state_dict(saved["network"])
        self._optimiser.load_state_dict(saved["optimiser"])
        self._epoch, self.seconds, self._rows = saved["epoch"], saved["seconds"], saved["rows"]
        self.best = Best(**saved["best"])
