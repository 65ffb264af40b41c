"""The desk where everything comes together: truth, capture, reconstructions, states. It publishes what the page shows.

The only place in a running system that sees truth and reconstruction side by side.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from console.beside import Beside
from console.config import ConsoleConfig
from console.history import History
from console.hub import Hub
from console.pairing import Pairing
from console.pictures import Palette, packed
from console.scoring import LiveScores, declared
from lab.metrics.base import scorer
from victims.base import Sample
from victims.view import Picture, Points, TrainingView, view
from wire import profiles
from wire.errors import EavesplitError
from wire.payload import Meta, Payload
from wire.seeds import generator

STAGES = ("capture", "head", "defend", "encode", "queue", "wire", "decode", "tail", "reply")
LISTENER_STAGES = ("decode", "wait", "invert")
OWNER = "owner"
"""Whose picture stands beside the attacks' where the victim answers with pictures: what its owner gets."""

HISTORY_EVERY_S = 0.5


class Desk:
    """Thread-safe. Followers feed it, the hub carries what it says."""

    def __init__(self, config: ConsoleConfig, hub: Hub) -> None:
        self._config, self._hub = config, hub
        self._view = view(config.modality)
        self._scorer = scorer(config.modality, {"victim": config.victim, "split": config.split, **config.settings})
        self._scores = LiveScores(self._scorer, config.seed, self._scored, self._useful)
        self._pairing, self._palette, self._history = Pairing(), Palette(), History(config.window)
        self._training = self._view if isinstance(self._view, TrainingView) else None
        self._beside = Beside()
        self._latest: dict[str, dict[str, Any]] = {}  # attack -> its newest scores
        self._listening = True
        self._session: str | None = None
        self._published = 0.0
        self._lock = threading.RLock()
        self.shown = config.shown
        self.floors = tuple(self._scorer.floors)
        self.attacks: list[str] = []
        self.trouble: str | None = None

    def start(self) -> None:
        """Publish what does not change and begin to score."""
        self._hub.publish("about", self._about())
        self._scores.start()

    def stop(self) -> None:
        """End the scoring."""
        self._scores.stop()

    def taken(self, frame: int, sample: Sample, age_ms: float) -> None:
        """What the edge sees, as soon as its head begins on it; of a training, only the views that are asked for."""
        if self._training is not None and not self._training.rebuildable(sample):
            return
        born = time.monotonic() - age_ms / 1e3
        picture = self._picture("truth", self._view.sample(sample), frame)
        with self._lock:
            self._add("truth", frame, {"frame": frame, "name": sample.name, "picture": picture, "born": born})
            self.refresh()
        self._scores.truth(frame, sample)

    def finished(self, row: Mapping[str, Any], outcome: Mapping[str, np.ndarray]) -> None:
        """A frame that the edge finished: its stage times, and (empty: no longer kept) what it was answered."""
        frame, segment = int(row["frame"]), int(row["segment"])
        times = {stage: row.get(stage) for stage in STAGES}
        with self._lock:
            self._history.put(
                frame,
                segment=segment,
                payload_bytes=row.get("payload_bytes"),
                wire_up=row.get("wire_up"),
                total=row.get("total"),
                **times,
            )
            if self._training is not None and "image" in outcome:
                self._put_beside(frame, OWNER, outcome)
            self.refresh()
        self._scores.answered(frame, segment, outcome)

    def captured(self, session: str, frame: int, payload: Payload, size: int) -> None:
        """What crossed the wire for a frame, as the listener captured it."""
        drawn = self._training is not None and self._training.crossing in self.attacks  # by that attack, from all of it
        picture = None if drawn else self._picture("payload", self._view.payload(payload), frame)
        told = {"frame": frame, "bytes": size, "role": payload.role, "layout": payload.layout}
        with self._lock:
            self._follow(session)
            self._hub.publish("wire", told | {"digest": _digest(payload)})
            if picture is not None:
                self._add("payload", frame, told | {"picture": picture})
            self.refresh()

    def rebuilt(
        self, session: str, frame: int, attack: str, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]
    ) -> None:
        """A reconstruction. meta: as the attacker tells it (``decode_ms``, ``wait_ms``, ``invert_ms``)."""
        times = {stage: float(meta.get(f"{stage}_ms") or 0.0) for stage in LISTENER_STAGES}
        lag = sum(times.values())
        with self._lock:
            self._follow(session)
            if attack not in self.attacks:
                self.attacks.append(attack)
            if self.shown is None:
                self.shown = attack
            wanted = attack == self.shown
            self._history.put(frame, **{f"lag.{attack}": lag})
            if self._training is not None:
                if attack == self._training.crossing:
                    picture = self._picture("payload", self._view.reconstruction(arrays), frame)
                    self._add("payload", frame, {"frame": frame, "attack": attack, "picture": picture})
                elif not wanted:
                    self._put_beside(frame, attack, arrays)
                self.refresh()
        if wanted:
            picture = self._picture("reconstruction", self._view.reconstruction(arrays), frame)
            item = {"frame": frame, "attack": attack, "lag_ms": lag, "times_ms": times, "picture": picture}
            with self._lock:
                self._add("reconstruction", frame, item)
                self.refresh()
        self._scores.rebuilt(frame, attack, arrays)  # after the picture: nobody waits for a figure to look at it

    def show(self, attack: str) -> None:
        """Picture this attack's reconstructions from now on."""
        with self._lock:
            if attack != self.shown:
                self.shown = attack
                self._pairing.forget("reconstruction")
                self._beside.forget()

    def listening(self, listening: bool) -> None:
        """Whether reconstructions can be expected."""
        with self._lock:
            self._listening = listening
            self.refresh()

    def refresh(self) -> None:
        """Publish the panels that have something new, and the curves if it is time."""
        with self._lock:
            now = time.monotonic()
            for panel, item in self._pairing.choose(now, self._listening).items():
                if "born" in item:
                    item = {**item, "age_ms": (now - item["born"]) * 1e3}
                told = {key: value for key, value in item.items() if key != "born"}
                self._hub.publish(panel, told | {"told_ns": time.monotonic_ns()})
                if panel == "truth":
                    self._beside.turn(told["frame"])
            beside = self._beside.fresh()
            if beside is not None:
                self._hub.publish("beside", {"items": beside})
            if now - self._published >= HISTORY_EVERY_S:
                self._published = now
                self._hub.publish("history", self._history.columns())

    def _picture(self, panel: str, picture: Picture, frame: int) -> dict[str, Any]:
        span = self._palette.span(panel, picture) if isinstance(picture, Points) else None
        # The same draw for every frame: of a scene that stands still, the same points are drawn.
        return packed(picture, span, self._config.points, generator(self._config.seed, f"console.{panel}"))

    def _add(self, panel: Any, frame: int, item: Any) -> None:
        self._pairing.add(panel, frame, item, time.monotonic())

    def _put_beside(self, frame: int, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._beside.add(frame, name, self._picture("beside", self._view.reconstruction(arrays), frame))

    def _follow(self, session: str) -> None:
        """A session that the edge opened anew (it was killed, or cut elsewhere): the listener's frames are its own."""
        if session != self._session:
            self._session = session
            self._palette.forget()

    def restart(self, split: str | None = None) -> None:
        """Frames count from 0 again. split: where the new session is cut."""
        with self._lock:
            for panel in ("truth", "payload", "reconstruction"):
                self._pairing.forget(panel)  # type: ignore[arg-type]
            self._beside.forget()
            self._history.clear()
            self._latest.clear()
            self._palette.forget()
            self._scores.forget()
            self._hub.publish("scores", self._latest)
            if split is not None:
                self._config = self._config.model_copy(update={"split": split})
                self._hub.publish("about", self._about())

    def _scored(self, frame: int, attack: str, values: Mapping[str, float | None], notes: tuple[str, ...]) -> None:
        with self._lock:
            self._history.put(frame, **{f"score.{attack}": values.get(self._scorer.headline)})
            key = {name: values.get(name) for name in self._scorer.key}
            self._latest[attack] = {"frame": frame, "values": key, "notes": list(notes)}
            self._hub.publish("scores", self._latest)
            self.refresh()

    def _useful(self, frame: int, values: Mapping[str, float | None], frames: int) -> None:
        with self._lock:
            self._history.put(frame, **{f"utility.{name}": value for name, value in values.items()})
            self._hub.publish("utility", {"frame": frame, "frames": frames, "values": values})
            self.refresh()

    def _about(self) -> dict[str, Any]:
        config, metrics = self._config, self._scorer
        return {
            "sees": self._view.sees,
            "story": self._training.story if self._training else "",
            "crossing": self._training.crossing if self._training else "",
            "victim": config.victim,
            "modality": config.modality,
            "split": config.split,
            "splits": list(config.splits),
            "headline": metrics.headline,
            "key": list(metrics.key),
            "floors": list(metrics.floors),
            "utilities": [metric.name for metric in metrics.utilities],
            "metrics": declared(metrics),
            "stages": list(STAGES),
            "profiles": {name: _profile(name) for name in profiles.names()},
            "report": config.report is not None,
        }


def _profile(name: str) -> dict[str, Any]:
    found = profiles.profile(name)
    return {"title": found.title, "sources": dict(found.sources), **found.role()}


def payload_from(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Meta]) -> Payload:
    """The payload as the attacker's control port packs it. EavesplitError where its meta is not of that kind."""
    import torch

    try:
        return Payload(
            str(meta["role"]),
            str(meta["layout"]),
            {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()},
            {key.removeprefix("meta."): value for key, value in meta.items() if key.startswith("meta.")},
        )
    except (KeyError, ValueError, TypeError) as error:
        raise EavesplitError(f"the attacker's payload cannot be read: {error}") from error


def _digest(payload: Payload) -> str:
    """A short fingerprint of the tensors: the same bytes, the same eight letters."""
    digest = hashlib.blake2b(digest_size=4)
    for name, tensor in payload.tensors.items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()
