"""Edge and cloud in one process, over a real socket."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import torch
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from wire import server as server_module
from wire.client import METHOD, Disconnected, EdgeClient, Offer, Opened, Stamps
from wire.envelope import decode, encode
from wire.errors import DecodeError, FrameError, InputError, SessionRefused, WireError
from wire.handshake import PROTOCOL
from wire.payload import Payload
from wire.pb import frame_pb2 as pb
from wire.server import CloudServer
from wire.tls import TlsFiles, make_certificates

WEIGHTS, CONFIG = b"w" * 32, b"c" * 32
OFFER = {"victim": "v", "split": "s", "weights_sha256": WEIGHTS, "config_sha256": CONFIG, "layouts": ("dense",)}


class Tail:
    def __init__(self, service):
        self.service = service

    def reply(self, payload, exchange, turn, part, parts):
        self.service.threads.add(threading.current_thread())
        meta = payload.meta
        if "fail" in meta:
            raise {"compute": ZeroDivisionError("by\nhand"), "layout": DecodeError("coords must be int32")}[
                meta["fail"]
            ]
        self.service.begun.set()
        time.sleep(meta.get("sleep", 0.0))
        self.service.calls.append((exchange, turn, part, parts))
        tensors = {"a": torch.full((meta["grow"],), part, dtype=torch.uint8)} if "grow" in meta else payload.tensors
        return Payload("result", "dense", tensors, {"part": part})

    def close(self):
        self.service.closed += 1


class Service:
    """Accepts one victim; keeps what was called."""

    def __init__(self, loading=0.0):
        self.calls, self.closed, self.openings, self.threads = [], 0, [], set()
        self.loading = loading
        self.begun = threading.Event()

    def open(self, opening):
        time.sleep(self.loading)
        self.openings.append(opening)
        if opening.victim != "v":
            raise SessionRefused("UNKNOWN_VICTIM", f"{opening.victim} is not served; served: v")
        if opening.split != "s":
            raise SessionRefused("BAD_SPLIT", "accepted: s")
        if opening.weights_sha256 != WEIGHTS or opening.config_sha256 != CONFIG:
            raise SessionRefused("DIGEST_MISMATCH", "weights differ")
        return Tail(self)


def part(nbytes=16, **meta):
    return Payload("features", "dense", {"a": torch.zeros(nbytes, dtype=torch.uint8)}, meta)


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def serve(service):
    """``serve(...)``: a running server; returns its address."""
    servers = []

    def start(**settings):
        servers.append(CloudServer(service, "127.0.0.1:0", **settings))
        start.server = servers[-1]
        return f"127.0.0.1:{servers[-1].start()}"

    yield start
    for running in servers:
        running.stop(0)


@pytest.fixture
def connect():
    """``connect(address, ...)``: an opened client; offers are changed by keyword."""
    clients = []

    def open_client(address, offer=None, **settings):
        clients.append(EdgeClient(address, Offer(**{**OFFER, **(offer or {})}), **settings))
        clients[-1].open(10)
        return clients[-1]

    yield open_client
    for client in clients:
        client.close()


def test_turns_and_parts_are_answered_lazily_in_order(service, serve, connect):
    client = connect(serve())
    rays = client.send(0, 0, [part()], Stamps(1, 2, 3))
    gradients = client.send(0, 1, [part(n) for n in range(5)], Stamps())
    assert [reply.payload.meta["part"] for reply in rays] == [0]
    assert len(gradients) == 5
    assert [(r.payload.meta["part"], r.payload.nbytes) for r in gradients] == [(n, n) for n in range(5)]
    assert service.calls == [(0, 0, 0, 1), *((0, 1, n, 5) for n in range(5))]
    assert list(client.send(1, 0, [])) == []


def test_times_are_in_order_and_on_one_host_in_one_clock(serve, connect):
    client = connect(serve())
    before = time.monotonic_ns()
    t = next(client.send(0, 0, [part(sleep=0.01)])).timing
    order = [
        before,
        t.encode_start_ns,
        t.queued_ns,
        t.sent_first_ns,
        t.cloud_first_ns,
        t.cloud_last_ns,
        t.cloud_decoded_ns,
        t.cloud_tail_start_ns,
        t.cloud_tail_end_ns,
        t.cloud_sent_ns,
        t.reply_first_ns,
        t.received_ns,
    ]
    assert order == sorted(order)
    assert t.cloud_tail_end_ns - t.cloud_tail_start_ns >= 10_000_000
    clock = client.clock()
    assert abs(clock.offset_ns) <= clock.bound_ns < 1e9


def test_bytes_are_counted_alike_at_both_ends(serve, connect):
    client = connect(serve(), {"piece_bytes": 4096})
    reply = next(client.send(0, 0, [part(10_000)]))
    assert 10_000 < reply.timing.wire_bytes_up < 10_400
    counters = client.counters()
    assert (counters["payload_up"], counters["payload_down"]) == (10_000, 10_000)
    client.close()
    assert client.counters()["bytes_up"] == serve.server.counters()["bytes_in"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"victim": "x"}, "UNKNOWN_VICTIM"),
        ({"split": "x"}, "BAD_SPLIT"),
        ({"weights_sha256": bytes(32)}, "DIGEST_MISMATCH"),
        ({"config_sha256": bytes(32)}, "DIGEST_MISMATCH"),
        ({"piece_bytes": 8 << 20}, "TOO_LARGE"),
        ({"session_id": b"x"}, "PROTOCOL"),
    ],
)
def test_mismatches_are_refused_by_name(serve, change, code):
    client = EdgeClient(serve(), Offer(**{**OFFER, **change}))
    with pytest.raises(SessionRefused) as caught:
        client.open(10)
    assert caught.value.code == code
    with pytest.raises(SessionRefused):
        client.send(0, 0, [part()])


def _talk(address, *messages):
    """Say ``messages`` on a raw stream; the heads of what comes back until the cloud ends it, and its status."""
    with grpc.insecure_channel(address) as channel:
        call = channel.stream_stream(METHOD)(iter(messages), timeout=10)
        heads = [decode(message)[0] for message in call]
        return heads, call.code()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (encode(pb.Envelope(open=pb.Open(protocol=PROTOCOL + 1))), f"edge speaks protocol {PROTOCOL + 1}"),
        (encode(pb.Envelope(header=pb.Header())), "first message of a stream must be Open"),
        (b"\xff\xff\xff", "no Envelope"),
    ],
)
def test_strangers_get_a_named_error_and_a_clean_end(serve, message, text):
    heads, status = _talk(serve(), message)
    assert status is grpc.StatusCode.OK
    assert [(pb.Code.Name(h.error.code), h.error.fatal) for h in heads] == [("PROTOCOL", True)]
    assert text in heads[0].error.message


def test_a_stale_epoch_is_refused(serve, connect):
    address = serve()
    client = connect(address, {"session_id": b"0123456789abcdef"})
    heads, _ = _talk(address, encode(pb.Envelope(open=Offer(**OFFER, session_id=b"0123456789abcdef").message(1, 0, 0))))
    assert [pb.Code.Name(h.error.code) for h in heads] == ["STALE_EPOCH"]
    assert next(client.send(0, 0, [part()])).payload.nbytes == 16


def test_a_new_incarnation_replaces_the_session(service, serve, connect):
    address, identity = serve(), b"0123456789abcdef"
    first = connect(address, {"session_id": identity})
    next(first.send(0, 0, [part()]))
    second = connect(address, {"session_id": identity, "incarnation": 1, "checkpoints": (100, 200)})
    assert next(second.send(0, 0, [part()])).payload.nbytes == 16
    assert [(o.incarnation, o.checkpoints, o.next_transfer) for o in service.openings] == [
        (0, (), 0),
        (1, (100, 200), 0),
    ]
    heads, _ = _talk(address, encode(pb.Envelope(open=Offer(**OFFER, session_id=identity).message(99, 0, 0))))
    assert [pb.Code.Name(h.error.code) for h in heads] == ["STALE_EPOCH"]


@pytest.mark.parametrize(
    ("kind", "code", "text"), [("compute", "COMPUTE", "ZeroDivisionError: by hand"), ("layout", "BAD_LAYOUT", "int32")]
)
def test_a_frame_error_is_raised_for_its_part_and_the_stream_goes_on(serve, connect, kind, code, text):
    client = connect(serve())
    replies = client.send(4, 0, [part(), part(fail=kind), part()])
    assert next(replies).payload.meta["part"] == 0
    with pytest.raises(FrameError, match=f"frame 4: {code}: .*{text}") as caught:
        next(replies)
    assert (caught.value.code, caught.value.exchange) == (code, 4)
    assert next(replies).payload.meta["part"] == 2
    assert next(client.send(5, 0, [part()])).payload.nbytes == 16
    assert client.counters()["failed"] == 1


def test_sizes_are_limited_in_both_directions(serve, connect):
    client = connect(serve(max_transfer_bytes=1000), {"max_transfer_bytes": 500})
    replies = client.send(0, 0, [part(1001), part(400), part(grow=501)])
    with pytest.raises(FrameError, match="part 0 of turn 0 has 1001 bytes; the cloud accepts at most 1000"):
        next(replies)
    assert next(replies).payload.nbytes == 400
    with pytest.raises(FrameError, match="TOO_LARGE: reply of 501 bytes; the edge accepts at most 500"):
        next(replies)


class Lazy:
    """Parts that come into being when they are asked for."""

    def __init__(self, count, nbytes, **meta):
        self.count, self.nbytes, self.meta, self.made = count, nbytes, meta, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.made += 1
        return part(self.nbytes, **self.meta)


PIECES = {"piece_bytes": 64 << 10}
SMALL = 256 << 10


def test_large_parts_both_ways_through_a_small_window(serve, connect):
    """12 MiB up and as much down with 256 KiB of credit: parts are made as there is room for them."""
    client = connect(serve(window_bytes=SMALL), PIECES, window_bytes=SMALL)
    parts = Lazy(12, 1 << 20)
    replies = client.send(0, 0, parts)
    assert parts.made == 1
    for number, reply in enumerate(replies):
        assert reply.payload.meta["part"] == number
        assert parts.made <= number + 2
    assert parts.made == 12


def test_turns_are_sent_one_after_the_other_before_any_reply_is_taken(serve, connect):
    """A caller that sends without taking replies is held back by what is unanswered, never for good."""
    client = connect(serve(window_bytes=SMALL), PIECES, window_bytes=SMALL)
    turns = [client.send(n, 0, [part(SMALL)]) for n in range(40)]
    assert client.counters()["credit_waits"] > 0
    assert [next(t).payload.nbytes for t in turns] == [SMALL] * 40


def test_replies_wait_in_the_cloud_for_an_edge_that_does_not_take_them(service, serve, connect):
    """Small rays up, large embeddings down: the edge's memory holds a window or two, the cloud pauses."""
    client = connect(serve(window_bytes=SMALL), PIECES, window_bytes=SMALL)
    replies = client.send(0, 0, [part(grow=SMALL) for _ in range(20)])
    time.sleep(0.5)
    assert client.counters()["payload_down"] <= 3 * SMALL
    assert len(service.calls) < 12
    assert [r.payload.tensors["a"][0].item() for r in replies] == list(range(20))


