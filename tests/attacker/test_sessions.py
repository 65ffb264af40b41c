"""From mirror records to frames: late joins, gaps, resends, copies, TLS; and a real gRPC stream."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacker.decoding import decode_frame
from attacker.frames import RawFrame
from attacker.sessions import Ear, SessionClosed, SessionOpened, Sessions, TransferHeard
from attacker.streams import Gap, Sizes
from wire.envelope import encode
from wire.errors import DecodeError
from wire.mirror import DOWN, UP, Kind, Record
from wire.payload import Payload
from wire.pb.frame_pb2 import Envelope


def listen(
    records: Iterable[Record], sessions: Sessions | None = None
) -> tuple[Sessions, list[RawFrame], list[object]]:
    sessions = sessions if sessions is not None else Sessions()
    ear = Ear(sessions)
    events = [event for record in records for event in ear.feed(record)]
    return sessions, [event for event in events if isinstance(event, RawFrame)], events


def check_dense(traffic, frames: Sequence[RawFrame], size: int = 3000) -> list[int]:
    """Every frame holds exactly what was sent under its number."""
    for raw in frames:
        sent = traffic.dense(raw.frame, size).tensors["x"]
        assert torch.equal(decode_frame(raw).payloads("up", "features")[0].tensors["x"], sent)
    return [raw.frame for raw in frames]


def test_an_inference_session(traffic) -> None:
    messages = traffic.opening() + traffic.inference(range(5)) + traffic.closing(5)
    sessions, frames, events = listen(traffic.session_records(messages))
    assert check_dense(traffic, frames) == [0, 1, 2, 3, 4]
    (session,) = sessions
    assert (session.info.session, session.info.victim, session.info.split) == (traffic.SESSION.hex(), "toy", "s1")
    assert session.info.layouts == ("toy_dense",)
    assert session.closed
    assert [type(e) for e in events if not isinstance(e, RawFrame | TransferHeard)] == [SessionOpened, SessionClosed]
    assert sum(isinstance(e, TransferHeard) for e in events) == 10
    assert all(0 < t.t_first_ns <= t.t_last_ns for raw in frames for t in raw.transfers.values())


def test_rays_that_nothing_follows_are_complete_with_their_embeddings(traffic) -> None:
    """Of a picture that is to be rendered: two parts up, two down; a step's rays and embeddings alone are no frame."""
    for train, whole in ((False, [3]), (True, [])):
        up, down, messages = traffic.Sender(UP), traffic.Sender(DOWN), traffic.opening()
        for part in range(2):
            rays = Payload("rays", "toy_rays", {"rays": torch.ones(3)}, {"train": train})
            messages += up.send(rays, exchange=3, turn=0, part=part, parts=2)
        for part in range(2):
            embeddings = Payload("embeddings", "toy_field", {"e": torch.full((2,), float(part))}, {})
            sent = down.send(embeddings, exchange=3, turn=0, part=part, parts=2, reply_to=part)
            messages += sent
        assert [raw.frame for raw in listen(traffic.session_records(messages[:-1]))[1]] == []
        again = messages + traffic.opening(epoch=1) + sent  # the last reply once more, after a reconnect
        (session,), frames, _ = listen(traffic.session_records(again))
        assert [raw.frame for raw in frames] == whole
        assert session.frames.duplicates == 1
        assert [float(p.tensors["e"][0]) for raw in frames for p in decode_frame(raw).payloads("down")] == [0, 1][
            : 2 * len(whole)
        ]


def test_an_edge_that_counts_on_in_a_new_session_has_missed_nothing_before(traffic) -> None:
    sender = traffic.opening() + traffic.inference(range(17, 20)) + traffic.inference([22], first_transfer=3)
    (session,), frames, _ = listen(traffic.session_records(sender))
    assert [(raw.frame, raw.gap_before) for raw in frames] == [(17, 0), (18, 0), (19, 0), (22, 2)]
    assert (session.frames.first, session.frames.missed) == (17, 2)


