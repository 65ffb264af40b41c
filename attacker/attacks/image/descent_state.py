"""Where a descent stands, and a shelf in the attack's folder on which it survives a kill."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from attacker.attacks.image.course import Course

SAVE_EVERY_S = 30.0

_COURSE = ("snapshots", "iteration", "cpu_s", "curve", "curve_iteration")
_BEST = ("best", "pictures", "total", "feature")
_ADAM = ("exp_avg", "exp_avg_sq", "step")


@dataclass
class DescentState:
    """iteration: the next to be evaluated. best, pictures, total, feature: of the iterate that is kept, by row; total
    is infinite and pictures are empty before the first. held: variable and Adam's moments, as read from a shelf."""

    iteration: int
    cpu_s: float
    best: Tensor
    pictures: Tensor
    total: Tensor
    feature: Tensor
    course: Course
    held: dict[str, Tensor]

    @classmethod
    def fresh(cls, start: Tensor) -> DescentState:
        """Before the first iteration."""
        worst = torch.full((len(start),), torch.inf, dtype=start.dtype, device=start.device)
        nothing = start.new_empty(0)
        return cls(0, 0.0, start.detach().clone(), nothing, worst, worst.clone(), Course.empty(len(start), 0, 0), {})

    def keep(self, variable: Tensor, pictures: Tensor, total: Tensor, feature: Tensor, *, always: bool) -> None:
        """Take over the rows whose total loss is lower than any before (or all of them)."""
        with torch.no_grad():
            if not self.iteration:
                self.pictures = pictures.detach().clone()
                self.course = Course.empty(len(pictures), *pictures.shape[2:])
            better = total < self.total
            if always:
                better = torch.ones_like(better)
            for mine, new in ((self.best, variable), (self.pictures, pictures), (self.total, total)):
                mine[better] = new.detach()[better]
            self.feature[better] = feature.detach()[better]

    def into(self, variable: Tensor, adam: torch.optim.Adam) -> None:
        """Put what a shelf held into the variable and its optimiser."""
        with torch.no_grad():
            variable.copy_(self.held["variable"])
        if self.held["step"].item():
            adam.state[variable] = {name: self.held[name] for name in _ADAM}
        self.held = {}


class Shelf:
    """One descent's place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved = time.monotonic()

    def load(self, like: Tensor) -> DescentState | None:
        """The state that was kept, on the device of ``like``; None where there is none, or none that can be read."""
        try:
            with safe_open(self.path, framework="pt") as file:
                said = json.loads(file.metadata()["descent"])
                held = {name: file.get_tensor(name) for name in list(file.keys())}
            course = Course(**{name: held.pop(f"course.{name}") for name in _COURSE})
            step = held.pop("step")  # Adam counts on the CPU
            held = {name: tensor.to(like.device) for name, tensor in held.items()}
            best = {name: held.pop(name) for name in _BEST}
            iteration, cpu_s = int(said["iteration"]), float(said["cpu_s"])
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None  # absent, or cut short by a dying disk: begin anew
        return DescentState(iteration, cpu_s, **best, course=course, held={**held, "step": step})

    def maybe_save(self, state: DescentState, variable: Tensor, adam: torch.optim.Adam, *, last: bool) -> None:
        """Keep the state if the last time was long ago, or if it is the last."""
        if not last and time.monotonic() - self._saved < SAVE_EVERY_S:
            return
        moments = adam.state.get(variable) or {
            "exp_avg": torch.zeros_like(variable),
            "exp_avg_sq": torch.zeros_like(variable),
            "step": torch.tensor(0.0),
        }
        tensors = {
            "variable": variable.detach(),
            **{name: moments[name] for name in _ADAM},
            **{name: getattr(state, name) for name in _BEST},
            **{f"course.{name}": getattr(state.course, name) for name in _COURSE},
        }
        said = json.dumps({"iteration": state.iteration, "cpu_s": state.cpu_s})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.{threading.get_ident()}.part")
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary, {"descent": said})
        os.replace(temporary, self.path)
        self._saved = time.monotonic()


class Shelves:
    """The places of an inversion's descents in ``folder``. key: digest of all that makes the inversion what it is."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key
        self._given: list[Path] = []

    def shelf(self, stage: str) -> Shelf:
        """The place of the descent called ``stage``."""
        digest = hashlib.sha256(f"{self._key}|{stage}".encode()).hexdigest()[:32]
        path = self._folder / f"descent-{digest}.safetensors"
        self._given.append(path)
        return Shelf(path)

    def clear(self) -> None:
        """Forget them all."""
        for path in self._given:
            path.unlink(missing_ok=True)
        self._given.clear()
