"""One stream from start to end: edge, link, cloud and attacker as processes of their own, on ports the system chose."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from attacker.knowledge import KnowledgeCard
from lab.leaks import with_the_edges_weights
from lab.pace import Pace, ring_mb
from lab.supervisor import Role, Usage
from victims.radiance.networks import crossing_bytes
from victims.radiance.settings import training, whole
from victims.registry import victim
from wire.errors import RunError
from wire.tls import make_certificates

STALL_S = 120.0
"""No frame answered or inverted for so long: the run is given up with the state of every process."""


POLL_S, POLL_MOST_S = 0.2, 1.0
"""How often the processes are asked how far they are: less often where nothing has moved for seconds."""

GOODBYE_S = 10.0
"""How long the end of a session may take to reach the listener."""

QUEUE_FRAMES = 8
"""Frames that wait for each attack where the listener inverts while the stream runs."""


Record = Literal["auto", "full", "first", "features", "heads", "none"]
"""What of a stream is kept; ``auto``: ``first`` of a training, whose steps are large, else ``full``."""


@dataclass(frozen=True)
class AttackChoice:
    """An attack to run on the capture: its name, the label of its rows, its settings and the files it is granted."""

    name: str
    label: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """What its rows are called."""
        return self.label or self.name

    def role(self) -> dict[str, Any]:
        """Its entry in the attacker's role file."""
        return {"name": self.name, "label": self.row, "settings": dict(self.settings), "files": dict(self.files)}


@dataclass(frozen=True)
class StreamSettings:
    """Everything that makes one stream; resolved into ``run.toml``."""

    victim: str
    split: str
    victim_settings: Mapping[str, Any]
    attacks: Sequence[AttackChoice]
    knowledge: KnowledgeCard
    source: str = "procedural"
    frames: int = 0
    seed: int = 0
    mode: Literal["live", "lossless"] = "lossless"
    rate_hz: float | None = None
    defense: str = "none"
    defense_settings: Mapping[str, Any] = field(default_factory=dict)
    link: Mapping[str, Any] = field(default_factory=dict)  # rate_mbps, delay_ms, jitter_ms; up and down apart
    tls: bool = False
    record: Record = "auto"
    record_gb: float = 2.0
    record_steps: int = 20  # at the level first
    workers: int = 1  # threads of the listener; with redis, processes
    redis: str | None = None  # URL without a password: that is taken from the environment
    threads: int = 1
    device: str = "cpu"
    mirror: bool = True  # False: the listener hears nothing (to show that nothing bypasses the wire)
    spool_mb: int = 0  # may wait for the listener at link and curious cloud; 0: 256, of a training what it needs
    checkpoint_every: int = 100  # steps of a training; 0: none are kept
    in_flight: int = 2  # frames whose answers are awaited at once
    invert_after: bool = False  # lossless: invert when the stream has ended, which then has the processor to itself


@dataclass
class StreamResult:
    """What the processes said when they had finished."""

    edge: dict[str, Any]
    attacker: dict[str, Any]
    link: dict[str, Any]
    cloud: dict[str, Any]
    usage: dict[str, Usage]
    restarts: dict[str, int]
    wall_s: float


@dataclass(frozen=True)
class Moved:
    """How far a stream is. answered, made: frames and reconstructions. begun: the works in hand, as reconstructions
    that are partly made. note: what the attack that works longest says of itself. learnt: frames that attacks have
    learnt from."""

    answered: int = 0
    made: int = 0
    begun: float = 0.0
    note: str = ""
    learnt: int = 0


OnProgress = Callable[[Moved], None]


