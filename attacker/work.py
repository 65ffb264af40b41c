"""``python -m attacker.work --config worker.toml``: invert what an attacker puts into Redis.

Prints one JSON line on stdout when ready: ``{"ready": "worker", "control": PORT}``. Logs go to stderr. SIGTERM and
Ctrl-C: the work in hand is finished within ``grace_s`` seconds; exit code 0, or 4 where it was not (another worker
gets it then). Bad settings, or a Redis that cannot be had: one line, exit code 2. A Redis that goes away later is
waited for.

The guard goes up before torch, any attack or any thread exists, so imports that need it stand in functions.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path

from attacker import guard
from attacker.config import WorkerConfig
from attacker.knowledge import KnowledgeCard
from attacker.redis_address import address_of
from wire.errors import EavesplitError, InputError
from wire.rolefile import read

LEFT_UNDONE = 4
POLL_S = 0.2


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m attacker.work", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the role file (TOML)")
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        config = read(WorkerConfig, given.config)
        card = config.card
        files = [path for attack in config.attacks for path in attack.every_file]
        return _run(config, card.with_guard(guard.install(files, [], connect=[address_of(config.redis).address])), stop)
    except InputError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    except EavesplitError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 1


def _run(config: WorkerConfig, card: KnowledgeCard, stop: threading.Event) -> int:
    import torch

    from attacker.granting import digest, entitled, grants_of
    from attacker.redis_worker import RedisWorker
    from wire.control import TOKEN_VARIABLE, ControlServer

    torch.set_num_threads(config.threads)
    worker = RedisWorker(
        address_of(config.redis),
        config.redis_prefix,
        config.name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}",
        entitled(config.attacks, card),
        {a.row: grants_of(a, card, device=config.device, seed=config.seed) for a in config.attacks},
        {a.row: digest(a, card, config.seed) for a in config.attacks},
    )
    control = ControlServer(
        "worker",
        lambda: {**worker.state(), "knowledge": card.to_dict()},
        address=config.control,
        token=os.environ.get(TOKEN_VARIABLE),
        hosts=config.control_hosts,
    )
    port = control.start()
    try:
        worker.start()
        print(json.dumps({"ready": "worker", "control": port}), flush=True)
        while worker.working and not stop.wait(POLL_S):
            pass
        if not stop.is_set():
            return 1  # a defect: what it said stands on stderr
        return 0 if worker.stop(config.grace_s) else LEFT_UNDONE
    finally:
        control.stop()


if __name__ == "__main__":
    sys.exit(main())
