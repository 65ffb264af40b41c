"""An inverter that learns from every step of a training and answers the pictures between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from attacker.attacks.base import CapturedFrame, Reconstruction
from attacker.attacks.radiance.heard import HeardStep, View, heard
from attacker.attacks.radiance.shelf import Kept, Shelf
from victims.base import State
from wire.payload import Meta


@dataclass(frozen=True)
class Pictured:
    """arrays: ``image`` float32 (H, W, 3) in 0..1, ``depth`` float32 (H, W) where there is one. meta: the attack's."""

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Meta]


class Listening(Protocol):
    """What an attack does with the frames, without a thought for gaps, restarts and rollbacks."""

    def learn(self, heard: HeardStep) -> None:
        """One step of the training. InputError for one that it cannot go on from; it stays as it was then."""

    def picture(self, asked: View) -> Pictured:
        """The picture of a pose. InputError where that cannot be had."""

    def state(self) -> State:
        """All that was learnt."""

    def load(self, state: State) -> None:
        """Go back to it."""


class OnlineInverter:
    """Frames in order: steps are learnt from, pictures are answered.

    Steps that were not heard are counted and named in each picture's meta (``missed``); an attack that cannot do
    without them raises. On a rollback it goes back to the newest state that it kept of an earlier frame, or starts anew
    (``restarts`` counts both), and so it does after a kill.
    """

    def __init__(self, attack: str, begin: Callable[[], Listening], shelf: Shelf | None, every: int) -> None:
        self._attack, self._begin, self._shelf, self._every = attack, begin, shelf, every
        self._listening = begin()
        self._incarnation = self._frame = -1  # of the last frame that was learnt from
        self._next = 0  # the step that comes next
        self._missed = self._restarts = 0
        if shelf is not None and (kept := shelf.newest()) is not None:
            self._go_on(kept)

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        """Pictures bring a reconstruction each, steps none. InputError for what cannot be learnt from or pictured."""
        made = []
        for frame in frames:
            found = heard(frame)
            if isinstance(found, View):
                made.append(self._pictured(frame, found))
            else:
                self._learn(frame, found)
        return made

    def rewind(self, incarnation: int, step: int) -> None:
        """Frames from number ``step`` on come again, in another incarnation."""
        self._incarnation = incarnation
        if self._frame < step:
            return
        if self._shelf is not None:
            self._shelf.forget(step)
        kept = self._shelf.newest(step) if self._shelf is not None else None
        if kept is not None:
            self._go_on(kept, incarnation)
            return
        self._listening = self._begin()
        self._frame, self._next, self._missed = -1, 0, 0
        self._restarts += 1

    def finish(self) -> Sequence[Reconstruction]:
        """Nothing is held back."""
        return []

    def _learn(self, frame: CapturedFrame, found: HeardStep) -> None:
        if frame.incarnation > self._incarnation >= 0 and frame.frame <= self._frame:
            self.rewind(frame.incarnation, frame.frame)  # it happened while this listener was down
        if frame.frame <= self._frame:
            return  # heard before the last kill
        self._listening.learn(found)
        self._missed += max(found.step - self._next, 0)
        self._incarnation, self._frame, self._next = frame.incarnation, frame.frame, found.step + 1
        if self._shelf is not None and self._next % self._every == 0:
            state = self._listening.state()
            place: dict[str, Meta] = {"next": self._next, "missed": self._missed, "restarts": self._restarts}
            meta = {**state.meta, **{f"online.{key}": value for key, value in place.items()}}
            self._shelf.keep(Kept(self._incarnation, self._frame, State(state.tensors, meta)))

    def _pictured(self, frame: CapturedFrame, asked: View) -> Reconstruction:
        missed = self._missed + max(asked.step - self._next, 0)
        made = self._listening.picture(asked)
        meta: dict[str, Meta] = {"step": asked.step, "view": asked.view, "missed": missed, "restarts": self._restarts}
        return Reconstruction(frame.session, (frame.frame,), self._attack, made.arrays, {**meta, **made.meta})

    def _go_on(self, kept: Kept, incarnation: int | None = None) -> None:
        own = {key: value for key, value in kept.state.meta.items() if not key.startswith("online.")}
        place = {key: int(kept.state.meta[f"online.{key}"]) for key in ("next", "missed", "restarts")}  # type: ignore[arg-type]
        self._listening = self._begin()
        self._listening.load(State(kept.state.tensors, own))
        self._incarnation = kept.incarnation if incarnation is None else incarnation
        self._frame, self._next, self._missed = kept.frame, place["next"], place["missed"]
        self._restarts = max(place["restarts"], self._restarts) + 1
