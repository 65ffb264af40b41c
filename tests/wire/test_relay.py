"""The link as a process, over real sockets: forwarding, shaping, the mirror, and everything that may die."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from wire.errors import InputError
from wire.mirror import DOWN, UP, Kind, Record, RecordReader
from wire.relay import Relay, read_config
from wire.tap import PIN_BYTES

Span = tuple[int, int]
PATIENCE_S = 20.0
"""Longest wait for something that must happen; nothing is measured with it."""


def where(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    return value


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (part := sock.recv(size - len(data))):
        data += part
    return bytes(data)


class Link:
    """A link and its control port; in this process, which starts faster than one of its own."""

    def __init__(self, forward: socket.socket, *arguments: object) -> None:
        self.ready = self.start(["--forward", where(forward), *map(str, arguments)])
        self.control = httpx.Client(base_url=f"http://127.0.0.1:{self.ready['control']}", trust_env=False)

    def start(self, arguments: list[str]) -> Mapping[str, Any]:
        self.relay = Relay(read_config(arguments))
        return self.relay.start()

    def stop(self, timeout: float = 5.0) -> None:
        self.control.close()
        self.relay.stop(timeout)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ready["port"]), timeout=PATIENCE_S)

    def state(self) -> dict[str, Any]:
        return self.control.get("/state").json()

    def patch(self, **settings: Any) -> dict[str, Any]:
        reply = self.control.patch("/settings", json=settings)
        assert reply.status_code == 200, reply.text
        return reply.json()


class LinkProcess(Link):
    """``python -m wire.relay``."""

    def start(self, arguments: list[str]) -> Mapping[str, Any]:
        command = [sys.executable, "-m", "wire.relay", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        ready: dict[str, Any] = json.loads(self.process.stdout.readline())
        return ready

    def end(self, number: int) -> tuple[int, str, str]:
        """Its exit code, what else it printed, and its standard error."""
        self.control.close()
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out, err

    def stop(self, timeout: float = 5.0) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


class Listener:
    """The attacker's mirror port; remembers what each link that dialled it said."""

    def __init__(self, server: socket.socket) -> None:
        self.server = server
        self.heard: list[list[Record]] = []
        self.ended = 0
        self.reading = threading.Event()
        self.reading.set()
        self._peer: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self.server.accept()
            except OSError:
                return
            self._peer = peer
            records: list[Record] = []
            self.heard.append(records)
            reader = RecordReader()
            # A link that ends with bytes unread resets the connection; what came before it counts.
            with peer, suppress(ConnectionResetError):
                while self.reading.wait() and (data := peer.recv(1 << 18)):
                    records += reader.feed(data)
            self.ended += 1

    def whole(self, number: int = 0) -> list[Record]:
        """What the link that dialled as this number said, once it has hung up."""
        until(lambda: self.ended > number)
        return self.heard[number]

    def close(self) -> None:
        self.reading.set()
        for sock in (self.server, self._peer):
            # An address that is closed, or a peer that has gone, is what we want.
            with suppress(OSError):
                if sock is not None:
                    sock.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self._thread.join(PATIENCE_S)


class Rebuilt:
    """One connection as one listener heard it; any seam between its records fails."""

    def __init__(self, records: list[Record], connection: int = 0) -> None:
        self.data = (bytearray(), bytearray())
        self.holes: tuple[list[Span], list[Span]] = ([], [])
        self.closed: dict[int, int] = {}
        mine = [record for record in list(records) if record.connection == connection]
        assert [r.kind for r in mine[:1]] == [Kind.OPEN]
        for record in mine[1:]:
            data = self.data[record.direction]
            assert record.direction not in self.closed
            assert record.kind is not Kind.OPEN
            assert record.offset == len(data)
            if record.kind is Kind.GAP:
                self.holes[record.direction].append((record.offset, record.lost))
            if record.kind is Kind.CLOSE:
                self.closed[record.direction] = record.offset
            data += bytes(record.lost) + record.data

    def equals(self, direction: int, truth: bytes) -> bool:
        expected = bytearray(truth)
        for offset, lost in self.holes[direction]:
            expected[offset : offset + lost] = bytes(lost)
        return self.data[direction] == expected


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def cloud(stack: ExitStack) -> socket.socket:
    """A listening socket where the cloud would be."""
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    server.settimeout(PATIENCE_S)
    return server


