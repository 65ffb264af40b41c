"""Traffic of an imagined victim: payloads, envelopes, and real HTTP/2 bytes made by another implementation (h2)."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import torch

from wire.envelope import encode
from wire.mirror import DOWN, UP, Kind, Record
from wire.payload import Payload
from wire.pb.frame_pb2 import Close, Envelope, Open, Opened
from wire.transfer import pack

SESSION = bytes(range(16))
Message = tuple[int, bytes]
"""Direction and a whole gRPC message, without its prefix."""


def dense(frame: int, size: int = 3000) -> Payload:
    """Features whose first element is the frame's number and whose sum is known."""
    generator = torch.Generator().manual_seed(frame)
    values = torch.rand((1, size), generator=generator)
    values[0, 0] = frame
    return Payload("features", "toy_dense", {"x": values}, {"stride": (2, 2)})


def sparse(frame: int, sites: int = 40) -> Payload:
    coords = torch.zeros((sites, 4), dtype=torch.int32)
    coords[:, 3] = torch.arange(sites) + frame
    return Payload("features", "toy_sparse", {"coords": coords, "features": torch.full((sites, 2), float(frame))}, {})


def result(frame: int) -> Payload:
    return Payload("result", "toy_result", {"boxes": torch.full((2, 7), float(frame))}, {})


@dataclass
class Sender:
    """Numbers transfers as one end of a session does, and cuts them into pieces."""

    direction: int
    piece_bytes: int = 4096
    next_transfer: int = 0

    def send(self, payload: Payload, **header: int) -> list[Message]:
        """The messages of one transfer; header: exchange, turn, part, parts, reply_to."""
        reply_to = header.pop("reply_to", None)
        out = pack(payload, self.piece_bytes, crc=True, **header)
        if reply_to is not None:
            out.header.reply_to = reply_to
        number, self.next_transfer = self.next_transfer, self.next_transfer + 1
        messages = []
        for index in range(out.pieces):
            head = Envelope(piece=index, transfer_id=number, ack=number)
            if index == 0:
                head.header.CopyFrom(out.header)
            messages.append((self.direction, encode(head, b"".join(out.piece(index)))))
        return messages


def opening(session: bytes = SESSION, epoch: int = 0, incarnation: int = 0, victim: str = "toy") -> list[Message]:
    up = Open(protocol=1, session_id=session, epoch=epoch, victim=victim, split="s1", incarnation=incarnation)
    up.layouts.append("toy_dense")
    return [
        (UP, encode(Envelope(open=up))),
        (DOWN, encode(Envelope(opened=Opened(protocol=1, session_id=session), credit=1 << 20))),
    ]


def inference(frames: Iterable[int], size: int = 3000, first_transfer: int = 0) -> list[Message]:
    """One transfer up and one down for each frame, bare acknowledgements between."""
    up, down = Sender(UP, next_transfer=first_transfer), Sender(DOWN, next_transfer=first_transfer)
    messages: list[Message] = []
    for frame in frames:
        messages += up.send(dense(frame, size), exchange=frame)
        messages += down.send(result(frame), exchange=frame, reply_to=up.next_transfer - 1)
        messages.append((UP, encode(Envelope(ack=down.next_transfer))))
    return messages


def training(steps: Iterable[int], parts: int = 3) -> list[Message]:
    """Two turns: one part of rays answered with embeddings, then several parts of gradients, each acknowledged."""
    up, down = Sender(UP), Sender(DOWN)
    messages: list[Message] = []
    for step in steps:
        rays = Payload("rays", "toy_rays", {"rays": torch.full((8, 6), float(step))}, {"step": step})
        messages += up.send(rays, exchange=step, turn=0)
        embeddings = Payload("embeddings", "toy_field", {"e": torch.full((64, 4), float(step))}, {})
        messages += down.send(embeddings, exchange=step, turn=0, reply_to=up.next_transfer - 1)
        for part in range(parts):
            gradient = Payload("gradients", "toy_field", {"g": torch.full((64, 4), step + part / 10)}, {})
            messages += up.send(gradient, exchange=step, turn=1, part=part, parts=parts)
            done = Payload("result", "toy_result", {}, {"step": step})
            messages += down.send(done, exchange=step, turn=1, part=part, parts=parts, reply_to=up.next_transfer - 1)
    return messages


def closing(transfers: int = 0) -> list[Message]:
    return [(UP, encode(Envelope(close=Close(reason="done", transfers=transfers))))]