def test_replies_may_be_taken_out_of_order(serve, connect):
    client = connect(serve(window_bytes=SMALL), PIECES, window_bytes=SMALL)
    turns = [client.send(n, 0, [part(grow=SMALL)]) for n in range(10)]
    assert [next(t).payload.nbytes for t in reversed(turns)] == [SMALL] * 10


def test_many_threads_may_send(serve, connect):
    client = connect(serve(window_bytes=SMALL), PIECES, window_bytes=SMALL)

    def exchange(n):
        return [r.payload.nbytes for r in client.send(n, 0, [part(100_000 + n), part(n)])]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(exchange, range(40))) == [[100_000 + n, n] for n in range(40)]


def test_a_reply_that_takes_too_long_is_given_up_alone(serve, connect):
    client = connect(serve())
    with pytest.raises(FrameError, match=r"frame 3: TIMEOUT: no reply within 0.05 s"):
        next(client.send(3, 0, [part(sleep=0.3)], reply_timeout=0.05))
    assert next(client.send(4, 0, [part()])).payload.nbytes == 16


def test_a_tail_that_loads_slowly_is_waited_for(service, serve, connect):
    service.loading = 0.5
    assert next(connect(serve()).send(0, 0, [part()])).payload.nbytes == 16


def test_a_cloud_that_does_not_exist_is_named():
    client = EdgeClient("127.0.0.1:9", Offer(**OFFER))
    with pytest.raises(WireError, match=r"no cloud answered at 127.0.0.1:9 within 0.3 s"):
        client.open(0.3)


