"""What a network must offer to be cut in two, whatever its modality."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from wire.errors import DecodeError
from wire.payload import Meta, Payload


class Progress(Protocol):
    """Long work reports here; the command line draws it as a bar with the time left."""

    def __call__(self, done: float, total: float, note: str = "") -> None: ...


def silent(done: float, total: float, note: str = "") -> None:
    """A :class:`Progress` that shows nothing."""


@dataclass(frozen=True)
class Sample:
    """What the edge sees: a scan, a picture, a training batch of a scene. Never leaves the edge.

    arrays: the input by name (``points`` float32 (N, 4); ``image`` uint8 (H, W, 3)).
    truth: labels by name, for scoring (``boxes`` float32 (M, 7), ``labels`` int64 (M,)); empty where there are none.
    """

    name: str
    arrays: Mapping[str, np.ndarray]
    truth: Mapping[str, np.ndarray] = field(default_factory=dict)
    meta: Mapping[str, Meta] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 (hex) over the input arrays: the identity used to keep training data and streams apart."""
        h = hashlib.sha256()
        for key in sorted(self.arrays):
            array = np.ascontiguousarray(self.arrays[key])
            h.update(f"{key}|{array.dtype.str}|{array.shape}|".encode())
            h.update(array.tobytes())
        return h.hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What an exchange ends with at the edge (detections, logits, a loss)."""

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Meta] = field(default_factory=dict)


Exchange = Generator[Sequence[Payload], Iterator[Payload], Outcome]
"""Yields a turn (1..n payloads that leave the edge), is sent the replies (lazily, in order, one for each)."""


class Head(Protocol):
    """The part of the victim that runs on the edge."""

    emits: frozenset[str]  # layouts that may leave

    def exchange(self, sample: Sample) -> Exchange: ...


class Tail(Protocol):
    """The part of the victim that runs in the cloud. One per session."""

    accepts: frozenset[str]  # layouts, checked when the session opens

    def reply(self, payload: Payload) -> Payload: ...


@dataclass(frozen=True)
class State:
    """What a stateful part saves: safetensors and json."""

    tensors: Mapping[str, torch.Tensor]
    meta: Mapping[str, Meta]


@runtime_checkable
class Stateful(Protocol):
    """Heads, tails, defenses and inverters that keep state between frames."""

    def state(self) -> State: ...
    def load(self, state: State) -> None: ...


@runtime_checkable
class Trained(Stateful, Protocol):
    """A head or tail that learns in its exchanges. done: how many steps it has taken, the number of the next."""

    @property
    def done(self) -> int: ...


@dataclass(frozen=True)
class Cut:
    """A victim, cut at one split point with one set of weights. Both ends build one and compare digests at Open.

    weights_sha256: over sorted (name, dtype, shape, bytes); config_sha256: over preset and preprocessing.
    train_steps: how many steps the exchange trains for; None for inference.
    """

    victim: str
    split: str
    weights_sha256: bytes
    config_sha256: bytes
    head: Callable[[], Head]
    tail: Callable[[], Tail]
    train_steps: int | None = None
    info: Mapping[str, str] = field(default_factory=dict)


class Victim(Protocol):
    """An entry of :data:`victims.registry.VICTIMS`."""

    name: str
    modality: str  # "lidar" | "image" | "radiance": the folder that holds view, metrics and attacks
    splits: Sequence[str]

    def cut(self, split: str, settings: Mapping[str, Meta]) -> Cut:
        """Build the victim. ``settings``: preset, weights (``shipped``, ``random`` or a path), device, seed."""
        ...

    def samples(self, source: str, settings: Mapping[str, Meta]) -> Iterable[Sample]:
        """The stream of samples: ``source`` is ``procedural`` or a path; ``settings``: preset, frames, seed, view."""
        ...


Validator = Callable[[Payload], None]
LAYOUTS: dict[str, Validator] = {}
"""Layout name -> validator; a validator raises :class:`wire.errors.DecodeError` naming tensor, value and accepted."""


def register_layout(name: str, validator: Validator) -> None:
    """Victims register their layouts on import; a name has one meaning."""
    if LAYOUTS.setdefault(name, validator) is not validator:
        raise ValueError(f"layout {name!r} is registered twice")


def validate(payload: Payload) -> None:
    """Check a payload against its layout. Raises DecodeError; unknown layouts are named with the known ones."""
    check = LAYOUTS.get(payload.layout)
    if check is None:
        raise DecodeError(f"layout {payload.layout!r} is unknown here; accepted: {', '.join(sorted(LAYOUTS))}")
    check(payload)


def weights_digest(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """SHA-256 over sorted (name, dtype, shape, bytes); never over a pickle."""
    h = hashlib.sha256()
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        h.update(f"{name}|{t.dtype}|{tuple(t.shape)}|".encode())
        h.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.digest()


def config_digest(settings: Mapping[str, Meta]) -> bytes:
    """SHA-256 over sorted key=value lines of whatever both ends must agree on beside the weights."""
    return hashlib.sha256("\n".join(f"{k}={settings[k]!r}" for k in sorted(settings)).encode()).digest()


def weights_folder() -> Path:
    """Where the shipped weights lie: ``weights/`` beside the rooms."""
    return Path(__file__).resolve().parent.parent / "weights"
