"""A stage for the console: edge, listener and link as real HTTP servers whose frames cost nothing to make.

Their ports are the real ones (:class:`edge.service.EdgeControl`, :class:`attacker.service.AttackerControl`,
:class:`wire.control.ControlServer` with the link's own settings); behind them stands a cloud of a few hundred points, a
payload that is noised by the defense's strength, and a reconstruction that suffers by it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from attacker.attacks.base import CapturedFrame, CapturedPart, Reconstruction
from attacker.newest import NewestFrame
from attacker.reconstructions import Reconstructions
from attacker.service import AttackerControl
from console.app import Console
from console.config import ConsoleConfig
from defenses.registry import build, names
from edge.config import DefenseChoice, EdgeSettings
from edge.ring import Finished, Ring, Taken
from edge.service import EdgeControl
from victims.base import Sample
from wire.control import ControlServer
from wire.link import LinkState
from wire.payload import Payload
from wire.relay import LinkPatch

SESSION = "ab" * 8
Scene = Callable[[int, float], tuple[Sample, Payload, dict[str, dict[str, np.ndarray]]]]
"""Frame and strength -> truth, payload, reconstructions by attack."""


def still_scene(frame: int, strength: float) -> tuple[Sample, Payload, dict[str, dict[str, np.ndarray]]]:
    """The same street for ever: what changes on the page was changed by a knob."""
    rng = np.random.default_rng(7)
    points = rng.uniform([4, -8, -1.5, 0], [24, 8, 0.5, 1], (600, 4)).astype(np.float32)
    coords = np.zeros((300, 4), np.int32)
    coords[:, 1:] = rng.integers(0, [5, 64, 64], (300, 3))
    noise = np.random.default_rng(11)
    features = rng.random((300, 8)).astype(np.float32) + strength * noise.normal(size=(300, 8)).astype(np.float32)
    payload = Payload(
        "features",
        "sparse_voxels",
        {"coords": torch.from_numpy(coords), "features": torch.from_numpy(features)},
        {
            "grid": (5, 64, 64),
            "stride": (8, 8, 8),
            "voxel": (0.1, 0.05, 0.05),
            "range": (0.0, -12.8, -3.0, 25.6, 12.8, 1.0),
        },
    )
    spoilt = points[:, :3] + strength * noise.normal(size=(600, 3)).astype(np.float32)
    floor = points[::6, :3] + np.float32(0.2)
    truth = Sample(
        f"still-{frame}", {"points": points}, {"boxes": np.zeros((0, 7), np.float32), "labels": np.zeros(0, np.int64)}
    )
    return truth, payload, {"concretizer": {"points": spoilt}, "coordinates": {"points": floor}}


class Edge:
    """An edge's control port and the frames behind it."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.choice = DefenseChoice(name="feature_centric", settings={"strength": 0.0})
        self.ring, self.next_frame, self.segment, self.paused = Ring(), 0, 0, False
        self._control = EdgeControl(self.ring, self.state, EdgeSettings, self._apply, address=address)
        self.port = self._control.start()

    @property
    def strength(self) -> float:
        return float(self.choice.settings.get("strength", 0.0))

    def state(self) -> dict[str, Any]:
        counts = {"sent": self.next_frame, "answered": self.next_frame, "failed": 0, "dropped": 0}
        return {
            **counts,
            "next_frame": self.next_frame,
            "segment": self.segment,
            "paused": self.paused,
            "rate_hz": 10.0,
            "defense": {"name": self.choice.name, "settings": dict(self.choice.settings)},
            "defenses": names(),
        }

    def _apply(self, settings: EdgeSettings) -> dict[str, Any]:
        if settings.defense is not None:
            build(settings.defense.name, settings.defense.settings)
            self.choice, self.segment = settings.defense, self.segment + 1
        if settings.paused is not None:
            self.paused = settings.paused
        return {"first_frame": self.next_frame, "segment": self.segment}

    def stop(self) -> None:
        self._control.stop()


