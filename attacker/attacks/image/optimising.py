"""What the attacks by optimisation share: their settings, and the way from captured frames to reconstructions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from torch import Tensor

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.image import choices
from attacker.attacks.image.choices import choice, number, read
from attacker.attacks.image.descent import Descended, Plan
from attacker.attacks.image.descent_state import Shelves
from attacker.attacks.image.inversion import Inversion, Method, Problem
from attacker.attacks.image.losses import from_the_mean, printed_from_the_mean
from attacker.attacks.image.white_box import WhiteBox, white_box
from attacker.attacks.stateless import Stateless, Untrained
from wire.payload import Meta

BATCH = 16


@dataclass(frozen=True)
class OptimisingSettings(Plan):
    """group: so many consecutive frames are tied (equation 10) by ``temporal`` times their distance from the group's
    mean: ``tied`` is ``normalised`` (mean square) or ``raw`` (squared norm, as printed). at_once: most frames in one
    descent. auxiliary_frames: how many auxiliary pictures are read, where any are.
    """

    group: int = number(1, 1, 1024)
    temporal: float = number(0.1, 0, 1e6)
    tied: str = choice("normalised", ("normalised", "raw"))
    at_once: int = number(BATCH, 1, 4096)
    auxiliary_frames: int = number(1000, 1, 1_000_000)

    PAPER: ClassVar[Mapping[str, Meta]] = {
        "iterations": 1500,
        "lr": 0.1,
        "tv": 1.0,
        "loss": "sum",
        "schedule": "constant",
        "keep": "last",
        "temporal": 5.0,
        "tied": "raw",
    }


def tie(
    settings: OptimisingSettings, group: Tensor, normalised: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor], Tensor] | None:
    """The temporal term of equation 10 as a penalty on variables; None where nothing is tied.

    group: int64 (rows,). normalised: how variables are brought to one scale before they are compared, if they are.
    """
    if settings.group == 1 or not settings.temporal:
        return None
    if settings.tied == "raw":
        return lambda variable: settings.temporal * printed_from_the_mean(variable, group)
    scaled = normalised or (lambda variable: variable)
    return lambda variable: settings.temporal * from_the_mean(scaled(variable), group)


def inverted(found: Descended, meta: Sequence[Mapping[str, Meta]] | None = None) -> Inversion:
    """One descent as an inversion, with the losses in its meta."""
    iterations = int(found.course.curve_iteration[-1]) if len(found.course.curve_iteration) else 0
    extra: Sequence[Mapping[str, Meta]] = meta or [{}] * len(found.pictures)
    told = [
        {"loss_feature": feature, "loss_total": total, **more}
        for feature, total, more in zip(found.feature.tolist(), found.total.tolist(), extra, strict=True)
    ]
    pictures = found.pictures.clamp(0, 1)
    return Inversion(pictures, found.course, told, found.variable, iterations, found.cpu_s)


class Optimising(Untrained):
    """An attack that needs the victim's weights and optimises, 16 frames at once.

    A subclass has ``name``, ``kind`` (its settings), :meth:`method` and :meth:`check_files`.
    """

    name: str
    modality = "image"
    needs = Needs("wire", "white", batch=BATCH)
    kind: type[OptimisingSettings]

    def method(self, settings: Any, grants: Grants, size: tuple[int, int]) -> Method:
        """The inversion itself. settings: of :attr:`kind`. size: height and width of a picture, in pixels."""
        raise NotImplementedError

    def check_files(self, settings: Any, grants: Grants, size: tuple[int, int]) -> None:
        """InputError where :meth:`method` would refuse the granted files, without loading them."""

    def check(self, grants: Grants, size: tuple[int, int]) -> None:
        """InputError, one line, where settings or files do not do for pictures of ``size``."""
        self.check_files(read(self.kind, grants.settings, self.name), grants, size)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError, one line, where settings or files do not do."""
        settings = read(self.kind, grants.settings, self.name)
        box = white_box(session, grants, self.name)
        seed = choices.seed(grants.settings, self.name)
        origin = [
            self.name, session.victim, session.split, box.weights_sha256, sorted(asdict(settings).items()), seed,
            sorted((name, str(path)) for name, path in grants.files.items()),
        ]  # fmt: skip
        return _Inverter(self.name, box, self.method(settings, grants, box.size), settings, seed, grants, repr(origin))


class _Inverter(Stateless):
    def __init__(
        self,
        attack: str,
        box: WhiteBox,
        method: Method,
        settings: OptimisingSettings,
        seed: int,
        grants: Grants,
        origin: str,
    ) -> None:
        self._attack, self._box, self._method, self._settings = attack, box, method, settings
        self._seed, self._grants, self._origin = seed, grants, origin
        self._shelves: list[Shelves] = []

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        """One reconstruction a frame. InputError names a frame whose features do not fit."""
        self.finish()
        if not frames:
            return []
        heard = self._box.heard(frames)
        made: list[Reconstruction] = []
        for first in range(0, len(frames), self._settings.at_once):
            part = slice(first, first + self._settings.at_once)
            made += self._together(frames[part], heard[part], first, len(frames))
        return made

    def finish(self) -> Sequence[Reconstruction]:
        """What was kept for a restart is of no use any more: its reconstructions are recorded."""
        for shelves in self._shelves:
            shelves.clear()
        self._shelves.clear()
        return []

    def _together(
        self, frames: Sequence[CapturedFrame], heard: Tensor, before: int, all_frames: int
    ) -> list[Reconstruction]:
        numbers = tuple(frame.frame for frame in frames)
        shelves = None
        if self._grants.work is not None:
            shelves = Shelves(self._grants.work, self._key(frames, heard))
            self._shelves.append(shelves)

        def progress(done: float, total: float, note: str = "") -> None:
            self._grants.progress(before + done / total * len(frames), all_frames, f"{self._attack}: {note}")

        found = self._method(Problem(self._box, heard, self._box.size, numbers, self._seed, progress, shelves))
        shared: dict[str, Meta] = {
            "iterations": found.iterations,
            "cpu_s": found.cpu_s / len(frames),
            "same_weights": self._box.same_weights,
        }
        return [
            Reconstruction(
                frame.session, (frame.frame,), self._attack, found.arrays(row), {**shared, **found.meta[row]}
            )
            for row, frame in enumerate(frames)
        ]

    def _key(self, frames: Sequence[CapturedFrame], heard: Tensor) -> str:
        places = [(frame.session, frame.incarnation, frame.frame) for frame in frames]
        told = hashlib.sha256(f"{self._origin}|{places}|".encode())
        told.update(heard.cpu().contiguous().numpy().tobytes())
        return told.hexdigest()