def test_an_edge_waits_for_a_cloud_that_comes_up_later(service):
    first = CloudServer(service, "127.0.0.1:0")
    port = first.start()
    first.stop(0)
    client = EdgeClient(f"127.0.0.1:{port}", Offer(**OFFER))
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(client.open, 20)
        time.sleep(0.3)
        second = CloudServer(service, f"127.0.0.1:{port}")
        second.start()
        assert isinstance(opened.result(), Opened)
    client.close()
    second.stop(0)


def test_a_slow_cable_is_no_dead_cable(serve, connect, cable):
    """0.3 s each way: longer than the backoff between attempts, which must not limit the attempt itself."""
    wire = cable(int(serve().rpartition(":")[2]), delay=0.3)
    assert next(connect(wire.address).send(0, 0, [part()])).payload.nbytes == 16
    assert wire.connections == 1


def test_graceful_stop_finishes_what_came(service, serve, connect):
    events = []
    client = connect(serve(), on_event=events.append, resume_s=0.5)
    replies = client.send(0, 0, [part(sleep=0.3)])
    assert service.begun.wait(20)
    serve.server.stop(20)
    assert next(replies).payload.nbytes == 16
    assert service.closed == 1
    with pytest.raises(WireError, match="no cloud at"):
        next(client.send(1, 0, [part()]))
    assert any("GOING_DOWN" in e.reason for e in events if isinstance(e, Disconnected))