@pytest.fixture
def listener(stack: ExitStack) -> Listener:
    listener = Listener(socket.create_server(("127.0.0.1", 0)))
    stack.callback(listener.close)
    return listener


@pytest.fixture
def link(stack: ExitStack, cloud: socket.socket) -> Callable[..., Link]:
    def start(*arguments: object) -> Link:
        link = Link(cloud, *arguments)
        stack.callback(link.stop, 0.0)
        return link

    return start


@pytest.fixture
def process(stack: ExitStack, cloud: socket.socket) -> Callable[..., LinkProcess]:
    def start(*arguments: object) -> LinkProcess:
        link = LinkProcess(cloud, *arguments)
        stack.callback(link.stop)
        return link

    return start


@pytest.fixture
def pair(stack: ExitStack, cloud: socket.socket) -> Callable[[Link], tuple[socket.socket, socket.socket]]:
    def connect(link: Link) -> tuple[socket.socket, socket.socket]:
        edge = stack.enter_context(link.connect())
        far, _ = cloud.accept()
        stack.enter_context(far)
        far.settimeout(PATIENCE_S)
        return edge, far

    return connect


Start = Callable[..., Link]
StartProcess = Callable[..., LinkProcess]
Pair = Callable[[Link], tuple[socket.socket, socket.socket]]


