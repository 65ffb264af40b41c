"""A cloud that echoes, as a process of its own that can be killed and started again at once.

Reads lines from stdin: ``start PORT WINDOW`` forks a child that serves on that port (0: any) and prints ``PID PORT``. A
fork of a process that has imported everything starts in milliseconds, so that a test can afford many deaths.
"""

import os
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from wire.dtypes import to_bytes
from wire.payload import Payload
from wire.peer import Pulse
from wire.server import CloudServer


class Echo:
    """Replies with the same tensors, their CRC, and how often this process has computed this exchange."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}

    def reply(self, payload: Payload, exchange: int, turn: int, part: int, parts: int) -> Payload:
        key = exchange * 1000 + turn * 100 + part
        self.seen[key] = self.seen.get(key, 0) + 1
        time.sleep(float(payload.meta.get("sleep", 0.0)))
        crc = 0
        for tensor in payload.tensors.values():
            crc = zlib.crc32(to_bytes(tensor), crc)
        return Payload("result", "dense", payload.tensors, {"crc": crc, "times": self.seen[key], "pid": os.getpid()})

    def close(self) -> None: ...


class Service:
    def open(self, opening: object) -> Echo:
        return Echo()


def serve(port: int, window: int) -> None:
    """Serve until killed."""
    torch.set_num_threads(1)
    server = CloudServer(Service(), f"127.0.0.1:{port}", window_bytes=window, pulse=Pulse(200_000_000, 10_000_000_000))
    for _ in range(100):
        try:
            found = server.start()
            break
        except ValueError:  # the one before is not quite gone
            time.sleep(0.05)
    print(os.getpid(), found, flush=True)
    while True:
        time.sleep(60)


def main() -> None:
    children = []
    for line in sys.stdin:
        _, port, window = line.split()
        for child in list(children):
            if os.waitpid(child, os.WNOHANG)[0]:
                children.remove(child)
        pid = os.fork()
        if pid == 0:
            sys.stdin.close()
            serve(int(port), int(window))
        children.append(pid)


if __name__ == "__main__":
    main()
