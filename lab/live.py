"""The live demo on one machine: edge, link, cloud, attacker and the page, until somebody stops it.

The stream is a study's own (``demo-MODALITY``), in live mode, from a source that never ends. At another split point the
edge opens a new session; the page stays where it is and goes on with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.sources import check_sources
from lab.stream import Stream, StreamSettings
from lab.studies.base import Settings
from lab.studies.links import cells_of
from lab.studies.registry import study as find
from lab.supervisor import Role
from victims.registry import victim
from wire.address import listen
from wire.errors import InputError, RunError
from wire.profiles import profile

RATE_HZ = 2.0
LOOP_FRAMES = 100
"""Of a source that would never end: the edge goes round them, and makes each only once."""

RECORD_GB = 0.25
"""Bound on each of the three records (edge, capture, reconstructions): the oldest segments go first."""

SPOOL_MB = 64
"""The link's ring for a listener that is down or slow: some 30 frames, and only the newest are wanted."""

LOGS_GB = 0.01
"""What the processes may have to say, and their role files; they are silent unless something is wrong."""

TRAININGS = ("radiance",)
"""Modalities whose frames are steps of a training: none may come a second time, and no other cut goes on with it."""

PORTS = ("edge", "attacker", "link", "cloud")
POLL_S = 0.2

Cut = Callable[[str], StreamSettings]
"""The stream at a split point; InputError where there is none (no weights for it)."""


class Session(Stream):
    """The processes of the live demo, ready for every split point that the study has.

    streams: the study's stream at each; the one of ``settings`` is where it begins.
    """

    def __init__(self, settings: StreamSettings, streams: Mapping[str, StreamSettings], folder: Path) -> None:
        super().__init__(settings, folder)
        splits = list(streams)
        self._more: dict[str, dict[str, Any]] = {
            "edge": {"loop": not is_training(settings), "splits": splits},
            "cloud": {"splits": splits},
            "link": {"spool_mb": SPOOL_MB},
        }
        self._attacks = for_every_split(streams)

    def _role(self, name: str, module: str, config: dict[str, Any], *, restart: bool = True) -> Role:
        more = {"attacks": self._attacks} if "attacks" in config else self._more.get(name, {})
        return super()._role(name, module, {**config, **more}, restart=restart)

    def controls(self) -> dict[str, str]:
        """Process -> its control port, ``HOST:PORT``, once all are up."""
        for role in self.roles.values():
            role.wait_ready()
        return {name: str(role.config["control"]) for name, role in self.roles.items()}


