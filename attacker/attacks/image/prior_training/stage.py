"""One stage of a training that can be killed at any moment and lengthened afterwards.

Everything random in step n is drawn from (seed, stage, n), and the learning rate is a function of n, so that a resumed
training does the same arithmetic as an uninterrupted one, and a checkpoint needs no random state.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from victims.base import Progress
from wire.errors import InputError
from wire.seeds import sequence

REPORT_EVERY = 20

Losses = Mapping[str, Tensor]
"""Terms of one step by name; ``loss`` is what is minimised, the others are recorded."""


@dataclass(frozen=True)
class Schedule:
    """Warm-up, constant rate, cosine to zero over the last ``decay`` of ``steps``."""

    steps: int
    rate: float
    warmup: int
    decay: int

    def at(self, step: int) -> float:
        """The learning rate of step ``step`` (from 0)."""
        left = self.steps - step
        falling = 0.5 - 0.5 * math.cos(math.pi * left / self.decay) if left < self.decay else 1.0
        return self.rate * min(1.0, (step + 1) / max(1, self.warmup)) * falling


class Stage:
    """An optimiser over ``module``, an average of its weights, checkpoints and a curve in ``work``.

    shape: what the shapes of the weights do not tell of the module (its number of heads); a checkpoint of another is
    refused.
    """

    def __init__(
        self,
        name: str,
        work: Path,
        module: nn.Module,
        schedule: Schedule,
        *,
        seed: int,
        averaging: float,
        shape: str = "",
    ) -> None:
        self.name, self.work, self.module, self.schedule, self.seed = name, work, module, schedule, seed
        self.averaging, self.shape = averaging, shape
        self.path, self.curve = work / f"{name}.ckpt", work / f"{name}.csv"
        self.optimiser = torch.optim.AdamW(module.parameters(), lr=schedule.rate, weight_decay=0.01)
        self.average = {key: value.detach().clone() for key, value in module.state_dict().items()}
        self.done, self.seconds = 0, 0.0
        if self.path.exists():
            self._resume()
        self._trim_curve()

    def _resume(self) -> None:
        saved = torch.load(self.path, weights_only=True, map_location="cpu")
        if saved.get("shape", "") != self.shape:
            before = saved.get("shape", "") or "unknown"
            raise InputError(f"{self.path}: is of a network with {before}; these settings make {self.shape}")
        try:
            self.module.load_state_dict(saved["module"])
        except RuntimeError as error:
            first = str(error).splitlines()[0]
            raise InputError(f"{self.path}: is of another network than these settings make ({first})") from error
        self.optimiser.load_state_dict(saved["optimiser"])
        for key, value in saved["average"].items():
            self.average[key].copy_(value)
        self.done, self.seconds = int(saved["done"]), float(saved["seconds"])

    def save(self) -> None:
        """Write the checkpoint atomically."""
        temporary = self.path.with_suffix(".part")
        torch.save(
            {
                "module": self.module.state_dict(),
                "average": self.average,
                "optimiser": self.optimiser.state_dict(),
                "done": self.done,
                "seconds": self.seconds,
                "shape": self.shape,
            },
            temporary,
        )
        os.replace(temporary, self.path)

    def go(
        self,
        losses_of: Callable[[int], Losses],
        progress: Progress,
        checkpoint_seconds: float,
        until: int | None = None,
    ) -> None:
        """Train from the last checkpoint to the schedule's end, or to step ``until``.

        losses_of: from the step's number to its losses; the global generator is seeded for the step before each call.
        checkpoint_seconds: CPU seconds between checkpoints; one is also written at the end.
        """
        end = self.schedule.steps if until is None else min(until, self.schedule.steps)
        sums: dict[str, float] = {}
        marked = saved = time.process_time()
        while self.done < end:
            torch.manual_seed(int(sequence(self.seed, f"prior.{self.name}", 0, self.done).generate_state(1)[0]))
            for group in self.optimiser.param_groups:
                group["lr"] = self.schedule.at(self.done)
            terms = losses_of(self.done)
            self.optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.optimiser.step()
            self.done += 1
            self._take_average()
            for key, value in terms.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach()) / REPORT_EVERY
            now = time.process_time()
            self.seconds, marked = self.seconds + now - marked, now
            if self.done % REPORT_EVERY == 0:
                self._record(sums)
                note = " ".join(f"{key} {value:.4f}" for key, value in sums.items())
                progress(self.done, self.schedule.steps, f"{self.name} {note}")
                sums = {}
            if now - saved >= checkpoint_seconds and self.done % REPORT_EVERY == 0:
                self.save()
                saved = now
        self.save()

    @torch.no_grad()
    def _take_average(self) -> None:
        """Exponential moving average of the weights; a short memory at first, so that the start is forgotten."""
        keep = min(self.averaging, (1 + self.done) / (10 + self.done))
        for key, value in self.module.state_dict().items():
            if value.is_floating_point():
                self.average[key].lerp_(value, 1 - keep)
            else:
                self.average[key].copy_(value)

    def _record(self, means: Mapping[str, float]) -> None:
        row = {"step": self.done, "seconds": f"{self.seconds:.1f}", **{k: f"{v:.6f}" for k, v in means.items()}}
        begun = self.curve.exists()
        with self.curve.open("a", newline="") as out:
            writer = csv.DictWriter(out, list(row))
            if not begun:
                writer.writeheader()
            writer.writerow(row)

    def _trim_curve(self) -> None:
        """Drop the rows of steps that the checkpoint does not know."""
        if not self.curve.exists():
            return
        with self.curve.open(newline="") as file:
            reader = csv.DictReader(file)
            fields = list(reader.fieldnames or [])
            rows = [row for row in reader if int(row["step"]) <= self.done]
        temporary = self.curve.with_suffix(".part")
        with temporary.open("w", newline="") as out:
            writer = csv.DictWriter(out, fields)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, self.curve)