def test_a_training_step_is_two_turns_of_several_parts(traffic) -> None:
    _, frames, _ = listen(traffic.session_records(traffic.opening() + traffic.training(range(3), parts=4)))
    assert [raw.frame for raw in frames] == [0, 1, 2]
    for raw in frames:
        frame = decode_frame(raw)
        assert [p.meta["step"] for p in frame.payloads("up", "rays")] == [raw.frame]
        assert len(frame.payloads("down", "embeddings")) == 1
        firsts = [float(p.tensors["g"][0, 0]) for p in frame.payloads("up", "gradients")]
        assert firsts == pytest.approx([raw.frame + part / 10 for part in range(4)])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=9), st.booleans())
def test_frames_do_not_depend_on_how_the_mirror_cuts(traffic, sizes: list[int], train: bool) -> None:
    messages = traffic.opening() + (traffic.training(range(2)) if train else traffic.inference(range(3)))
    records = traffic.session_records(messages)
    _, whole, _ = listen(records)
    _, parts, _ = listen(traffic.cut(records, itertools.cycle(sizes)))
    assert [(r.frame, [bytes(t.data) for t in r.transfers.values()]) for r in parts] == [
        (r.frame, [bytes(t.data) for t in r.transfers.values()]) for r in whole
    ]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), told=st.booleans())
def test_a_gap_costs_the_frames_in_it_and_never_gives_a_false_one(traffic, data: st.DataObject, told: bool) -> None:
    records = traffic.session_records(traffic.opening() + traffic.inference(range(12)) + traffic.closing())
    begin = data.draw(st.integers(0, len(records) - 1))
    end = data.draw(st.integers(begin, len(records)))
    kept = records[:begin]
    if told:  # the link says what is missing; otherwise the offsets do
        for direction in (UP, DOWN):
            missing = [r for r in records[begin:end] if r.kind is Kind.DATA and r.direction == direction]
            if missing:
                lost = missing[-1].end - missing[0].offset
                kept.append(Record(Kind.GAP, 0, direction, 1, missing[0].offset, lost=lost))
    sessions, frames, _ = listen(kept + records[end:])
    numbers = check_dense(traffic, frames)
    assert numbers == sorted(set(numbers))
    for session in sessions:
        assert len(session.frames.captured) + session.frames.missed == session.frames.highest + 1
        gaps = {raw.frame: raw.gap_before for raw in frames}
        seen = -1
        for number in numbers:
            assert gaps[number] == number - seen - 1
            seen = number
    inside = sum(len(r.data) for r in records[begin:end])
    assert len(frames) >= 12 - inside // 12_000 - 3