class Live:
    """``with Live(...) as live: live.run()``. :attr:`address` is the page's."""

    def __init__(self, split: str, cut: Cut, folder: Path, port: int = 0) -> None:
        self._folder, self._port = folder, port
        first = live_settings(cut(split))
        self._streams = {split: first, **_others(first, cut)}
        # Of a listener who knows the defense at one split point the card says so throughout.
        aware = [s.knowledge for s in self._streams.values() if s.knowledge.defense == "aware"]
        self._settings = replace(first, knowledge=(aware or [first.knowledge])[0])
        self._session: Session | None = None
        self._console: Role | None = None
        self._over = threading.Event()
        self.address = ""

    def __enter__(self) -> Live:
        if self._port:
            listen(("127.0.0.1", self._port), "--port").close()  # a port in use is said before anything starts
        try:
            self._session = Session(self._settings, self._streams, self._folder)
            self._session.__enter__()
            self._console = Role("console", "console", self._page(self._session.controls()), self._folder / "roles")
            self._console.start()
            self.address = f"http://127.0.0.1:{self._console.wait_ready()['port']}/"
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def training(self) -> bool:
        """Whether its frames are steps of a training."""
        return is_training(self._settings)

    @property
    def disk_gb(self) -> float:
        """What the folder may hold: three records, the link's spool and logs."""
        # The listener's two records count binary gigabytes.
        return self._settings.record_gb * (1 + 2 * (1 << 30) / 1e9) + SPOOL_MB * (1 << 20) / 1e9 + LOGS_GB

    @property
    def roles(self) -> dict[str, Role]:
        """Every process by name."""
        found = dict(self._session.roles) if self._session else {}
        return found | ({"console": self._console} if self._console else {})

    def run(self) -> None:
        """Until :meth:`end`. RunError when a process ends for good; one that only dies is brought back."""
        while not self._over.wait(POLL_S):
            for name, role in self.roles.items():
                if role.returncode is not None:
                    raise RunError(f"{name} ended with exit code {role.returncode}: {role.last_words()}")

    def end(self) -> None:
        """Let :meth:`run` return."""
        self._over.set()

    def _page(self, controls: Mapping[str, str]) -> dict[str, Any]:
        s = self._settings
        chosen = victim(s.victim)
        learned = [attack.row for attack in s.attacks if "inverter" in attack.files]
        return {
            "listen": f"127.0.0.1:{self._port}",
            **{name: controls[name] for name in PORTS},
            "others": {name: address for name, address in controls.items() if name not in PORTS},
            "victim": s.victim,
            "modality": chosen.modality,
            "split": s.split,
            "splits": [split for split in chosen.splits if split in self._streams],
            "settings": dict(s.victim_settings) | ({"counts_from": 0} if is_training(s) else {}),
            "only_shown": True,
            "shown": learned[0] if learned else s.attacks[0].row if s.attacks else None,
            "seed": s.seed,
        }

    def _stop(self) -> None:
        if self._console is not None:
            self._console.stop()
        if self._session is not None:
            self._session.stop()


def for_every_split(streams: Mapping[str, StreamSettings]) -> list[dict[str, Any]]:
    """The attacks of all these streams as one listener's role file has them: a row each, its files by split point."""
    rows: dict[str, dict[str, Any]] = {}
    for split, stream in streams.items():
        for attack in stream.attacks:
            role = attack.role()
            files = role.pop("files")
            row = rows.setdefault(attack.row, role)
            if files:
                row.setdefault("splits", {})[split] = files
    return list(rows.values())


def _others(first: StreamSettings, cut: Cut) -> dict[str, StreamSettings]:
    """The study's streams at the victim's other split points, where it has one."""
    found: dict[str, StreamSettings] = {}
    if is_training(first):
        return found
    for split in victim(first.victim).splits:
        if split != first.split:
            with suppress(InputError):
                found[split] = live_settings(cut(split))
    return found


def live_settings(settings: StreamSettings) -> StreamSettings:
    """A study's stream as the live demo runs it: without end, paced, latest first, over a link with a name."""
    return replace(
        settings,
        mode="live",
        frames=LOOP_FRAMES if settings.source == "procedural" and not is_training(settings) else 0,
        rate_hz=settings.rate_hz or RATE_HZ,
        record_gb=min(settings.record_gb, RECORD_GB),
        link=settings.link or profile("lan").role(),
        # The strength is the page's to turn: the card says which defense the listener knows, and promises no strength.
        knowledge=replace(settings.knowledge, defense_settings={}),
    )


def is_training(settings: StreamSettings) -> bool:
    """Whether the stream is a training, which goes on until its last step."""
    return victim(settings.victim).modality in TRAININGS


def demo_cut(study: str, settings: Settings) -> tuple[str, Cut]:
    """A study's first split point, and its stream at any; InputError where the study has none there, and
    where nothing of its source can be read.

    Options that were not asked for are those that the study declares for live use.
    """
    chosen = find(study)
    settings = replace(settings, options={**getattr(chosen, "live", {}), **settings.options})

    def cut(split: str) -> StreamSettings:
        return cells_of(chosen, replace(settings, splits=(split,)))[0].stream

    cells = cells_of(chosen, settings)
    check_sources(cells[:1])
    return cells[0].stream.split, cut
