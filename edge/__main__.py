"""``python -m edge --config edge.toml``: run heads and stream what they make.

Prints one line of JSON when the session is open: ``{"ready": "edge", "control": M}``, and one when the source has
ended: ``{"done": "edge", ...counters}``. SIGTERM and Ctrl-C finish what is in flight and leave a record to go on from.
"""

from __future__ import annotations

from wire.malloc import tune

tune()  # before gRPC and torch grow the heap

import argparse  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402

from edge.config import EdgeConfig  # noqa: E402
from edge.run import Edge  # noqa: E402
from wire.errors import EavesplitError  # noqa: E402
from wire.rolefile import read  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Run an edge until its source ends. Exit code 2 for bad input or a refused session, with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m edge", description="Run the head of a victim and stream it.")
    parser.add_argument("--config", type=Path, required=True, help="role file (TOML)")
    arguments = parser.parse_args(argv)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        edge = Edge(read(EdgeConfig, arguments.config))
        counters = edge.run(
            stop, on_ready=lambda port: print(json.dumps({"ready": "edge", "control": port}), flush=True)
        )
    except EavesplitError as error:
        print(f"edge: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"done": "edge", "stopped": stop.is_set(), **counters}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
