"""The splitter against h2 (which made the bytes) and hyperframe (which reads them independently)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import hyperframe.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacker.grpc_messages import starts_message
from attacker.http2 import PREFACE, DataChunk, Event, FrameSplitter, Lost, StreamEnd
from wire.mirror import DOWN, UP


def splitter(direction: int = UP, *, late: bool = False) -> FrameSplitter:
    return FrameSplitter(client=direction == UP, starts_message=starts_message, late=late)


def joined(events: list[Event]) -> list[tuple[int, bytes] | tuple[int, bool]]:
    """Whole DATA frames and stream ends: what must not depend on how the bytes were fed."""
    found: list[tuple[int, bytes] | tuple[int, bool]] = []
    frame = bytearray()
    for event in events:
        if isinstance(event, DataChunk):
            if event.first:
                frame.clear()
            frame += event.data
            if event.last:
                found.append((event.stream, bytes(frame)))
        elif isinstance(event, StreamEnd):
            found.append((event.stream, event.reset))
        else:
            found.append((-1, False))
    return found


def parsed(data: bytes) -> Iterator[hyperframe.frame.Frame]:
    at = len(PREFACE) if data.startswith(PREFACE) else 0
    while at < len(data):
        frame, length = hyperframe.frame.Frame.parse_frame_header(memoryview(data)[at : at + 9])
        frame.parse_body(memoryview(data)[at + 9 : at + 9 + length])
        at += 9 + length
        yield frame


def kinds(data: bytes) -> set[type]:
    return {type(frame) for frame in parsed(data)}


def by_hyperframe(data: bytes) -> Iterator[tuple[int, bytes] | tuple[int, bool]]:
    """The same facts, read by another library (RFC 9113 frames, padding removed)."""
    for frame in parsed(data):
        if isinstance(frame, hyperframe.frame.DataFrame) and frame.data:
            yield frame.stream_id, bytes(frame.data)
        if isinstance(frame, hyperframe.frame.RstStreamFrame):
            yield frame.stream_id, True
        elif "END_STREAM" in frame.flags:
            yield frame.stream_id, False


@functools.cache
def streams(traffic, direction: int, *, padding: int = 0) -> bytes:
    """Three calls on one connection: one ends well, one is reset, one begins with CONTINUATION frames."""
    wire = traffic.Wire(padding=padding)
    first = wire.call()
    wire.send(first, traffic.opening() + traffic.inference(range(3), size=9000))
    wire.ping()
    second = wire.call(extra_header=40_000)
    wire.send(second, traffic.opening() + traffic.inference(range(2)))
    wire.end(first)
    wire.end(second, reset=True)
    return b"".join(data for d, data in wire.passed if d == direction)


@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize("padding", [0, 1, 200])
def test_same_frames_as_hyperframe(traffic, direction: int, padding: int) -> None:
    data = streams(traffic, direction, padding=padding)
    if direction == UP:
        assert b"\x09" in {
            data[at + 3 : at + 4] for at in range(len(PREFACE), len(data) - 9)
        }  # there is a CONTINUATION
    ours = splitter(direction)
    assert joined(ours.feed(data, 0)) == list(by_hyperframe(data))
    assert ours.skipped_bytes == ours.resyncs == 0


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=20), padding=st.sampled_from([0, 3]))
def test_output_does_not_depend_on_the_cuts(traffic, sizes: list[int], padding: int) -> None:
    data = streams(traffic, UP, padding=padding)
    ours, at, events = splitter(), 0, []
    for size in itertools.cycle(sizes):
        events += ours.feed(data[at : at + size], at)
        at += size
        if at >= len(data):
            break
    assert joined(events) == joined(splitter().feed(data, 0))


def test_fed_byte_by_byte(traffic) -> None:
    data = streams(traffic, UP)
    ours = splitter()
    events = [event for at in range(len(data)) for event in ours.feed(data[at : at + 1], at)]
    assert joined(events) == list(by_hyperframe(data))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_after_a_gap_only_true_frames_come(traffic, data: st.DataObject) -> None:
    whole = streams(traffic, UP)
    begin = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(begin, len(whole)))
    ours = splitter()
    before = ours.feed(whole[:begin], 0)
    after = ours.gap()
    rest, size = whole[end:], data.draw(st.integers(100, 40_000))
    for at in range(0, len(rest), size):
        after += ours.feed(rest[at : at + size], 1)
    after += ours.close()
    true = list(by_hyperframe(whole))
    heard = joined(before)
    assert true[: len(heard)] == heard
    found = [fact for fact in joined(after) if fact[0] != -1]
    assert true[len(true) - len(found) :] == found
    assert isinstance(after[0], Lost)


def test_a_late_join_finds_the_next_message(traffic) -> None:
    whole = streams(traffic, UP)
    true = list(by_hyperframe(whole))
    late = splitter(late=True)
    found = joined(late.feed(whole[1000:], 0) + late.close())
    assert len(found) >= len(true) - 3
    assert late.resyncs == 1


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=8), st.booleans(), st.booleans())
def test_arbitrary_bytes_give_no_error_and_no_endless_memory(parts: list[bytes], late: bool, client: bool) -> None:
    ours = FrameSplitter(client=client, starts_message=starts_message, late=late)
    for part in parts:
        for event in ours.feed(part, 0):
            assert isinstance(event, DataChunk | StreamEnd | Lost)
    ours.close()


PATTERNS = [b"\0", b"\xff", bytes(8) + b"\x01", b"\x00\x00\x05" + bytes(5) + b"\x01\x00"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_hostile_runs_are_linear_and_bounded(pattern: bytes) -> None:
    """2 MB of what looks like headers: each byte is judged a bounded number of times, and little is held."""
    ours = splitter(late=True)
    block = pattern * (1 << 17)
    for at in range(0, len(block), 1 << 16):
        ours.feed(block[at : at + (1 << 16)], 0)
        assert len(ours._held) < 1 << 17
    assert joined(ours.close()) == []


def test_frames_that_break_off_again_and_again_do_not_deepen_the_stack(traffic) -> None:
    """A chain of three that is followed by rubbish, thousands of times in one feed."""
    message = traffic.opening()[0][1]
    body = b"\x00" + len(message).to_bytes(4, "big") + message
    anchor = len(body).to_bytes(3, "big") + b"\x00\x00\x00\x00\x00\x01" + body
    window_update = b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + bytes(4)
    block = (anchor + window_update * 2 + b"\xff" * 9) * 3000
    ours = splitter(late=True)
    found = [event for event in ours.feed(block, 0) if isinstance(event, DataChunk)]
    assert len(found) == 3000


def test_a_wrong_preface_is_no_http2() -> None:
    ours = splitter()
    events = ours.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0)
    assert [type(e) for e in events] == [Lost]
    assert ours.searching
