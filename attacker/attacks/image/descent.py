"""Gradient descent on pictures that share a batch and nothing else.

The losses of the pictures are summed and Adam works element by element, so that a picture's course does not depend on
its neighbours, but for the rounding of larger kernels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from attacker.attacks.image.choices import choice, number
from attacker.attacks.image.course import CURVE_POINTS, Course, log_spaced
from attacker.attacks.image.descent_state import DescentState, Shelf
from attacker.attacks.image.losses import FEATURE_LOSSES, total_variation
from victims.base import Progress, silent

FLOOR = 0.02
"""Share of the learning rate that is left at the end of the cosine."""


@dataclass(frozen=True)
class Variable:
    """What is descended on.

    start: (rows, ...). pictures: such a variable -> pictures (rows, 3, H, W) about 0..1. penalty: -> prior terms
    (rows,) beside total variation; None where there are none.
    """

    start: Tensor
    pictures: Callable[[Tensor], Tensor]
    penalty: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Plan:
    """How far, how fast, and what is kept.

    loss: of features (:data:`attacker.attacks.image.losses.FEATURE_LOSSES`); tv: weight of total variation. schedule:
    of the learning rate, ``cosine`` to 2 % or ``constant``. keep: the iterate with the lowest total loss, or the last
    one as the paper does. snapshots: about so many pictures of the course are kept.
    """

    iterations: int = number(600, 0, 1_000_000)
    lr: float = number(0.05, 1e-6, 100)
    tv: float = number(0.1, 0, 1e6)
    loss: str = choice("relative", tuple(FEATURE_LOSSES))
    schedule: str = choice("cosine", ("cosine", "constant"))
    keep: str = choice("best", ("best", "last"))
    snapshots: int = number(12, 0, 1000)

    def rate(self, iteration: int) -> float:
        """The learning rate of the step after evaluation ``iteration``."""
        if self.schedule == "constant":
            return self.lr
        cosine = (1 + math.cos(math.pi * iteration / self.iterations)) / 2
        return self.lr * (FLOOR + (1 - FLOOR) * cosine)


@dataclass(frozen=True)
class Descended:
    """variable: (rows, ...) and its pictures (rows, 3, H, W), losses total and feature (rows,). cpu_s: CPU seconds."""

    variable: Tensor
    pictures: Tensor
    total: Tensor
    feature: Tensor
    course: Course
    cpu_s: float


def cpu_clock() -> Callable[[], float]:
    """CPU seconds: of this thread where torch uses no others, so that several workers do not count each other."""
    return time.thread_time if torch.get_num_threads() == 1 else time.process_time


def descend(
    variable: Variable,
    head: Callable[[Tensor], Tensor],
    features: Tensor,
    plan: Plan,
    *,
    shelf: Shelf | None = None,
    progress: Progress = silent,
    note: str = "",
) -> Descended:
    """``plan.iterations`` steps of Adam, betas (0.9, 0.999), from ``variable.start`` towards ``features`` (rows, ...).

    head: pictures (rows, 3, H, W) in 0..1 to features of that shape. shelf: where a state is kept every
    :data:`attacker.attacks.image.descent_state.SAVE_EVERY_S` seconds and looked for at the start; a resumed descent
    equals an uninterrupted one bit for bit, but for its times. progress: hears of steps.
    """
    loss_of = FEATURE_LOSSES[plan.loss]
    shown = log_spaced(plan.iterations, plan.snapshots)
    stride = max(plan.iterations // CURVE_POINTS, 1)
    told = max(plan.iterations // 100, 1)
    start = variable.start.detach().clone()
    adam = torch.optim.Adam([start.requires_grad_()], lr=plan.lr, betas=(0.9, 0.999), foreach=False)
    state = shelf.load(start) if shelf is not None else None
    if state is None:
        state = DescentState.fresh(start)
    else:
        state.into(start, adam)
    clock = cpu_clock()
    began = clock() - state.cpu_s
    with torch.enable_grad():
        while state.iteration <= plan.iterations:
            iteration = state.iteration
            pictures = variable.pictures(start)
            feature = loss_of(head(pictures), features)
            total = feature + plan.tv * total_variation(pictures) if plan.tv else feature
            if variable.penalty is not None:
                total = total + variable.penalty(start)
            state.keep(start, pictures, total, feature, always=plan.keep == "last")
            if iteration % stride == 0 or iteration == plan.iterations:
                state.course.losses(iteration, total, feature)
            if iteration in shown:
                state.course.picture(iteration, state.pictures, clock() - began)
            if iteration < plan.iterations:
                (start.grad,) = torch.autograd.grad(total.sum(), start)
                adam.param_groups[0]["lr"] = plan.rate(iteration)
                adam.step()
            state.iteration, state.cpu_s = iteration + 1, clock() - began
            if shelf is not None:
                shelf.maybe_save(state, start, adam, last=iteration == plan.iterations)
            if iteration % told == 0 or iteration == plan.iterations:
                progress(iteration, max(plan.iterations, 1), note)
    return Descended(state.best, state.pictures, state.total, state.feature, state.course, state.cpu_s)