def test_a_late_join_has_the_beginning_from_the_pins(traffic) -> None:
    """What a link tells a listener that comes late: the first bytes, a gap, and what passes from now on."""
    records = traffic.session_records(traffic.opening() + traffic.inference(range(30)))
    pinned = [r for r in records if r.kind is Kind.OPEN or (r.kind is Kind.DATA and r.offset < 2000)]
    sessions, frames, events = listen(pinned + records[len(records) // 2 :])
    assert {s.info.victim for s in sessions} == {"toy"}
    numbers = check_dense(traffic, frames)
    assert numbers[0] in (0, *range(14, 18))
    assert numbers[-1] == 29
    assert sum(isinstance(event, Gap) for event in events) == 2


def test_frames_of_an_unknown_session_are_captured_under_an_invented_name(traffic) -> None:
    records = traffic.session_records(traffic.opening() + traffic.inference(range(20)))
    sessions, frames, _ = listen(records[len(records) // 2 :])
    assert check_dense(traffic, frames)[-1] == 19
    (session,) = sessions
    assert session.info.session.startswith("unknown-")
    assert session.info.victim == ""


def test_a_resent_transfer_is_a_duplicate(traffic) -> None:
    """The edge reconnects (epoch 1) and sends again what was not answered; the numbers go on."""
    first = traffic.session_records(traffic.opening() + traffic.inference(range(4)))
    again = traffic.opening(epoch=1) + traffic.inference(range(2, 7), first_transfer=2)
    sessions, frames, events = listen(first + traffic.session_records(again, connection=1))
    assert check_dense(traffic, frames) == list(range(7))
    (session,) = sessions
    assert (session.epochs, session.frames.duplicates) == (2, 4)
    assert sum(isinstance(e, TransferHeard) for e in events) == 14


def test_a_frame_lost_and_sent_again_is_captured(traffic) -> None:
    records = traffic.session_records(traffic.opening() + traffic.inference(range(8)))
    broken = records[: len(records) // 3] + records[len(records) // 3 + 12 :]
    sessions, frames, _ = listen(broken)
    assert 0 < sessions.totals()["missed"] < 5
    again = traffic.session_records(traffic.opening(epoch=1) + traffic.inference(range(8)), connection=1)
    _, more, _ = listen(again, sessions)
    assert sorted(check_dense(traffic, frames) + check_dense(traffic, more)) == list(range(8))
    assert sessions.totals()["missed"] == 0


def test_a_new_incarnation_counts_its_frames_again(traffic) -> None:
    first = traffic.session_records(traffic.opening() + traffic.training(range(4)))
    second = traffic.session_records(traffic.opening(incarnation=1) + traffic.training(range(2, 6)), connection=1)
    sessions, frames, _ = listen(first + second)
    places = [(raw.incarnation, raw.frame, raw.gap_before) for raw in frames]
    assert places == [(0, n, 0) for n in range(4)] + [(1, n, 0) for n in range(2, 6)]
    assert sessions.totals() == {"captured": 6, "missed": 0, "incomplete": 0, "duplicates": 0}


def test_two_sessions_on_one_connection_and_an_unrelated_service(traffic) -> None:
    line = traffic.Wire()
    one, two, health = line.call(), line.call(), line.call()
    line.send(one, traffic.opening())
    line.send(two, traffic.opening(session=b"B" * 16))
    line.send(health, [(UP, b"\x0a\x05split"), (DOWN, b"\x08\x01")])
    a, b = traffic.inference(range(3)), traffic.inference(range(5))
    for pair in itertools.zip_longest(a, b):
        for stream, message in zip((one, two), pair, strict=True):
            line.send(stream, [message] if message else [])
    sessions, frames, _ = listen(line.records())
    check_dense(traffic, frames)
    assert {s.info.session: len(s.frames.captured) for s in sessions} == {
        traffic.SESSION.hex(): 3,
        (b"B" * 16).hex(): 5,
    }


def copies(messages: Iterable[tuple[int, bytes]]) -> Iterator[Record]:
    """As a curious cloud pushes them: whole transfers (here of one piece), and the opening."""
    for direction, message in messages:
        yield Record(Kind.COPY, 0, direction, 5, 0, message)


def test_copies_from_the_cloud_are_frames_with_that_tap(traffic) -> None:
    up, down = traffic.Sender(UP, piece_bytes=1 << 20), traffic.Sender(DOWN, piece_bytes=1 << 20)
    messages = traffic.opening()
    for frame in range(3):
        messages += up.send(traffic.dense(frame), exchange=frame)
        messages += down.send(traffic.result(frame), exchange=frame, reply_to=frame)
    sessions, frames, _ = listen(copies(messages))
    assert check_dense(traffic, frames) == [0, 1, 2]
    assert {raw.tap for raw in frames} == {"cloud"}
    assert [s.tap for s in sessions] == ["cloud"]


def test_tls_gives_sizes_and_times_only(traffic) -> None:
    hello = b"\x16\x03\x01\x00\x05hello"
    records = [Record(Kind.OPEN, 0, UP, 1, 0), Record(Kind.DATA, 0, UP, 2, 0, hello)]
    records += [Record(Kind.DATA, 0, DOWN, 3, 0, hello), Record(Kind.DATA, 0, UP, 4, len(hello), bytes(90))]
    sessions, frames, events = listen(records)
    assert events == [Sizes(0, UP, 10, 2), Sizes(0, DOWN, 10, 3), Sizes(0, UP, 90, 4)]
    assert not frames
    assert not list(sessions)


def test_lies_of_a_header_cost_the_transfer_and_nothing_else(traffic) -> None:
    def lie(**changes: int) -> list[tuple[int, bytes]]:
        direction, message = traffic.Sender(UP).send(traffic.dense(0, 10), exchange=0)[0]
        head = Envelope.FromString(message)
        data = head.data
        head.ClearField("data")
        for key, value in changes.items():
            setattr(head.header, key, value)
        return [(direction, encode(head, data))]

    good = traffic.inference(range(1, 3), first_transfer=1)
    for changes in ({"total_bytes": 1 << 60}, {"total_bytes": 5}, {"parts": 0}, {"parts": 1 << 31}, {"part": 9}):
        sessions, frames, _ = listen(traffic.session_records(traffic.opening() + lie(**changes) + good))
        assert check_dense(traffic, frames) == [1, 2]
        assert sessions.totals()["missed"] == 1
    _, frames, _ = listen(traffic.session_records(traffic.opening() + lie(crc32=1)))
    with pytest.raises(DecodeError, match="CRC"):
        decode_frame(frames[0])


NEARLY = st.integers(0, 2), st.integers(0, 1), st.integers(0, 99), st.integers(0, 300)
KINDS = st.sampled_from([Kind.DATA, Kind.OPEN, Kind.CLOSE, Kind.COPY])
RECORDS = st.builds(Record, KINDS, *NEARLY, st.binary(max_size=120))
GAPS = st.builds(Record, st.just(Kind.GAP), *NEARLY, lost=st.integers(1, 99))


@settings(max_examples=150, deadline=None)
@given(st.lists(RECORDS | GAPS, max_size=20))
def test_arbitrary_records_raise_nothing(records: list[Record]) -> None:
    listen(records)


class _Tee:
    """A TCP forwarder that keeps what passes, as mirror records."""

    def __init__(self, target: int) -> None:
        self.records: list[Record] = []
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        near, _ = self._server.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        with self._lock:
            self.records.append(Record(Kind.OPEN, 0, UP, 0, 0))
        self._sockets = (near, far)
        for direction, (source, sink) in enumerate(((near, far), (far, near))):
            thread = threading.Thread(target=self._copy, args=(direction, source, sink), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _copy(self, direction: int, source: socket.socket, sink: socket.socket) -> None:
        offset = 0
        with suppress(OSError):  # either end may be gone
            while data := source.recv(1 << 16):
                with self._lock:
                    self.records.append(Record(Kind.DATA, 0, direction, len(self.records) + 1, offset, data))
                offset += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def stop(self) -> list[Record]:
        for thread in list(self._threads):
            thread.join(5)
        for each in (self._server, *self._sockets):
            each.close()
        return self.records


def test_a_real_grpc_stream(traffic) -> None:
    """grpcio speaks through a forwarder; pieces of 512 KiB, as large DATA frames as it likes to make."""
    size = 300_000  # floats: 1.2 MB, three pieces
    frames = range(6)
    up, down = traffic.Sender(UP, piece_bytes=1 << 19), traffic.Sender(DOWN, piece_bytes=1 << 19)
    to_cloud = [m for d, m in traffic.opening() if d == UP]
    to_edge = [m for d, m in traffic.opening() if d == DOWN]
    for frame in frames:
        to_cloud += [m for _, m in up.send(traffic.dense(frame, size), exchange=frame)]
        to_edge += [m for _, m in down.send(traffic.result(frame), exchange=frame, reply_to=frame)]

    def answer(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        heard = 0
        for _ in requests:
            heard += 1
        assert heard == len(to_cloud)
        yield from to_edge

    handler = grpc.method_handlers_generic_handler(
        "eavesplit.wire.v1.Split", {"Session": grpc.stream_stream_rpc_method_handler(answer)}
    )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    tee = _Tee(port)
    with grpc.insecure_channel(f"127.0.0.1:{tee.port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        answers = list(channel.stream_stream("/eavesplit.wire.v1.Split/Session")(iter(to_cloud)))
    server.stop(None).wait()
    records = tee.stop()
    assert answers == to_edge
    sessions, raw, events = listen(records)
    assert check_dense(traffic, raw, size) == list(frames)
    assert sum(isinstance(e, TransferHeard) for e in events) == 12
    assert sessions.totals()["missed"] == 0
    # and with the middle third missing: no false frame
    third = len(records) // 3
    _, raw, _ = listen(records[:third] + records[2 * third :])
    check_dense(traffic, raw, size)