class Listener:
    """An attacker's control port, its newest payload and its reconstructions."""

    def __init__(self, folder: Any, address: str = "127.0.0.1:0") -> None:
        self.newest, self.store = NewestFrame(), Reconstructions(folder, 1 << 26)
        self.paused, self.captured = False, 0
        queue = SimpleNamespace(paused=False, selected=["concretizer", "coordinates"], pause=self._pause, select=None)
        stub = SimpleNamespace(
            state=self.state, queue=queue, store=self.store, newest=self.newest, attacks={}, sessions=[]
        )
        self._control = AttackerControl(stub, address)  # type: ignore[arg-type]
        self.port = self._control.start()

    def _pause(self, paused: bool) -> None:
        self.paused = paused

    def state(self) -> dict[str, Any]:
        return {
            "captured": self.captured,
            "missed": 0,
            "inverted": self.store.count,
            "reconstructions": self.store.count,
            "attacks": {"concretizer": {"why": None}, "coordinates": {"why": None}},
            "queue": {"paused": self.paused, "depth": 0},
            "lag_ms": 1.0,
            "knowledge": {"vantage": "wire", "victim": "white"},
        }

    def stop(self) -> None:
        self._control.stop()
        self.store.close()


class Stage:
    """All of them, and a thread that plays the frames."""

    def __init__(self, folder: Any, scene: Scene = still_scene, every_s: float = 0.1) -> None:
        self.folder, self.scene, self.every_s = folder, scene, every_s
        self.edge, self.link_state = Edge(), LinkState()
        self.listener: Listener | None = Listener(folder / "rebuilt")
        self._listener_port = self.listener.port
        self._link = ControlServer(
            "link", lambda: {"settings": _told(self.link_state), "bytes": {}}, LinkPatch, self._apply_link
        )
        self.link_port = self._link.start()
        self.console: Console | None = None
        self.port = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def start(self, **more: Any) -> Stage:
        """Begin to play and open the page."""
        config = ConsoleConfig(
            edge=f"127.0.0.1:{self.edge.port}",
            attacker=f"127.0.0.1:{self._listener_port}",
            link=f"127.0.0.1:{self.link_port}",
            victim="second",
            modality="lidar",
            split="conv3.0",
            settings={"preset": "street"},
            shown="concretizer",
            **more,
        )
        self.console = Console(config)
        self.port = self.console.start()
        self._thread.start()
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill_listener(self) -> None:
        """The attacker is gone, its port closed."""
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.stop()

    def revive_listener(self) -> None:
        """Another attacker at the same port: its numbers begin anew."""
        self.listener = Listener(self.folder / f"rebuilt-{time.monotonic_ns()}", f"127.0.0.1:{self._listener_port}")

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.console is not None:
            self.console.stop()
        self.edge.stop()
        self.kill_listener()
        self._link.stop()

    def _apply_link(self, patch: LinkPatch) -> dict[str, Any]:
        self.link_state = patch.on_link(self.link_state)
        return {"settings": _told(self.link_state)}

    def _play(self) -> None:
        while not self._over.wait(self.every_s):
            if not self.edge.paused:
                self.play_one()

    def play_one(self) -> None:
        """One frame through all of them."""
        frame, self.edge.next_frame = self.edge.next_frame, self.edge.next_frame + 1
        sample, payload, rebuilt = self.scene(frame, self.edge.strength)
        now = time.monotonic_ns()
        self.edge.ring.take(Taken(frame, sample, now))
        if self.listener is not None:
            self.listener.captured += 1
            part = CapturedPart("up", 0, 0, 1, payload, now, now)
            self.listener.newest.put(CapturedFrame(SESSION, 0, frame, (part,)))
        row = {
            "frame": frame,
            "segment": self.edge.segment,
            "name": sample.name,
            "head": 3.0,
            "tail": 4.0,
            "total": 9.0,
            "payload_bytes": payload.nbytes,
            "wire_up": payload.nbytes + 400,
        }
        self.edge.ring.add(Finished(frame, row, sample, {}, now))
        if self.listener is not None and not self.listener.paused:
            for attack, arrays in rebuilt.items():
                made = Reconstruction(SESSION, (frame,), attack, arrays)
                self.listener.store.add(
                    made, incarnation=0, t_captured_ns=now, times_ms={"decode": 1.0, "wait": 2.0, "invert": 30.0}
                )


def _told(state: LinkState) -> dict[str, Any]:
    return {"up": vars(state.up), "down": vars(state.down), "stall": state.stall}


@pytest.fixture
def stage(tmp_path: Any) -> Iterator[Stage]:
    """A stage that is not started yet."""
    made = Stage(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def stage_at() -> Callable[[Any, float], Stage]:
    """``stage_at(folder, seconds)``: a stage with a frame every so often, to be stopped by who asked for it."""
    return lambda folder, every_s: Stage(folder, every_s=every_s)
