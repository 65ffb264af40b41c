"""The live demo on one machine: edge, link, cloud, attacker and the page, until somebody stops it.

The stream is a study's own (``demo-MODALITY``), in live mode, from a source that never ends. Another split point opens
a new session in a folder of its own; the page stays where it is and goes on with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from lab.stream import Stream, StreamSettings
from lab.studies.base import Settings
from lab.studies.links import cells_of
from lab.studies.registry import study as find
from lab.supervisor import Role
from victims.registry import victim
from wire.control import ControlServer
from wire.errors import InputError, RunError
from wire.profiles import profile

RATE_HZ = 2.0
RECORD_GB = 0.25
"""Bound on each of the three records of a session (edge, capture, reconstructions): the oldest segments go first."""

PORTS = ("edge", "attacker", "link", "cloud")
POLL_S = 0.2

Cut = Callable[[str], StreamSettings]
"""The stream at a split point; InputError where there is none (no weights for it)."""


class Session(Stream):
    """One session of the live demo, its control ports where the page looks for them."""

    def __init__(self, settings: StreamSettings, folder: Path, controls: Mapping[str, str]) -> None:
        super().__init__(settings, folder)
        self._controls = controls

    def _role(self, name: str, module: str, config: dict[str, Any], *, restart: bool = True) -> Role:
        if name in self._controls:
            config = {**config, "control": self._controls[name]}
        if name == "edge":
            config = {**config, "loop": True}
        return super()._role(name, module, config, restart=restart)

    def controls(self) -> dict[str, str]:
        """Process -> its control port, ``HOST:PORT``, once all are up."""
        for role in self.roles.values():
            role.wait_ready()
        return {name: str(role.config["control"]) for name, role in self.roles.items()}

    def stop(self) -> None:
        """Stop every process; an edge that was paused would wait for its next sample first."""
        edge = self.roles.get("edge")
        if edge is not None and edge.ready and edge.returncode is None:
            with suppress(Exception):  # it may be down just now, and is stopped all the same
                edge.settings(paused=False)
        super().stop()


class SplitWish(BaseModel):
    """``PATCH /settings`` of the live demo's own port."""

    model_config = ConfigDict(extra="forbid")

    split: str | None = None


class Live:
    """``with Live(...) as live: live.run()``. :attr:`address` is the page's."""

    def __init__(self, split: str, cut: Cut, folder: Path, port: int = 0) -> None:
        self._cut, self._folder = cut, folder
        self._settings = live_settings(cut(split))
        self._port = port
        self._session: Session | None = None
        self._console: Role | None = None
        self._control: ControlServer | None = None
        self._controls: dict[str, str] = {}
        self._wanted: str | None = None
        self._opened = 0
        self._changed = threading.Condition()
        self._over = threading.Event()
        self.address = ""

    def __enter__(self) -> Live:
        try:
            self._open(self._settings)
            self._control = ControlServer("lab", self._state, SplitWish, self._wish)
            self._console = Role("console", "console", self._page(self._control.start()), self._folder / "roles")
            self._console.start()
            self.address = f"http://127.0.0.1:{self._console.wait_ready()['port']}/"
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def disk_gb(self) -> float:
        """What one session may keep: three records and the link's spool, which is a quarter of a gigabyte."""
        return 3 * self._settings.record_gb + 0.25

    @property
    def roles(self) -> dict[str, Role]:
        """Every process by name."""
        found = dict(self._session.roles) if self._session else {}
        return found | ({"console": self._console} if self._console else {})

    def run(self, on_session: Callable[[str], None] = lambda split: None) -> None:
        """Until :meth:`end`: keep the processes up and open the sessions that the page asks for.

        RunError when a process ends for good.
        """
        while not self._over.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None or self._over.is_set(), POLL_S)
                wanted, self._wanted = self._wanted, None
            if wanted is not None:
                self._open(live_settings(self._cut(wanted)))
                on_session(wanted)
            for name, role in self.roles.items():
                if role.returncode is not None:
                    raise RunError(f"{name} ended with exit code {role.returncode}: {role.last_words()}")

    def end(self) -> None:
        """Let :meth:`run` return."""
        self._over.set()

    def _open(self, settings: StreamSettings) -> None:
        """Close the session there is and open one with these settings."""
        if self._session is not None:
            self._session.stop()
        self._opened += 1
        self._settings = settings
        folder = self._folder / f"session-{self._opened}_{settings.split}"
        self._session = Session(settings, folder, self._controls)
        self._session.__enter__()
        self._controls = self._session.controls()

    def _page(self, port: int) -> dict[str, Any]:
        s = self._settings
        chosen = victim(s.victim)
        learned = [attack.row for attack in s.attacks if attack.files]
        return {
            "listen": f"127.0.0.1:{self._port}",
            **{name: self._controls[name] for name in PORTS},
            "lab": f"127.0.0.1:{port}",
            "victim": s.victim,
            "modality": chosen.modality,
            "split": s.split,
            "splits": [split for split in chosen.splits if self._possible(split)],
            "settings": dict(s.victim_settings),
            "only_shown": True,
            "shown": learned[0] if learned else s.attacks[0].row if s.attacks else None,
            "seed": s.seed,
        }

    def _possible(self, split: str) -> bool:
        try:
            self._cut(split)
        except InputError:
            return False
        return True

    def _state(self) -> dict[str, Any]:
        return {"split": self._settings.split, "opening": self._wanted, "sessions": self._opened}

    def _wish(self, wish: SplitWish) -> dict[str, Any]:
        """Refuse what cannot be opened before anything is closed: the old session then goes on."""
        if wish.split is None or wish.split == self._settings.split:
            return self._state()
        self._cut(wish.split)
        with self._changed:
            self._wanted = wish.split
            self._changed.notify_all()
        return self._state()

    def _stop(self) -> None:
        if self._console is not None:
            self._console.stop()
        if self._session is not None:
            self._session.stop()
        if self._control is not None:
            self._control.stop()


def live_settings(settings: StreamSettings) -> StreamSettings:
    """A study's stream as the live demo runs it: without end, paced, latest first, over a link with a name."""
    return replace(
        settings,
        mode="live",
        frames=0,
        rate_hz=settings.rate_hz or RATE_HZ,
        record_gb=min(settings.record_gb, RECORD_GB),
        link=settings.link or profile("lan").role(),
        # The strength is the page's to turn: the card says which defense the listener knows, and promises no strength.
        knowledge=replace(settings.knowledge, defense_settings={}),
    )


def demo_cut(study: str, settings: Settings) -> tuple[str, Cut]:
    """A study's first split point, and its stream at any; InputError where the study has none there."""

    def cut(split: str) -> StreamSettings:
        return cells_of(find(study), replace(settings, splits=(split,)))[0].stream

    return cells_of(find(study), settings)[0].stream.split, cut