def exchange(edge: socket.socket, far: socket.socket, up: bytes, down: bytes) -> tuple[bytes, bytes]:
    """Send both ways at once, end both ways; what arrived."""
    arrived: dict[str, bytes] = {}

    def drain(name: str, sock: socket.socket, size: int) -> None:
        arrived[name] = read_exactly(sock, size + 1)

    def push(sock: socket.socket, data: bytes) -> None:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)

    threads = [
        threading.Thread(target=drain, args=("up", far, len(up))),
        threading.Thread(target=drain, args=("down", edge, len(down))),
        threading.Thread(target=push, args=(edge, up)),
        threading.Thread(target=push, args=(far, down)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    return arrived["up"], arrived["down"]


@pytest.mark.parametrize("shape", [(), ("--rate-mbps", 200), ("--delay-ms", 15, "--jitter-ms", 10)])
def test_forwards_and_mirrors_bit_exactly(
    link: Start, pair: Pair, listener: Listener, shape: tuple[object, ...]
) -> None:
    up, down = noise(3_000_001, 1), noise(700_003, 2)
    cable = link("--mirror", where(listener.server), "--spool-mb", 8, *shape)
    assert exchange(*pair(cable), up, down) == (up, down)
    until(lambda: cable.state()["connections"]["open"] == 0)
    state = cable.state()
    assert state["bytes"] == {"up": len(up), "down": len(down)}
    cable.stop()
    records = listener.whole()
    heard = Rebuilt(records)
    assert heard.holes == ([], [])
    assert heard.equals(UP, up)
    assert heard.equals(DOWN, down)
    assert heard.closed == {UP: len(up), DOWN: len(down)}
    for direction in (UP, DOWN):
        times = [r.t_ns for r in records if r.kind is Kind.DATA and r.direction == direction]
        assert times == sorted(times)


def test_connections_side_by_side_are_told_apart(link: Start, pair: Pair, listener: Listener) -> None:
    cable = link("--mirror", where(listener.server), "--spool-mb", 8)
    pairs = [pair(cable) for _ in range(3)]
    texts = [(noise(90_000, i), noise(10_000, 10 + i)) for i in range(3)]
    for i in (2, 0, 1):
        assert exchange(*pairs[i], *texts[i]) == texts[i]
    cable.stop()
    for i in range(3):
        heard = Rebuilt(listener.whole(), i)
        assert heard.equals(UP, texts[i][0])
        assert heard.equals(DOWN, texts[i][1])


def test_a_half_closed_connection_still_answers(link: Start, pair: Pair) -> None:
    edge, far = pair(link("--delay-ms", 5))
    edge.sendall(b"question")
    edge.shutdown(socket.SHUT_WR)
    assert read_exactly(far, 9) == b"question"
    far.sendall(b"answer")
    assert read_exactly(edge, 6) == b"answer"
    far.close()
    assert edge.recv(1) == b""


def test_a_listener_that_does_not_read_costs_it_an_exact_gap_and_the_victim_nothing(
    link: Start, pair: Pair, listener: Listener
) -> None:
    cable = link("--mirror", where(listener.server), "--spool-mb", 1)
    until(lambda: cable.state()["mirror"]["connected"])
    listener.reading.clear()
    up, down = noise(24 << 20, 1), noise(3 << 20, 2)
    assert exchange(*pair(cable), up, down) == (up, down)
    # The victim is done; the listener has read next to nothing.
    until(lambda: cable.state()["connections"]["open"] == 0)
    mirror = cable.state()["mirror"]
    assert mirror["lost_bytes"] > 0
    assert mirror["spool"]["peak_bytes"] <= 1 << 20
    listener.reading.set()
    (records,) = listener.heard
    until(lambda: [r.kind for r in list(records)].count(Kind.CLOSE) == 2)
    heard = Rebuilt(records)
    assert heard.equals(UP, up)
    assert heard.equals(DOWN, down)
    assert heard.closed == {UP: len(up), DOWN: len(down)}
    lost = sum(size for holes in heard.holes for _, size in holes)
    mirror = cable.state()["mirror"]
    assert lost == mirror["lost_bytes"]
    assert mirror["sent_bytes"] + lost == len(up) + len(down)


LISTENER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(server.getsockname()[1], flush=True)
peer, _ = server.accept()
got = 0
while data := peer.recv(1 << 16):
    got += len(data)
    print(got, flush=True)
"""


def test_a_listener_killed_in_mid_stream_comes_back_to_pins_gap_and_live_data(
    process: StartProcess, pair: Pair, stack: ExitStack
) -> None:
    first = subprocess.Popen([sys.executable, "-c", LISTENER, "0"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    stack.callback(first.stdout.close)
    stack.callback(first.wait)
    stack.callback(first.kill)
    port = int(first.stdout.readline())
    cable = process("--mirror", f"127.0.0.1:{port}", "--spool-mb", 4)
    edge, far = pair(cable)
    truth = noise(6 << 20, 5)
    reply = b"short reply"
    far.sendall(reply)
    assert read_exactly(edge, len(reply)) == reply

    def send(begin: int, end: int) -> None:
        pusher = threading.Thread(target=edge.sendall, args=(truth[begin:end],))
        pusher.start()
        assert read_exactly(far, end - begin) == truth[begin:end]
        pusher.join()

    send(0, 2 << 20)
    while int(first.stdout.readline()) < 1 << 20:
        pass
    first.kill()
    first.wait()
    send(2 << 20, 5 << 20)
    second = Listener(socket.create_server(("127.0.0.1", port)))
    stack.callback(second.close)
    until(lambda: cable.state()["mirror"]["connects"] == 2)
    send(5 << 20, 6 << 20)
    edge.close()
    far.close()
    cable.end(signal.SIGTERM)
    heard = Rebuilt(second.whole())
    assert heard.equals(UP, truth)
    assert heard.equals(DOWN, reply)
    ((offset, lost),) = heard.holes[UP]
    assert offset == PIN_BYTES
    assert 0 < lost < 5 << 20
    assert heard.holes[DOWN] == []


def test_a_restarted_link_finds_the_listener_and_starts_anew(
    process: StartProcess, pair: Pair, listener: Listener, tmp_path: Path
) -> None:
    for round_ in range(2):
        cable = process("--mirror", where(listener.server), "--spool", tmp_path / "ring", "--spool-mb", 4)
        edge, far = pair(cable)
        edge.sendall(b"round %d" % round_)
        assert read_exactly(far, 7) == b"round %d" % round_
        until(lambda: len(listener.heard) > round_ and any(r.kind is Kind.DATA for r in listener.heard[round_]))  # noqa: B023
        cable.end(signal.SIGKILL)
        assert edge.recv(1) == b""
    for round_ in range(2):
        assert Rebuilt(listener.whole(round_)).equals(UP, b"round %d" % round_)


def test_without_a_listener_the_victim_works_and_a_late_one_gets_the_pins(
    link: Start, pair: Pair, stack: ExitStack
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    cable = link("--mirror", f"127.0.0.1:{port}", "--spool-mb", 1)
    edge, far = pair(cable)
    up = noise(5 << 20, 3)
    pusher = threading.Thread(target=edge.sendall, args=(up,))
    pusher.start()
    assert read_exactly(far, len(up)) == up
    pusher.join()
    assert cable.state()["mirror"]["connected"] is False
    late = Listener(socket.create_server(("127.0.0.1", port)))
    stack.callback(late.close)
    edge.close()
    far.close()
    until(lambda: cable.state()["mirror"]["spool"]["depth_bytes"] == 0)
    lost = cable.state()["mirror"]["lost_bytes"]
    cable.stop()
    heard = Rebuilt(late.whole())
    assert heard.equals(UP, up)
    # The ring lost the first bytes; the pins had 64 KiB of them.
    assert heard.holes[UP] == [(PIN_BYTES, lost - PIN_BYTES)]
    assert heard.closed == {UP: len(up), DOWN: 0}


def test_a_listener_that_comes_back_hears_of_a_direction_that_had_ended(
    link: Start, pair: Pair, listener: Listener, stack: ExitStack
) -> None:
    cable = link("--mirror", where(listener.server), "--spool-mb", 1)
    edge, far = pair(cable)
    up = noise(100_000, 6)
    edge.sendall(up)
    edge.shutdown(socket.SHUT_WR)
    assert read_exactly(far, len(up) + 1) == up
    (records,) = until(lambda: listener.heard)
    until(lambda: records and records[-1].kind is Kind.CLOSE)
    port = listener.server.getsockname()[1]
    listener.close()
    second = Listener(socket.create_server(("127.0.0.1", port)))
    stack.callback(second.close)
    until(lambda: cable.state()["mirror"]["connects"] == 2)
    far.sendall(b"late answer")
    assert read_exactly(edge, 11) == b"late answer"
    far.close()
    cable.stop()
    heard = Rebuilt(second.whole())
    assert heard.equals(UP, up)
    assert heard.holes == ([(PIN_BYTES, len(up) - PIN_BYTES)], [])
    assert heard.equals(DOWN, b"late answer")
    assert heard.closed == {UP: len(up), DOWN: 11}


def round_trip_s(edge: socket.socket, far: socket.socket) -> float:
    begin = time.monotonic()
    edge.sendall(b"x")
    far.sendall(read_exactly(far, 1))
    assert read_exactly(edge, 1) == b"x"
    return time.monotonic() - begin


def test_settings_change_under_a_living_connection(link: Start, pair: Pair) -> None:
    cable = link()
    edge, far = pair(cable)
    round_trip_s(edge, far)
    reply = cable.patch(delay_ms=100.0)
    assert reply["settings"]["up"] == {"rate_mbps": None, "delay_ms": 100.0, "jitter_ms": 0.0}
    assert reply["bytes"] == {"up": 1, "down": 1}
    assert round_trip_s(edge, far) >= 0.2
    cable.patch(up={"delay_ms": 0}, down={"rate_mbps": 10})
    assert cable.state()["settings"] == {
        "up": {"rate_mbps": None, "delay_ms": 0.0, "jitter_ms": 0.0},
        "down": {"rate_mbps": 10.0, "delay_ms": 100.0, "jitter_ms": 0.0},
        "stall": False,
    }
    assert round_trip_s(edge, far) >= 0.1
    # A minute of delay holds what is sent; taking it away sets it free.
    cable.patch(delay_ms=60_000.0)
    edge.sendall(b"held")
    far.settimeout(0.3)
    with pytest.raises(TimeoutError):
        far.recv(4)
    far.settimeout(PATIENCE_S)
    cable.patch(delay_ms=0.0, rate_mbps=None)
    assert read_exactly(far, 4) == b"held"
    up, down = noise(500_000, 1), noise(500_000, 2)
    assert exchange(edge, far, up, down) == (up, down)


def test_bad_settings_are_refused(link: Start) -> None:
    cable = link()
    before = cable.state()["settings"]
    for settings, says in (
        ({"rate_mbps": 0}, "rate_mbps: Input should be greater than or equal to 0.05 (got 0)"),
        ({"up": {"delay_ms": -1}}, "up.delay_ms: Input should be greater than or equal to 0 (got -1)"),
        ({"delay_ms": 1, "loss": 0.1}, "loss: no such setting"),
        ({"stall": 1}, "stall: Input should be a valid boolean (got 1)"),
    ):
        reply = cable.control.patch("/settings", json=settings)
        assert (reply.status_code, reply.json()) == (422, {"error": says})
    assert cable.state()["settings"] == before


@pytest.mark.parametrize("shape", [(), ("--rate-mbps", 400)])
def test_a_stall_holds_everything_and_loses_nothing(link: Start, pair: Pair, shape: tuple[object, ...]) -> None:
    cable = link(*shape)
    edge, far = pair(cable)
    round_trip_s(edge, far)
    cable.patch(stall=True)
    up, down = noise(2 << 20, 1), noise(2 << 20, 2)
    done: list[tuple[bytes, bytes]] = []
    thread = threading.Thread(target=lambda: done.append(exchange(edge, far, up, down)))
    thread.start()
    time.sleep(0.3)
    assert cable.state()["bytes"] == {"up": 1, "down": 1}
    cable.patch(stall=False)
    thread.join(PATIENCE_S)
    assert done == [(up, down)]


def fill(sock: socket.socket) -> None:
    """Send until nothing more is taken, so that the link's own send is blocked."""
    sock.settimeout(0.2)
    try:
        while True:
            sock.send(bytes(1 << 16))
    except TimeoutError:
        sock.settimeout(PATIENCE_S)


def expect_reset(sock: socket.socket) -> None:
    with pytest.raises(ConnectionResetError):
        read_exactly(sock, 1 << 30)


@pytest.mark.parametrize("shape", [(), ("--delay-ms", 30)])
@pytest.mark.parametrize("full", [False, True])
def test_reset_reaches_both_peers(link: Start, pair: Pair, shape: tuple[object, ...], full: bool) -> None:
    cable = link(*shape)
    edge, far = pair(cable)
    round_trip_s(edge, far)
    if full:
        fill(edge)
    assert cable.control.post("/reset").json() == {"reset": 1}
    expect_reset(edge)
    expect_reset(far)
    until(lambda: cable.state()["connections"] == {"open": 0, "accepted": 1, "refused": 0, "reset": 1})
    edge, far = pair(cable)
    assert exchange(edge, far, b"new", b"life") == (b"new", b"life")


def test_a_reset_by_one_peer_reaches_the_other(link: Start, pair: Pair, listener: Listener) -> None:
    cable = link("--mirror", where(listener.server), "--spool-mb", 1)
    edge, far = pair(cable)
    round_trip_s(edge, far)
    edge.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    edge.close()
    expect_reset(far)
    cable.stop()
    assert Rebuilt(listener.whole()).closed == {UP: 1, DOWN: 1}


def test_a_cloud_that_is_not_there_is_counted_and_the_link_goes_on(
    process: StartProcess, pair: Pair, cloud: socket.socket
) -> None:
    cable = process()
    port = cloud.getsockname()[1]
    cloud.close()
    with cable.connect() as edge:
        assert edge.recv(1) == b""
    until(lambda: cable.state()["connections"]["refused"] == 1)
    with socket.create_server(("127.0.0.1", port)) as back, cable.connect() as edge:
        far, _ = back.accept()
        with far:
            round_trip_s(edge, far)
    code, out, err = cable.end(signal.SIGTERM)
    assert (code, out) == (0, "")
    assert err == f"link: cannot reach 127.0.0.1:{port}: Connection refused\n"


def test_sigterm_delivers_what_is_under_way_and_exits_0(process: StartProcess, pair: Pair, listener: Listener) -> None:
    cable = process("--delay-ms", 400, "--mirror", where(listener.server), "--spool-mb", 4)
    edge, far = pair(cable)
    up = noise(1 << 20, 4)
    edge.sendall(up)
    time.sleep(0.3)  # for the cable to read it all: what lies unread in its socket when it ends is not under way
    begin = time.monotonic()
    code, out, err = cable.end(signal.SIGTERM)
    assert (code, out, err) == (0, "", "")
    assert time.monotonic() - begin < 5.0
    assert read_exactly(far, len(up) + 1) == up
    assert edge.recv(1) == b""
    heard = Rebuilt(listener.whole())
    assert heard.equals(UP, up)
    assert heard.closed == {UP: len(up), DOWN: 0}


def test_stopping_does_not_wait_for_ever(link: Start, pair: Pair, listener: Listener) -> None:
    """Nobody reads: neither the cloud nor the listener."""
    cable = link("--mirror", where(listener.server), "--spool-mb", 8)
    until(lambda: cable.state()["mirror"]["connected"])
    listener.reading.clear()
    edge, far = pair(cable)
    fill(edge)
    begin = time.monotonic()
    cable.stop(1.0)
    assert time.monotonic() - begin < 4.0
    expect_reset(far)


def refused(*arguments: object) -> str:
    command = [sys.executable, "-m", "wire.relay", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_taken_ports_and_bad_addresses_are_one_line_and_exit_code_2(cloud: socket.socket) -> None:
    taken = where(cloud)
    assert (
        refused("--forward", "x")
        == "link: forward: 'x' is no address; accepted: HOST:PORT with a port from 0 to 65535\n"
    )
    for flag, name in (("--listen", "listen"), ("--control", "control address")):
        line = refused("--forward", taken, flag, taken)
        assert line == f"link: {name}: cannot listen on {taken}: Address already in use\n"


def test_settings_come_from_flags_over_a_file(process: StartProcess, cloud: socket.socket, tmp_path: Path) -> None:
    config = tmp_path / "link.toml"
    config.write_text('forward = "nowhere:1"\nrate_mbps = 50\ndelay_ms = 2\nseed = 9\n[down]\nrate_mbps = 5\n')
    cable = process("--config", config, "--delay-ms", 3)
    state = cable.state()
    assert state["forward"] == where(cloud)
    assert state["seed"] == 9
    assert state["settings"] == {
        "up": {"rate_mbps": 50.0, "delay_ms": 3.0, "jitter_ms": 0.0},
        "down": {"rate_mbps": 5.0, "delay_ms": 3.0, "jitter_ms": 0.0},
        "stall": False,
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("delay_ms = -1", "delay_ms: Input should be greater than or equal to 0 (got -1)"),
        ('forward = "x:1"\nspeed = 1', "speed: no such setting"),
        ("", "forward: Field required"),
        ("= 1", "Invalid statement (at line 1, column 1)"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    config = tmp_path / "link.toml"
    config.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{config}: {says}")) as caught:
        read_config(["--config", str(config)])
    assert "\n" not in str(caught.value)


def test_the_cable_needs_neither_torch_nor_grpc() -> None:
    code = "import sys, wire.relay; print([name for name in ('torch', 'grpc', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
