"""A curious cloud's copies, over a real session and a real mirror port."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from attacker.frames import RawFrame
from attacker.sessions import Ear, Sessions
from cloud.copies import CopyPusher
from wire.client import EdgeClient, Offer
from wire.envelope import encode
from wire.mirror import Record, RecordReader
from wire.payload import Payload
from wire.pb.frame_pb2 import Envelope
from wire.server import CloudServer, Opening


class Echo:
    def reply(self, payload: Payload, exchange: int, turn: int, part: int, parts: int) -> Payload:
        return Payload("result", payload.layout, payload.tensors)

    def close(self) -> None: ...

    def open(self, opening: Opening) -> Echo:
        return self


class Ears:
    """A listener's mirror port: one ear for each connection, as the attacker has."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.sessions = Sessions()
        self.frames: list[tuple[str, int]] = []
        self.peers: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self.peers.append(peer)
            threading.Thread(target=self._hear, args=(peer,), daemon=True).start()

    def _hear(self, peer: socket.socket) -> None:
        reader, ear = RecordReader(), Ear(self.sessions)
        try:
            while data := peer.recv(1 << 16):
                for record in reader.feed(data):
                    self._feed(ear, record)
        except OSError:
            return

    def _feed(self, ear: Ear, record: Record) -> None:
        for event in ear.feed(record):
            if isinstance(event, RawFrame):
                assert event.tap == "cloud"
                self.frames.append((event.session, event.frame))


@pytest.fixture
def cloud() -> Iterator[tuple[Ears, CopyPusher, Callable[[], EdgeClient]]]:
    ears = Ears()
    copies = CopyPusher(ears.address)
    server = CloudServer(Echo(), on_copy=copies.push)
    port = server.start()
    clients: list[EdgeClient] = []

    def connect() -> EdgeClient:
        client = EdgeClient(f"127.0.0.1:{port}", Offer("toy", "middle", b"w" * 32, b"c" * 32, ("toy",)))
        client.open()
        clients.append(client)
        return client

    yield ears, copies, connect
    for client in clients:
        client.close()
    server.stop(1)
    copies.close()
    ears.server.close()
    for peer in ears.peers:
        peer.close()


def send(client: EdgeClient, frame: int) -> None:
    payload = Payload("features", "toy", {"x": torch.full((50,), float(frame))})
    assert torch.equal(next(client.send(frame, 0, [payload])).payload.tensors["x"], payload.tensors["x"])


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_two_sessions_at_once_are_heard_apart(cloud: tuple[Ears, CopyPusher, Callable[[], EdgeClient]]) -> None:
    ears, _, connect = cloud
    first, second = connect(), connect()
    for frame in range(3):
        send(first, frame)
        send(second, frame + 10)
    until(lambda: len(ears.frames) == 6)
    heard: dict[str, list[int]] = {}
    for session, frame in ears.frames:
        heard.setdefault(session, []).append(frame)
    assert sorted(heard.values()) == [[0, 1, 2], [10, 11, 12]]
    assert {s.info.victim for s in ears.sessions} == {"toy"}


def test_a_listener_that_comes_back_knows_what_it_hears(
    cloud: tuple[Ears, CopyPusher, Callable[[], EdgeClient]],
) -> None:
    ears, copies, connect = cloud
    client = connect()
    send(client, 0)
    until(lambda: len(ears.frames) == 1)
    ears.peers[0].shutdown(socket.SHUT_RDWR)
    ears.peers[0].close()
    ears.sessions = Sessions()  # what the listener knew is gone
    frame = 1
    while len(ears.peers) < 2 or len(ears.frames) < 2:
        send(client, frame)  # the victim never waits
        frame += 1
        assert frame < 2000
    assert all(session.info.victim == "toy" for session in ears.sessions)
    counted = copies.counters()
    assert counted["pushed"] + counted["lost"] <= 1 + 2 * frame
    assert counted["lost"] >= 1


def test_a_goodbye_and_the_end_of_a_session_are_copied(
    cloud: tuple[Ears, CopyPusher, Callable[[], EdgeClient]],
) -> None:
    ears, _, connect = cloud
    client = connect()
    send(client, 0)
    client.close()
    until(lambda: [session.closed for session in ears.sessions] == [True])


def test_what_a_listener_does_not_take_is_bounded_and_counted() -> None:
    """Nobody listens: of ten copies of 3000 bytes the ring of 8 KiB keeps the newest two."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    copies = CopyPusher(address, 1 << 13)
    message = encode(Envelope(ack=1), bytes(3000))
    copies.push(b"s" * 16, 0, encode(Envelope(), b""))
    until(lambda: copies.counters()["waiting_bytes"] == 0)  # the first is in hand
    for _ in range(10):
        copies.push(b"s" * 16, 0, message)
    copies.snapshot(b"t" * 16, b"of a session that never opened")
    counted = copies.counters()
    assert (counted["lost"], counted["snapshots"], counted["capacity_bytes"]) == (8, 0, 1 << 13)
    assert 6000 < counted["waiting_bytes"] <= 1 << 13
    copies.close(0.1)
