"""Messages out of DATA chunks, and the head check against the protobuf library."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacker.grpc_messages import MAX_MESSAGE_BYTES, MessageAssembler, starts_message
from attacker.http2 import DataChunk
from wire.envelope import encode
from wire.pb.frame_pb2 import Close, Envelope, Error, Header, Open, Opened, Probe


def prefixed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


U64 = st.integers(0, 2**64 - 1)
SMALL = st.integers(1, 9)
HEADERS = st.builds(Header, role=st.just("features"), layout=st.text(max_size=9))
HEADS = st.one_of(
    st.builds(Envelope, piece=U64, transfer_id=U64, ack=U64, credit=U64, t_send_ns=U64),
    st.builds(Envelope, credit=U64, open=st.builds(Open, victim=st.text())),
    st.builds(Envelope, ack=SMALL, opened=st.builds(Opened, credit=U64)),
    st.builds(Envelope, transfer_id=SMALL, header=HEADERS),
    st.builds(Envelope, probe=st.builds(Probe, id=U64)),
    st.builds(Envelope, error=st.builds(Error, message=st.text())),
    st.builds(Envelope, close=st.builds(Close, reason=st.text())),
).filter(lambda head: head.ByteSize() > 0)


@settings(max_examples=200, deadline=None)
@given(HEADS, st.binary(max_size=50), st.binary(max_size=20))
def test_every_message_of_ours_is_known_by_its_head(head: Envelope, data: bytes, after: bytes) -> None:
    message = prefixed(encode(head, data))
    assert starts_message(memoryview(message + after)) is True
    verdicts = [starts_message(memoryview(message[:length])) for length in range(len(message))]
    assert False not in verdicts
    # once sure, more bytes do not change its mind; and it is sure when the head is there
    sure = verdicts.index(True) if True in verdicts else len(message)
    assert sure <= len(message) - len(data) + (not data)
    assert all(verdict is True for verdict in verdicts[sure:])


def test_random_bytes_hardly_ever_pass() -> None:
    rng = random.Random(7)
    block = rng.randbytes(200_000)
    assert sum(starts_message(memoryview(block)[at : at + 4096]) is True for at in range(190_000)) == 0
    sites = itertools.product(range(9), range(30), range(30))
    grid = b"".join(bytes([0, 0, 0, 0, z, 0, 0, 0, y, 1, 0, 0, x, 2, 0, 0]) for z, y, x in sites)
    assert sum(starts_message(memoryview(grid)[at : at + 4096]) is True for at in range(len(grid) - 4096)) == 0


def chunks(data: bytes, frame: int, cut: int) -> list[DataChunk]:
    """DATA frames of ``frame`` bytes, each fed in cuts."""
    found = []
    for begin in range(0, len(data), frame):
        body = memoryview(data)[begin : begin + frame]
        found += [
            DataChunk(1, body[at : at + cut], at == 0, at + cut >= len(body), begin + at)
            for at in range(0, len(body), cut)
        ]
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 400), st.integers(1, 400))
def test_messages_do_not_depend_on_frames_and_cuts(messages: list[bytes], frame: int, cut: int) -> None:
    assembler = MessageAssembler()
    data = b"".join(map(prefixed, messages))
    found = [m for chunk in chunks(data, frame, cut) for m in assembler.feed(chunk)]
    assert [m.data for m in found] == messages
    assert all(m.t_first_ns <= m.t_last_ns for m in found)


def test_times_are_those_of_first_and_last_byte() -> None:
    data = prefixed(b"a" * 10) + prefixed(b"b" * 10)
    assembler = MessageAssembler()
    found = [m for chunk in chunks(data, 30, 12) for m in assembler.feed(chunk)]
    assert [(m.data[:1], m.t_first_ns, m.t_last_ns) for m in found] == [(b"a", 0, 12), (b"b", 12, 24)]


def test_after_a_loss_it_waits_for_a_frame_that_begins_a_message() -> None:
    message = encode(Envelope(transfer_id=3, ack=2), b"payload" * 30)
    data = prefixed(message)
    assembler = MessageAssembler()
    assembler.feed(DataChunk(1, memoryview(data[:50]), True, True, 0))
    assembler.lost()
    late = [DataChunk(1, memoryview(data[100:]), True, True, 1), *chunks(data, 60, 7)]
    assert [m.data for chunk in late for m in assembler.feed(chunk)] == [message]


@pytest.mark.parametrize("prefix", [b"\x01\x00\x00\x00\x01x", b"\x00" + (MAX_MESSAGE_BYTES + 1).to_bytes(4, "big")])
def test_compressed_and_oversized_messages_are_refused(prefix: bytes) -> None:
    assembler = MessageAssembler()
    assert assembler.feed(DataChunk(1, memoryview(prefix), True, True, 0)) == []
    assert assembler.refused == 1
    good = encode(Envelope(transfer_id=1, ack=1), b"x")
    assert [m.data for m in assembler.feed(DataChunk(1, memoryview(prefixed(good)), True, True, 0))] == [good]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=80), st.booleans(), st.booleans()), max_size=10), st.booleans())
def test_arbitrary_bytes(parts: list[tuple[bytes, bool, bool]], late: bool) -> None:
    assembler = MessageAssembler(late=late)
    for data, first, last in parts:
        assembler.feed(DataChunk(1, memoryview(data), first, last, 0))
