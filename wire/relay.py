"""``python -m wire.relay``: the link between edge and cloud, as a process.

Forwards TCP from ``--listen`` to ``--forward``, shapes it, and mirrors both directions to the listener at ``--mirror``.
Prints one JSON line when it is ready, ``{"ready": "link", "port": N, "control": M}``; everything else goes to stderr.
SIGTERM: what has arrived is forwarded, for at most 5 seconds; exit code 0. Bad settings or a taken port: one line, 2.

Loss on the cable appears as what TCP makes of it: stalls (``PATCH /settings {"stall": true}``) and resets
(``POST /reset``). Knows bytes only: neither torch nor gRPC is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wire.address import listen, parse_address
from wire.control import TOKEN_VARIABLE, ControlServer, one_line
from wire.errors import InputError
from wire.link import Link, LinkState
from wire.shaper import MAX_DELAY_MS, MAX_RATE_MBPS, MIN_RATE_MBPS, LinkSettings
from wire.spool import Spool
from wire.tap import Tap

DRAIN_S = 5.0


class DirectionPatch(BaseModel):
    """A change of one direction: what is not given stays. ``rate_mbps`` None: unlimited."""

    model_config = ConfigDict(extra="forbid")

    rate_mbps: float | None = Field(default=None, ge=MIN_RATE_MBPS, le=MAX_RATE_MBPS)
    delay_ms: float = Field(default=0.0, ge=0.0, le=MAX_DELAY_MS)
    jitter_ms: float = Field(default=0.0, ge=0.0, le=MAX_DELAY_MS)

    def on(self, settings: LinkSettings) -> LinkSettings:
        """``settings`` with what was given."""
        given = self.model_dump(include={"rate_mbps", "delay_ms", "jitter_ms"}, exclude_unset=True)
        return replace(settings, **given)


class LinkPatch(DirectionPatch):
    """A change of the link: both directions at once, or ``up`` and ``down`` apart; the latter win."""

    up: DirectionPatch = Field(default_factory=DirectionPatch)
    down: DirectionPatch = Field(default_factory=DirectionPatch)
    stall: bool = False

    def on_link(self, state: LinkState) -> LinkState:
        """``state`` with what was given."""
        return LinkState(
            up=self.up.on(self.on(state.up)),
            down=self.down.on(self.on(state.down)),
            stall=self.stall if "stall" in self.model_fields_set else state.stall,
        )


class LinkConfig(LinkPatch):
    """The file of ``--config``; every flag stands above the key of its name."""

    listen: str = "127.0.0.1:0"
    forward: str
    mirror: str | None = None
    control: str = "127.0.0.1:0"
    seed: int = Field(default=0, ge=0)
    spool: Path | None = None
    spool_mb: int = Field(default=256, ge=1, le=1 << 16)


def read_config(arguments: Sequence[str]) -> LinkConfig:
    """Flags over file over defaults. Raises :class:`~wire.errors.InputError`."""
    parser = argparse.ArgumentParser(prog="python -m wire.relay", description="The link between edge and cloud.")
    parser.add_argument("--config", type=Path, metavar="TOML", help="settings; flags win")
    parser.add_argument("--listen", metavar="HOST:PORT", help="where the edge connects (default 127.0.0.1:0)")
    parser.add_argument("--forward", metavar="HOST:PORT", help="the cloud")
    parser.add_argument("--mirror", metavar="HOST:PORT", help="the listener's mirror port (default: no mirror)")
    parser.add_argument("--control", metavar="HOST:PORT", help="control port (default 127.0.0.1:0)")
    parser.add_argument("--rate-mbps", type=float, help="megabits per second, both directions (default unlimited)")
    parser.add_argument("--delay-ms", type=float, help="one way")
    parser.add_argument("--jitter-ms", type=float, help="added delay, uniform from 0 to this")
    parser.add_argument("--seed", type=int, help="of the jitter (default 0)")
    parser.add_argument("--spool", type=Path, metavar="PATH", help="ring file (default: a temporary one)")
    parser.add_argument("--spool-mb", type=int, help="its size in MiB (default 256)")
    flags = {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}
    path: Path | None = flags.pop("config", None)
    source, settings = "flags", {}
    if path is not None:
        source = str(path)
        try:
            settings = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError(f"{path}: {error}") from None
    try:
        return LinkConfig.model_validate(settings | flags)
    except ValidationError as error:
        raise InputError(f"{source}: {one_line(error)}") from None


class Relay:
    """Everything of one link process; :meth:`start` and :meth:`stop`."""

    def __init__(self, config: LinkConfig) -> None:
        forward = parse_address(config.forward, "forward")
        self._listening = listen(parse_address(config.listen, "listen"), "listen")
        self._tap: Tap | None = None
        if config.mirror is not None:
            spool = Spool(config.spool, config.spool_mb << 20)
            self._tap = Tap(parse_address(config.mirror, "mirror"), spool)
        self._link = Link(self._listening, forward, config.on_link(LinkState()), seed=config.seed, tap=self._tap)
        self._control = ControlServer(
            "link",
            self._state,
            LinkPatch,
            self._apply,
            address=config.control,
            token=os.environ.get(TOKEN_VARIABLE),
            actions={"/reset": lambda: {"reset": self._link.reset()}},
        )
        self._port: int = self._listening.getsockname()[1]
        self._started = time.monotonic()

    def start(self) -> Mapping[str, Any]:
        """Begin; the ready line."""
        control = self._control.start()
        if self._tap is not None:
            self._tap.start()
        self._link.start()
        return {"ready": "link", "port": self._port, "control": control}

    def stop(self, timeout: float) -> None:
        """Drain the connections, then the mirror, in ``timeout`` seconds together."""
        deadline = time.monotonic() + timeout
        self._link.stop(timeout)
        if self._tap is not None:
            self._tap.stop(max(0.0, deadline - time.monotonic()))
        self._control.stop()

    def _state(self) -> Mapping[str, Any]:
        return {"name": "link", "port": self._port, "uptime_s": time.monotonic() - self._started, **self._link.report()}

    def _apply(self, patch: LinkPatch) -> Mapping[str, Any]:
        self._link.change(patch.on_link(self._link.state))
        report = self._link.report()
        return {"t_ns": time.monotonic_ns(), "settings": report["settings"], "bytes": report["bytes"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        relay = Relay(read_config(sys.argv[1:] if arguments is None else arguments))
        try:
            ready = relay.start()
        except InputError:
            relay.stop(0.0)
            raise
    except InputError as error:
        print(f"link: {error}", file=sys.stderr)
        return 2
    print(json.dumps(ready), flush=True)
    over.wait()
    relay.stop(DRAIN_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
