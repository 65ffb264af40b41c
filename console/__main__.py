"""``python -m console --config console.toml``: the live page.

Prints one JSON line when it is ready: ``{"ready": "console", "port": PORT}``. SIGTERM and Ctrl-C: exit code 0. Bad
settings or a taken port: one line, exit code 2. On an address that other machines reach, browsers need the token in
``EAVESPLIT_CONSOLE_TOKEN``; ``EAVESPLIT_CONTROL_TOKEN`` is what the processes' own ports ask for, and
``EAVESPLIT_ATTACKER_TOKEN`` what the listener's asks for, where it must not hold the key to the truth.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path

from console.app import Console
from console.config import ConsoleConfig
from wire.control import TOKEN_VARIABLE
from wire.errors import EavesplitError
from wire.rolefile import read

PAGE_TOKEN = "EAVESPLIT_CONSOLE_TOKEN"
ATTACKER_TOKEN = "EAVESPLIT_ATTACKER_TOKEN"


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m console", description="The live page.")
    parser.add_argument("--config", type=Path, required=True, help="role file (TOML)")
    chosen = parser.parse_args(arguments)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        config = read(ConsoleConfig, chosen.config)
        control = os.environ.get(TOKEN_VARIABLE)
        console = Console(config, os.environ.get(PAGE_TOKEN), control, os.environ.get(ATTACKER_TOKEN, control))
        port = console.start()
    except EavesplitError as error:
        print(f"console: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"ready": "console", "port": port}), flush=True)
    over.wait()
    console.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
