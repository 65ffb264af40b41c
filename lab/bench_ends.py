"""``python -m lab.bench_ends KIND``: one end of a stream that ``eavesplit bench wire`` measures.

``ceiling-server``, ``protocol-server`` and ``sink`` print their port and serve until their standard input closes.
``ceiling-client HOST:PORT`` and ``protocol-client HOST:PORT`` read lines ``BYTES FRAMES`` and answer each with the
seconds from the first byte handed over to the last frame answered.

The ceiling is a gRPC stream of ready-made bytes with the same options: what Python and gRPC cost before any protocol.
"""

from __future__ import annotations

from wire.malloc import tune

tune()  # before gRPC and torch grow the heap

import queue  # noqa: E402
import socket  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402
from typing import Any  # noqa: E402

import grpc  # noqa: E402

from wire import options  # noqa: E402
from wire.handshake import PIECE_BYTES  # noqa: E402

METHOD, SERVICE = "Session", "eavesplit.bench.Ceiling"
END_OF_FRAME = b"."
SINK_BYTES = 1 << 20

Transfer = Callable[[int, int], float]
"""Sends so many frames of so many bytes; the seconds it took."""


def ceiling_server() -> int:
    """Drops what comes and answers each frame's last message with one byte; the port."""

    def session(requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for message in requests:
            if message == END_OF_FRAME:
                yield END_OF_FRAME

    server = grpc.server(ThreadPoolExecutor(4), options=options.SERVER)
    handler = grpc.stream_stream_rpc_method_handler(session)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _KEPT.append(server)
    return int(port)


def ceiling_client(address: str) -> Transfer:
    """One stream for all rounds, fed through a queue."""
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    channel = grpc.insecure_channel(address, options.CHANNEL)
    replies = channel.stream_stream(f"/{SERVICE}/{METHOD}")(iter(waiting.get, None), wait_for_ready=True)
    piece = bytes(PIECE_BYTES)

    def transfer(nbytes: int, frames: int) -> float:
        start = time.monotonic()
        for _ in range(frames):
            for offset in range(0, nbytes, PIECE_BYTES):
                waiting.put(piece if nbytes - offset >= PIECE_BYTES else piece[: nbytes - offset])
            waiting.put(END_OF_FRAME)
        for _ in range(frames):
            next(replies)
        return time.monotonic() - start

    return transfer


def protocol_server() -> int:
    """The cloud's own server with a tail that does nothing; the port."""
    import torch

    from wire.payload import Payload
    from wire.server import CloudServer, Opening

    class Nothing:
        def reply(self, payload: Payload, exchange: int, turn: int, part: int, parts: int) -> Payload:
            return Payload("result", "dense", {"y": torch.zeros(1)}, {})

        def close(self) -> None:
            """Nothing was held."""

    class Service:
        def open(self, opening: Opening) -> Nothing:
            return Nothing()

    torch.set_num_threads(1)
    server = CloudServer(Service(), "127.0.0.1:0")
    _KEPT.append(server)
    return server.start()


def protocol_client(address: str) -> Transfer:
    """One session for all rounds; every frame is an exchange with one part up and its reply down."""
    import torch

    from wire.client import EdgeClient, Offer
    from wire.payload import Payload

    torch.set_num_threads(1)
    client = EdgeClient(address, Offer("bench", "none", b"w" * 32, b"c" * 32, ("dense",)))
    client.open()
    number = 0

    def transfer(nbytes: int, frames: int) -> float:
        nonlocal number
        payload = Payload("features", "dense", {"x": torch.zeros(nbytes, dtype=torch.uint8)}, {})
        start = time.monotonic()
        answers = [client.send(number + frame, 0, [payload]) for frame in range(frames)]
        for replies in answers:
            next(replies)
        number += frames
        return time.monotonic() - start

    return transfer


def sink() -> int:
    """A listener's mirror port that drops everything; the port."""
    listening = socket.create_server(("127.0.0.1", 0))

    def drop() -> None:
        buffer = bytearray(SINK_BYTES)
        while True:
            peer, _ = listening.accept()
            with peer:
                while peer.recv_into(buffer):
                    pass

    threading.Thread(target=drop, name="sink", daemon=True).start()
    return int(listening.getsockname()[1])


_KEPT: list[Any] = []  # a gRPC server that nobody refers to stops
SERVERS = {"ceiling-server": ceiling_server, "protocol-server": protocol_server, "sink": sink}
CLIENTS = {"ceiling-client": ceiling_client, "protocol-client": protocol_client}


def main(arguments: list[str]) -> int:
    """Run one end until standard input closes."""
    kind = arguments[0] if arguments else ""
    if kind in SERVERS:
        print(SERVERS[kind](), flush=True)
        sys.stdin.read()
    elif kind in CLIENTS and len(arguments) == 2:
        transfer = CLIENTS[kind](arguments[1])
        print("ready", flush=True)
        for line in sys.stdin:
            nbytes, frames = map(int, line.split())
            print(transfer(nbytes, frames), flush=True)
    else:
        print(f"bench_ends {kind!r}; accepted: {', '.join([*SERVERS, *CLIENTS])}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    # gRPC's threads and an open session would hold the interpreter; nothing here is worth keeping.
    import os

    os._exit(code)
