"""The cloud's end of split training: rays to embeddings, gradients to a step of its own optimiser."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from victims.base import State
from victims.radiance.camera import rays
from victims.radiance.layouts import ACKNOWLEDGEMENT, EMBEDDINGS, GRADIENTS, RAYS
from victims.radiance.networks import CloudPart
from victims.radiance.optimiser import Optimiser
from victims.radiance.sampling import jitter, place, stretch
from victims.radiance.settings import Training
from wire.errors import DecodeError
from wire.payload import Payload

KEPT_POINTS: Final = 1 << 17
"""For so many points of a step the forward pass is kept until their gradients come; for the rest it is done again.
The result is the same bit for bit. Of each other point its place is kept, 12 bytes, however large a step is."""


@dataclass
class _Chunk:
    """One part of an open step: its points, and its embeddings where they were kept."""

    positions: Tensor
    shape: tuple[int, int, int]
    embeddings: Tensor | None


@dataclass
class _Step:
    """A step between its first rays and its last gradients."""

    number: int
    parts: int
    chunks: list[_Chunk] = field(default_factory=list)
    taken: int = 0  # parts whose gradients have come
    points: int = 0


class RadianceTail:
    """One session's half of the field. The weights change on the last gradient part of a step and at no other time."""

    accepts = frozenset({RAYS, GRADIENTS})

    def __init__(self, part: CloudPart, settings: Training) -> None:
        self.part = copy.deepcopy(part)
        self._settings = settings
        self._optimiser = Optimiser(self.part, settings)
        self._open: _Step | None = None

    @property
    def done(self) -> int:
        """The number of the next step."""
        return self._optimiser.done

    def reply(self, payload: Payload) -> Payload:
        """Embeddings for rays, an acknowledgement for gradients.

        DecodeError, and no weight changed, for a step that is behind, a part out of its turn, gradients of another
        step or shape, and gradients that sum up to no finite number.
        """
        if payload.layout == RAYS:
            return self._embed(payload)
        if payload.layout == GRADIENTS:
            return self._learn(payload)
        raise DecodeError(
            f"layout {payload.layout!r} is not for the cloud; accepted: {', '.join(sorted(self.accepts))}"
        )

    def state(self) -> State:
        """As after the last whole step; of an open one nothing is kept."""
        return self._optimiser.state()

    def load(self, state: State) -> None:
        """Go on from ``state``; an open step is forgotten. InputError where it is another network's."""
        self._optimiser.load(state)
        self._open = None

    def _embed(self, payload: Payload) -> Payload:
        step, part, parts = _numbers(payload)
        train = bool(payload.meta["train"])
        if train:
            self._begin(step, part, parts)
        positions, distances = self._points(payload, jittered=train)
        keep = self._open is not None and train and self._open.points + len(positions) <= KEPT_POINTS
        with torch.set_grad_enabled(keep):
            embeddings = self.part(positions)
        shape = (*distances.shape, embeddings.shape[1])
        if train and self._open is not None:
            self._open.points += len(positions)
            self._open.chunks.append(_Chunk(positions, shape, embeddings if keep else None))
        crossing = embeddings.detach().view(shape).to(self._settings.crossing)
        return Payload(
            "embeddings",
            EMBEDDINGS,
            {"embeddings": crossing, "distances": distances},
            {"step": step, "part": part, "parts": parts},
        )

    def _begin(self, step: int, part: int, parts: int) -> None:
        """Open a step with its first part, or check that this is the open step's next one."""
        if part == 0:
            if step < self.done:
                raise DecodeError(f"rays of step {step}; steps to {self.done - 1} are done, accepted: from {self.done}")
            self._optimiser.clear()
            self._open = _Step(step, parts)
            return
        opened = self._open
        wanted = None if opened is None else (opened.number, len(opened.chunks), opened.parts)
        if wanted != (step, part, parts) or (opened is not None and opened.taken):
            raise DecodeError(f"rays of step {step}, part {part} of {parts}; {_expected('rays', wanted)}")

    def _points(self, payload: Payload, *, jittered: bool) -> tuple[Tensor, Tensor]:
        """Sample points (R * S, 3) and their distances (R, S)."""
        step, part, _ = _numbers(payload)
        pixels, meta, samples = payload.tensors["pixels"], payload.meta, self._settings.samples
        origin, directions = rays(payload.tensors["pose"], meta["focal"], meta["centre"], meta["size"][1], pixels)  # type: ignore[arg-type, index]
        draws = jitter(self._settings.seed, step, part, len(pixels), samples) if jittered else None
        enter, leave = stretch(origin, directions, meta["box"], float(meta["near"]))  # type: ignore[arg-type]
        distances = place(enter, leave, samples, draws)
        return (origin + distances[..., None] * directions[:, None]).view(-1, 3), distances

    def _learn(self, payload: Payload) -> Payload:
        step, part, parts = _numbers(payload)
        gradient, opened = payload.tensors["gradients"], self._open
        whole = opened is not None and len(opened.chunks) == opened.parts
        wanted = (opened.number, opened.taken, opened.parts) if opened is not None and whole else None
        if opened is None or wanted != (step, part, parts):
            raise DecodeError(f"gradients of step {step}, part {part} of {parts}; {_expected('gradients', wanted)}")
        chunk = opened.chunks[part]
        if tuple(gradient.shape) != chunk.shape:
            raise DecodeError(
                f"gradients of step {step}, part {part}: {tuple(gradient.shape)}; accepted: {chunk.shape}"
            )
        embeddings = self.part(chunk.positions) if chunk.embeddings is None else chunk.embeddings
        embeddings.backward(  # type: ignore[no-untyped-call]
            gradient.float().view(embeddings.shape)
        )
        opened.taken, chunk.embeddings = part + 1, None
        if opened.taken == opened.parts:
            self._open = None
            self._optimiser.step(step)
        return Payload("result", ACKNOWLEDGEMENT, {}, {"step": step, "part": part, "parts": parts})


def _numbers(payload: Payload) -> tuple[int, int, int]:
    """Step, part and parts, which the layout has checked."""
    meta = payload.meta
    return int(meta["step"]), int(meta["part"]), int(meta["parts"])  # type: ignore[arg-type]


def _expected(what: str, wanted: tuple[int, int, int] | None) -> str:
    if wanted is None:
        return "accepted: part 0 of rays" if what == "rays" else "no step waits for gradients"
    return f"accepted: step {wanted[0]}, part {wanted[1]} of {wanted[2]}"
