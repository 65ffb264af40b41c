"""``python -m attacker --config attacker.toml``: listen on the mirror port, or run the attacks on a capture.

Prints one JSON line on stdout when ready: ``{"ready": "attacker", "mirror": PORT, "control": PORT}`` (mirror null
with a capture). Logs go to stderr. SIGTERM and Ctrl-C: in lossless mode the queue is worked off for at most
``grace_s`` seconds; exit code 0, or 4 where work was left. A capture ends by itself: 0, or 3 where some of it could
not be read, 1 where nothing could. Bad settings: one line, exit code 2.

The guard goes up before torch, any attack or any thread exists, so imports that need it stand in functions.
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from attacker import guard
from attacker.config import WORK, AttackerConfig
from attacker.knowledge import KnowledgeCard
from attacker.redis_address import address_of
from wire.address import listen, parse_address
from wire.errors import EavesplitError, InputError
from wire.rolefile import read

if TYPE_CHECKING:
    from attacker.process import Attacker

LEFT_UNDONE = 4
POLL_S = 0.1


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m attacker", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the role file (TOML)")
    chosen = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        config = read(AttackerConfig, chosen.config)
        card = config.card
        folders = [config.folder / "capture", config.folder / "reconstructions", config.folder / WORK]
        if card.vantage == "cloud" and config.mirror:
            folders.append(config.snapshots)
        for folder in folders if config.mirror else folders[1:]:
            folder.mkdir(parents=True, exist_ok=True)
        dial = [address_of(config.redis).address] if config.redis is not None else []
        card = card.with_guard(guard.install(_granted(config, card), [f for f in folders if f.is_dir()], connect=dial))
        return _run(config, card, stop)
    except InputError as error:
        print(f"attacker: {error}", file=sys.stderr)
        return 2
    except EavesplitError as error:
        print(f"attacker: {error}", file=sys.stderr)
        return 1


def _granted(config: AttackerConfig, card: KnowledgeCard) -> list[Path]:
    """Every file that may be read: what the attacks were given, and the capture that is to be attacked, with the models
    that lie beside it where the card grants them."""
    files = [path for attack in config.attacks for path in attack.every_file]
    if config.capture:
        files.append(config.capture)
        if card.vantage == "cloud" and config.snapshots.is_dir():
            files.append(config.snapshots)
    return files


def _run(config: AttackerConfig, card: KnowledgeCard, stop: threading.Event) -> int:
    server = listen(parse_address(config.mirror, "mirror"), "mirror") if config.mirror else None

    from attacker.process import Attacker
    from attacker.service import AttackerControl

    attacker = Attacker(config, card)
    control = AttackerControl(attacker, config.control, config.control_hosts)
    port = control.start()
    attacker.start()
    ready = {"ready": "attacker", "mirror": server.getsockname()[1] if server else None, "control": port}
    print(json.dumps(ready), flush=True)
    try:
        if server is None:
            return _attack_capture(config, attacker, stop)
        _until(stop, attacker.restore)
        return _listen(config, attacker, server, stop)
    finally:
        control.stop()


def _listen(config: AttackerConfig, attacker: Attacker, server: socket.socket, stop: threading.Event) -> int:
    from attacker.listener import MirrorListener

    listener = MirrorListener(server, attacker.connected, attacker.disconnected)
    listener.start()
    stop.wait()
    deadline = time.monotonic() + config.grace_s
    attacker.queue.pause(False)  # a reader may be waiting for room
    heard = listener.stop(config.grace_s)
    done = attacker.stop(max(deadline - time.monotonic(), 0.1))
    return 0 if heard and done else LEFT_UNDONE


def _attack_capture(config: AttackerConfig, attacker: Attacker, stop: threading.Event) -> int:
    folder = config.capture or config.folder / "capture"
    _until(stop, lambda: attacker.run_capture(folder))
    if not stop.is_set():
        attacker.queue.close(drain=True)
        while attacker.working and not stop.wait(POLL_S):
            pass
    if not attacker.stop(config.grace_s):
        return LEFT_UNDONE
    for line in attacker.summary.broken:
        print(f"attacker: capture {folder}: {line}", file=sys.stderr)
    return attacker.summary.exit_code


def _until(stop: threading.Event, call: Callable[[], None]) -> None:
    """Run ``call``, which may wait for room in the queue, until it returns or a stop is asked for."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="replay", daemon=True)
    thread.start()
    while thread.is_alive() and not stop.is_set():
        thread.join(POLL_S)
    if failures:
        raise failures[0]


if __name__ == "__main__":
    sys.exit(main())