@dataclass
class Wire:
    """Two h2 endpoints, and every byte that passed between them in order. h2 is strict: it would refuse a bad frame."""

    padding: int = 0
    passed: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ends = tuple(
            h2.connection.H2Connection(h2.config.H2Configuration(client_side=client, header_encoding=None))
            for client in (True, False)
        )
        self.streams = 0
        for end in self.ends:
            end.initiate_connection()
        self.pump()

    def pump(self) -> None:
        moved = True
        while moved:
            moved = False
            for direction, (sender, receiver) in enumerate((self.ends, self.ends[::-1])):
                data = sender.data_to_send()
                if not data:
                    continue
                moved = True
                self.passed.append((direction, data))
                for event in receiver.receive_data(data):
                    if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                        receiver.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def call(self, extra_header: int = 0) -> int:
        """Begin a gRPC call; a large extra header needs CONTINUATION frames."""
        stream = 2 * self.streams + 1
        self.streams += 1
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "cloud"),
            (":path", "/eavesplit.wire.v1.Split/Session"),
            ("te", "trailers"),
        ]
        if extra_header:
            headers.append(("x-extra", "z" * extra_header))
        self.ends[0].send_headers(stream, headers)
        self.pump()
        self.ends[1].send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        self.pump()
        return stream

    def send(self, stream: int, messages: Iterable[Message]) -> None:
        for direction, message in messages:
            data = b"\x00" + len(message).to_bytes(4, "big") + message
            for at in range(0, len(data), 16000):
                self.ends[direction].send_data(stream, data[at : at + 16000], pad_length=self.padding or None)
                self.pump()

    def end(self, stream: int, *, reset: bool = False) -> None:
        if reset:
            self.ends[0].reset_stream(stream)
        else:
            self.ends[0].end_stream(stream)
            self.pump()
            self.ends[1].send_headers(stream, [("grpc-status", "0")], end_stream=True)
        self.pump()

    def ping(self) -> None:
        self.ends[0].ping(b"12345678")
        self.pump()

    def records(self, connection: int = 0, t_ns: int = 1000) -> list[Record]:
        """What a link would mirror, one record for each write, a microsecond apart."""
        records = [Record(Kind.OPEN, connection, UP, t_ns, 0)]
        offsets = [0, 0]
        for direction, data in self.passed:
            t_ns += 1000
            records.append(Record(Kind.DATA, connection, direction, t_ns, offsets[direction], data))
            offsets[direction] += len(data)
        return [*records, *(Record(Kind.CLOSE, connection, d, t_ns, offsets[d]) for d in (UP, DOWN))]


def session_records(messages: Sequence[Message], connection: int = 0, **wire: int) -> list[Record]:
    """One connection with one call that carries ``messages``."""
    line = Wire(**wire)
    stream = line.call()
    line.send(stream, messages)
    line.end(stream)
    return line.records(connection)


def cut(records: Sequence[Record], sizes: Iterator[int]) -> list[Record]:
    """The same bytes in DATA records of other lengths."""
    out: list[Record] = []
    for record in records:
        at = 0
        while record.kind is Kind.DATA and at < len(record.data):
            step = next(sizes)
            piece = record.data[at : at + step]
            out.append(Record(Kind.DATA, record.connection, record.direction, record.t_ns, record.offset + at, piece))
            at += len(piece)
        if record.kind is not Kind.DATA:
            out.append(record)
    return out


class Traffic:
    """Everything above, as one fixture."""

    SESSION = SESSION
    Sender, Wire = Sender, Wire
    dense, sparse, result = staticmethod(dense), staticmethod(sparse), staticmethod(result)
    opening, inference, training = staticmethod(opening), staticmethod(inference), staticmethod(training)
    closing, session_records, cut = staticmethod(closing), staticmethod(session_records), staticmethod(cut)


@pytest.fixture(scope="session")
def traffic() -> type[Traffic]:
    return Traffic


class RedisServer:
    """A real redis-server on a port of its own, that keeps nothing on disk: killed and started again, it is empty."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.settings: tuple[str, ...] = ()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self, *settings: str) -> None:
        self.settings = settings or self.settings
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", *self.settings]
        self.process = subprocess.Popen([self._program, *words], cwd=self._folder, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def client(self, **settings: object):
        import redis

        return redis.Redis(port=self.port, protocol=2, **settings)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(10)
            self.process = None


@pytest.fixture
def redis_server(tool: Callable[[str], str], tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tool("redis-server"), tmp_path)
    server.start()
    yield server
    server.end(signal.SIGKILL)