def test_goodbye_ends_the_session_at_the_cloud(service, serve, connect):
    client = connect(serve())
    next(client.send(0, 0, [part()]))
    client.close()
    for _ in range(100):
        if service.closed:
            break
        time.sleep(0.01)
    assert service.closed == 1
    assert serve.server.counters()["connected"] == 0
    with pytest.raises(WireError, match="closed: done"):
        client.send(1, 0, [part()])


def test_a_session_works_in_one_thread_across_connections(service, serve, connect, cable):
    wire = cable(int(serve().rpartition(":")[2]))
    client = connect(wire.address)
    next(client.send(0, 0, [part()]))
    wire.cut()
    next(client.send(1, 0, [part()]))
    assert client.counters()["reconnects"] == 1
    assert (len(service.openings), len(service.threads), service.closed) == (1, 1, 0)


def test_sessions_without_a_connection_are_forgotten(service, serve):
    address = serve(linger_s=0.2)
    call = _talk(address, encode(pb.Envelope(open=Offer(**OFFER).message(1, 0, 0))))
    assert call[1] is grpc.StatusCode.OK
    for _ in range(100):
        if service.closed:
            break
        time.sleep(0.02)
    assert service.closed == 1
    assert serve.server.counters()["connected"] == 0


def test_one_session_too_many_is_told_to_come_back(serve, connect, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_SESSIONS", 1)
    monkeypatch.setattr(server_module, "BUSY_RETRY_MS", 50)
    address = serve()
    first = connect(address)
    second = EdgeClient(address, Offer(**OFFER))
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(second.open, 20)
        time.sleep(0.2)
        assert not opened.done()
        first.close()
        assert isinstance(opened.result(), Opened)
    second.close()


def test_a_curious_cloud_copies_every_transfer_whole(serve, connect):
    copies = []
    client = connect(
        serve(on_copy=lambda session, direction, message: copies.append((direction, decode(message)))), PIECES
    )
    next(client.send(8, 0, [part(200_000)]))
    client.close()
    deadline = time.monotonic() + 20
    while len(copies) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    kinds = [(direction, head.WhichOneof("body"), len(data)) for direction, (head, data) in copies]
    assert kinds == [(0, "open", 0), (0, "header", 200_000), (1, "header", 200_000), (0, "close", 0)]
    assert copies[0][1][0].open.victim == "v"
    assert [head.header.exchange for _, (head, _) in copies[1:3]] == [8, 8]


def test_a_copy_that_fails_does_not_hurt_the_session(serve, connect):
    client = connect(serve(on_copy=lambda session, direction, message: 1 / 0))
    assert next(client.send(0, 0, [part()])).payload.nbytes == 16


def test_a_taken_port_is_named(serve, service):
    address = serve()
    with pytest.raises(InputError, match=f"cannot listen on {address}: another process"):
        CloudServer(service, address).start()


def test_health_and_reflection(serve):
    address = serve()
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "eavesplit.wire.v1.Split"):
            status = health.Check(health_pb2.HealthCheckRequest(service=name)).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        described = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        session = described.FindServiceByName("eavesplit.wire.v1.Split").methods_by_name["Session"]
        assert (session.client_streaming, session.server_streaming) == (True, True)
        assert [field.name for field in session.input_type.fields][-1] == "data"


def test_a_proxy_of_the_environment_is_not_used(serve, connect, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("grpc_proxy", "http://127.0.0.1:9")
    assert next(connect(serve()).send(0, 0, [part()])).payload.nbytes == 16


def test_tls_round_trip_with_generated_certificates(serve, connect, tmp_path):
    files = TlsFiles.of(make_certificates(tmp_path / "tls"))
    address = serve(tls=files)
    edge_only = tmp_path / "edge"
    edge_only.mkdir()
    (edge_only / "authority.pem").write_bytes(files.authority.read_bytes())
    client = connect(address, credentials=TlsFiles.of(edge_only))
    assert next(client.send(0, 0, [part(300_000)])).payload.nbytes == 300_000


@pytest.mark.parametrize("kind", ["plain", "other authority"])
def test_tls_lets_nobody_else_in(serve, tmp_path, kind):
    address = serve(tls=TlsFiles.of(make_certificates(tmp_path / "tls")))
    other = None if kind == "plain" else TlsFiles.of(make_certificates(tmp_path / "other"))
    with pytest.raises(WireError, match="no cloud answered"):
        EdgeClient(address, Offer(**OFFER), credentials=other).open(1.0)


def test_the_private_key_is_for_its_owner_only(tmp_path):
    files = TlsFiles.of(make_certificates(tmp_path))
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["authority.pem", "cloud.key", "cloud.pem"]


def test_a_missing_certificate_is_named(tmp_path):
    with pytest.raises(InputError, match=r"authority.pem: No such file"):
        EdgeClient("127.0.0.1:9", Offer(**OFFER), credentials=TlsFiles.of(tmp_path))