class Stream:
    """The processes of one stream. ``with Stream(...) as stream: stream.run()``."""

    def __init__(self, settings: StreamSettings, folder: Path) -> None:
        self.settings, self.folder = with_the_edges_weights(settings, folder), folder
        self.roles: dict[str, Role] = {}
        self._prefix = f"eavesplit:{uuid4().hex[:12]}"  # several streams may share a server
        self._started = time.monotonic()
        self._edge_done: float | None = None
        self._pace: Pace | None = None

    def __enter__(self) -> Stream:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _role(self, name: str, module: str, config: dict[str, Any], *, restart: bool = True) -> Role:
        role = Role(name, module, config, self.folder / "roles", restart=restart)
        self.roles[name] = role
        role.start()
        return role

    def _start(self) -> None:
        s = self.settings
        self.folder.mkdir(parents=True, exist_ok=True)
        tls = make_certificates(self.folder / "tls") if s.tls else None
        attacker = self._role("attacker", "attacker", self._attacker_config())
        workers = [self._role(f"worker-{n}", "attacker.work", self._worker_config()) for n in self._worker_numbers()]
        curious = s.mirror and s.knowledge.vantage == "cloud"
        if curious:
            attacker.wait_ready()
        cloud = self._role(
            "cloud",
            "cloud",
            {
                "listen": "127.0.0.1:0",
                "victim": s.victim,
                "splits": [s.split],
                "victim_settings": dict(s.victim_settings),
                "control": "127.0.0.1:0",
                "mirror": f"127.0.0.1:{attacker.ready['mirror']}" if curious else None,
                "mirror_mb": self._spool_mb,
                "snapshots": curious,
                "checkpoints": self.folder / "cloud",
                "threads": s.threads,
                "tls": tls,
            },
        )
        cloud.wait_ready()
        for role in (attacker, *workers):
            role.wait_ready()
        if s.invert_after:
            attacker.settings(paused=True)
        mirror = f"127.0.0.1:{attacker.ready['mirror']}" if s.mirror and not curious else None
        link = self._role(
            "link",
            "wire.relay",
            {
                "listen": "127.0.0.1:0",
                "forward": f"127.0.0.1:{cloud.ready['port']}",
                "mirror": mirror,
                "seed": s.seed,
                "spool": self.folder / "roles" / "spool.ring",
                "spool_mb": self._spool_mb,
                "control": "127.0.0.1:0",
                **s.link,
            },
        )
        link.wait_ready()
        self._role(
            "edge",
            "edge",
            {
                "address": f"127.0.0.1:{link.ready['port']}",
                "victim": s.victim,
                "split": s.split,
                "victim_settings": dict(s.victim_settings),
                "source": s.source,
                "frames": s.frames,
                "mode": s.mode,
                "rate_hz": s.rate_hz,
                "seed": s.seed,
                "defense": {"name": s.defense, "settings": dict(s.defense_settings)},
                "folder": self.folder / "edge",
                "record": self._record,
                "record_gb": s.record_gb,
                "record_steps": s.record_steps,
                "control": "127.0.0.1:0",
                "in_flight": s.in_flight,
                "checkpoint_every": s.checkpoint_every,
                "threads": s.threads,
                "tls": tls,
            },
        )

    @property
    def _record(self) -> Record:
        if self.settings.record != "auto":
            return self.settings.record
        return "first" if self._trains else "full"

    @property
    def _trains(self) -> bool:
        return victim(self.settings.victim).modality == "radiance"

    @property
    def _spool_mb(self) -> int:
        s = self.settings
        if not self._trains:
            return s.spool_mb or 256
        # A run that may lose frames is given the ring that it asks for.
        return ring_mb(s.spool_mb, largest(s.split, s.victim_settings)) if s.mode == "lossless" else s.spool_mb or 512

    def _attacker_config(self) -> dict[str, Any]:
        s = self.settings
        return {
            **self._worker_config(),
            "mirror": "127.0.0.1:0",
            "folder": self.folder,
            "mode": s.mode,
            "workers": s.workers,
            "record": self._record,
            "record_gb": s.record_gb,
            "record_steps": s.record_steps,
            # What waits for the end of the stream is held here: the link's spool is for a listener that is slow.
            **({"queue_frames": max(QUEUE_FRAMES, s.frames), "queue_mb": 1 << 16} if s.invert_after else {}),
        }

    def _worker_config(self) -> dict[str, Any]:
        """What an attacker and its workers share."""
        s = self.settings
        return {
            "control": "127.0.0.1:0",
            "redis": s.redis,
            "redis_prefix": self._prefix,
            "attacks": [a.role() for a in s.attacks],
            "knowledge": s.knowledge.to_dict(),
            "seed": s.seed,
            "device": s.device,
            "threads": s.threads,
        }

    def _worker_numbers(self) -> range:
        return range(self.settings.workers if self.settings.redis is not None else 0)

    def run(self, on_progress: OnProgress = lambda moved: None) -> StreamResult:
        """Wait until the source has ended and, in lossless mode, the listener has inverted all that it captured.

        RunError when a process dies for good or nothing moves for :data:`STALL_S` seconds.
        """
        edge, attacker, link, cloud = (self.roles[n] for n in ("edge", "attacker", "link", "cloud"))
        if self.settings.mode == "lossless" and self.settings.mirror and self._trains:
            self._pace = Pace(edge, link, cloud)
            self._pace.start()
        last, now, calls = time.monotonic(), Moved(), 0
        while True:
            heard, spoken = attacker.state(), edge.done or edge.state()
            before, told = (now.answered, now.made, calls), heard.get("attacks", {}).values()
            # A process that is just ending or being restarted says nothing: what it said before holds.
            now = moved(now, spoken, heard)
            calls = sum(attack["advance"]["calls"] + attack.get("learnt", 0) for attack in told) if heard else calls
            if (now.answered, now.made, calls) != before:
                last = time.monotonic()
            on_progress(now)
            if edge.done is not None and self._edge_done is None:
                self._edge_done = time.monotonic()
            if self._edge_done is not None and heard and heard["queue"]["paused"]:
                attacker.settings(paused=False)
            if self._edge_done is not None and self._caught_up(heard):
                break
            for role in self.roles.values():
                if role.returncode is not None and not (role is edge and edge.done is not None):
                    raise RunError(f"{role.name} ended with exit code {role.returncode}: {role.last_words()}")
            if time.monotonic() - last > STALL_S:
                raise RunError(f"nothing moved for {STALL_S:.0f} s: edge {spoken}, listener {heard}")
            time.sleep(min(POLL_MOST_S, max(POLL_S, (time.monotonic() - last) / 10)))
        states = {"edge": edge.done or {}, "link": link.state(), "cloud": cloud.state()}
        link.stop()
        final = attacker.state()
        attacker.stop(timeout=60)
        self.stop()
        return StreamResult(
            edge=states["edge"],
            attacker=final,
            link=states["link"],
            cloud=states["cloud"],
            usage={name: role.usage for name, role in self.roles.items()},
            restarts={name: role.usage.starts - 1 for name, role in self.roles.items()},
            wall_s=time.monotonic() - self._started,
        )

    def _caught_up(self, heard: Mapping[str, Any]) -> bool:
        """Whether the listener has nothing left to do: it heard the goodbye, and nothing waits or is worked on.

        A goodbye that fell into a gap is not waited for longer than :data:`GOODBYE_S`.
        """
        if not self.settings.mirror:
            return True
        if not heard:
            return False  # down: the supervisor is bringing it back
        if heard.get("encrypted_bytes"):
            return True  # TLS: there is nothing to capture
        if any(c["waiting"] or c["working"] for c in heard["attacks"].values()):
            return False
        sessions = heard["sessions"]
        if sessions and all(session["closed"] for session in sessions):
            return True
        return time.monotonic() - (self._edge_done or 0.0) > GOODBYE_S

    def stop(self) -> None:
        """Stop every process that still runs, the talkers before the listeners."""
        if self._pace is not None:
            self._pace.stop()
        for name in ("edge", "link", "cloud", "attacker", *(f"worker-{n}" for n in self._worker_numbers())):
            if name in self.roles:
                self.roles[name].stop()


def largest(split: str, settings: Mapping[str, Any]) -> int:
    """Bytes of the largest sample of a training: a step, or a picture of ``side`` pixels where that is set."""
    chosen = training(settings)
    pixels = whole(settings, "side", 0) ** 2
    step = crossing_bytes(split, chosen, chosen.rays, train=True)
    return max(step, crossing_bytes(split, chosen, pixels, train=False))


def moved(before: Moved, spoken: Mapping[str, Any], heard: Mapping[str, Any]) -> Moved:
    """How far a stream is, from the edge's and the listener's state; empty ones leave what was known."""
    busy = [a for a in heard.get("attacks", {}).values() if a["working"] and a["advance"]["note"]]
    return Moved(
        int(spoken.get("answered", before.answered)),
        int(heard.get("reconstructions", before.made)),
        sum(attack["working"] * attack["advance"]["share"] for attack in busy),
        busy[0]["advance"]["note"] if busy else "",
        int(heard.get("learnt", before.learnt)),
    )
