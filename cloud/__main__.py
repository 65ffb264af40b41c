"""``python -m cloud --config cloud.toml``: serve tails over gRPC.

Prints one line of JSON when ready: ``{"ready": "cloud", "port": N, "control": M}``. SIGTERM drains and exits 0.
"""

from __future__ import annotations

from wire.malloc import tune

tune()  # before gRPC and torch grow the heap

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402

from cloud.config import CloudConfig  # noqa: E402
from cloud.copies import CopyPusher  # noqa: E402
from cloud.service import Tails, check_victim  # noqa: E402
from wire.control import TOKEN_VARIABLE, ControlServer  # noqa: E402
from wire.errors import EavesplitError  # noqa: E402
from wire.rolefile import read  # noqa: E402
from wire.server import CloudServer  # noqa: E402
from wire.tls import TlsFiles  # noqa: E402


def main(argv: list[str] | None = None) -> int:
    """Run a cloud until SIGTERM or Ctrl-C. Exit code 2 for bad input, with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m cloud", description="Serve the tails of a victim over gRPC.")
    parser.add_argument("--config", type=Path, required=True, help="role file (TOML)")
    arguments = parser.parse_args(argv)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        serve(read(CloudConfig, arguments.config), stop)
    except EavesplitError as error:
        print(f"cloud: {error}", file=sys.stderr)
        return 2
    return 0


def serve(config: CloudConfig, stop: threading.Event) -> None:
    """Serve until ``stop`` is set, then drain for at most ``grace_s`` seconds."""
    torch.set_num_threads(config.threads)
    check_victim(config)
    copies = CopyPusher(config.mirror, config.mirror_mb << 20) if config.mirror else None
    tails = Tails(config, copies.snapshot if copies and config.snapshots else None)
    server = CloudServer(
        tails,
        config.listen,
        tls=TlsFiles.of(config.tls) if config.tls else None,
        max_transfer_bytes=config.max_transfer_mb << 20,
        on_copy=copies.push if copies else None,
    )
    port = server.start()

    def state() -> dict[str, object]:
        counters = {"sessions": tails.sessions, "opened": tails.opened, "refused": tails.refused}
        return {**counters, **server.counters(), **({"copies": copies.counters()} if copies else {})}

    token = os.environ.get(TOKEN_VARIABLE)
    control = ControlServer("cloud", state, None, None, address=config.control, token=token)
    print(json.dumps({"ready": "cloud", "port": port, "control": control.start()}), flush=True)
    stop.wait()
    server.stop(config.grace_s)
    if copies:
        copies.close()
    control.stop()


if __name__ == "__main__":
    sys.exit(main())
