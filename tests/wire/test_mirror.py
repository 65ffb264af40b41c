"""Mirror framing: any cut gives the same records, garbage is refused, and a listener is never told a seam."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import DecodeError
from wire.mirror import (
    DOWN,
    HEADER_BYTES,
    MAX_COPY_BYTES,
    MAX_COUNT,
    MAX_DATA_BYTES,
    UP,
    Continuity,
    Kind,
    Pinned,
    Record,
    RecordReader,
    encode,
)

COUNT = st.integers(0, MAX_COUNT)


@st.composite
def records(draw: st.DrawFn) -> Record:
    kind = draw(st.sampled_from(Kind))
    return Record(
        kind,
        draw(COUNT),
        draw(st.sampled_from((UP, DOWN))),
        draw(COUNT),
        draw(COUNT),
        draw(st.binary(max_size=200)) if kind in (Kind.DATA, Kind.COPY, Kind.SNAPSHOT) else b"",
        draw(st.integers(1, MAX_COUNT)) if kind is Kind.GAP else 0,
    )


def test_layout_by_hand() -> None:
    record = Record(Kind.DATA, 3, DOWN, 0x0102030405060708, 256, b"abc")
    assert encode(record) == (
        b"\xe5M\x00\x01" + b"\x00\x00\x00\x03" + b"\0\0\0\0\0\0\0\x03" + bytes(range(1, 9)) + b"\0\0\0\0\0\0\x01\x00"
        + bytes(8) + b"abc"
    )  # fmt: skip
    assert HEADER_BYTES == 40


@given(st.lists(records(), max_size=8), st.lists(st.integers(0, 2000), max_size=20))
def test_any_cut_gives_the_same_records(sent: list[Record], cuts: list[int]) -> None:
    stream = b"".join(map(encode, sent))
    reader = RecordReader()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert [record for a, b in pairwise(edges) for record in reader.feed(stream[a:b])] == sent
    assert reader.pending == 0


@given(st.lists(records(), min_size=1, max_size=3))
def test_byte_by_byte(sent: list[Record]) -> None:
    reader = RecordReader()
    assert [record for byte in b"".join(map(encode, sent)) for record in reader.feed(bytes([byte]))] == sent


def test_a_reused_buffer_does_not_change_records() -> None:
    buffer = bytearray(encode(Record(Kind.DATA, 0, UP, 0, 0, b"kept")))
    (record,) = RecordReader().feed(buffer)
    buffer[:] = bytes(len(buffer))
    assert record.data == b"kept"


GOOD = encode(Record(Kind.OPEN, 1, UP, 2, 0))


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (0, b"HT", "starts with 4854; expected e54d"),
        (2, b"\x06", "kind 6; accepted: 0 to 5"),
        (3, b"\x02", "direction 2"),
        (4, (1).to_bytes(4), "OPEN of 1 bytes; accepted: at most 0"),
        (8, (1 << 63).to_bytes(8), "above 2\\^63-1"),
        (32, (1).to_bytes(8), "OPEN with 1 bytes lost"),
    ],
)
def test_garbage_is_refused(at: int, value: bytes, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        RecordReader().feed(GOOD[:at] + value + GOOD[at + len(value) :])


@pytest.mark.parametrize(("kind", "most"), [(Kind.DATA, MAX_DATA_BYTES), (Kind.COPY, MAX_COPY_BYTES)])
def test_lengths_are_capped(kind: Kind, most: int) -> None:
    header = encode(Record(kind, 0, UP, 0, 0))
    with pytest.raises(DecodeError, match=f"{most + 1} bytes; accepted: at most {most}"):
        RecordReader().feed(header[:4] + (most + 1).to_bytes(4) + header[8:])


def test_a_lying_length_allocates_nothing() -> None:
    header = encode(Record(Kind.COPY, 0, UP, 0, 0))
    reader = RecordReader()
    tracemalloc.start()
    assert reader.feed(header[:4] + MAX_COPY_BYTES.to_bytes(4) + header[8:] + b"x") == []
    assert tracemalloc.get_traced_memory()[1] < 1 << 16
    tracemalloc.stop()
    assert reader.pending == 41


@given(st.integers(0, 120))
def test_records_ahead_of_a_fault_come_first_whatever_the_cut(cut: int) -> None:
    stream = GOOD + GOOD + bytes(40)
    reader, got, faults = RecordReader(), 0, []
    for part in (stream[:cut], stream[cut:], b"", GOOD):
        try:
            got += len(reader.feed(part))
        except DecodeError as fault:
            faults.append(str(fault))
    assert got == 2
    assert faults
    assert set(faults) == {"mirror record: starts with 0000; expected e54d"}


@given(st.lists(records(), max_size=4), st.integers(0), st.integers(1, 255), st.binary(max_size=60))
def test_damage_gives_records_or_a_decode_error(sent: list[Record], at: int, flip: int, tail: bytes) -> None:
    stream = bytearray(b"".join(map(encode, sent)) + tail)
    if stream:
        stream[at % len(stream)] ^= flip
    reader = RecordReader()
    try:
        reader.feed(bytes(stream))
        reader.feed(b"")
    except DecodeError:
        pass


@pytest.mark.parametrize(
    "record",
    [
        Record(Kind.DATA, -1, UP, 0, 0),
        Record(Kind.DATA, 0, 2, 0, 0),
        Record(Kind.GAP, 0, UP, 0, 0),
        Record(Kind.CLOSE, 0, UP, 0, 0, b"x"),
        Record(Kind.OPEN, 0, UP, MAX_COUNT + 1, 0),
        Record(Kind.DATA, 0, UP, 0, 0, bytes(MAX_DATA_BYTES + 1)),
    ],
)
def test_what_no_reader_accepts_is_not_written(record: Record) -> None:
    with pytest.raises(ValueError, match="mirror record"):
        encode(record)


def _stream(seed: int, size: int) -> bytes:
    return bytes((seed + 7 * i) % 251 for i in range(size))


def rebuild(told: list[Record]) -> dict[tuple[int, int], tuple[bytes, list[tuple[int, int]], int | None]]:
    """Per connection and direction: the bytes with zeros in the holes, the holes, and the length from CLOSE.

    Fails on any seam: it is the contract a listener relies on.
    """
    opened: set[int] = set()
    found: dict[tuple[int, int], tuple[bytearray, list[tuple[int, int]], int | None]] = {}
    for record in told:
        if record.kind is Kind.OPEN:
            assert record.connection not in opened
            opened.add(record.connection)
            for direction in (UP, DOWN):
                found[record.connection, direction] = (bytearray(), [], None)
            continue
        data, holes, length = found[record.connection, record.direction]
        assert length is None
        assert record.offset == len(data)
        data += record.data
        if record.kind is Kind.GAP:
            holes.append((record.offset, record.lost))
            data += bytes(record.lost)
        if record.kind is Kind.CLOSE:
            length = record.offset
        found[record.connection, record.direction] = (data, holes, length)
    return {key: (bytes(data), holes, length) for key, (data, holes, length) in found.items()}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from((UP, DOWN)), st.integers(1, 40)), max_size=30),
    st.integers(0, 40),
    st.integers(0, 50),
    st.data(),
)
def test_continuity_over_losses_and_a_late_join(
    writes: list[tuple[int, int, int]], join: int, pin_bytes: int, data: st.DataObject
) -> None:
    """A listener joins after ``join`` records, some later ones are lost: pins, holes and bytes add up to the stream."""
    sizes: dict[tuple[int, int], int] = {}
    pins: dict[int, Pinned] = {}
    everything = []
    for connection, direction, size in writes:
        if connection not in pins:
            pins[connection] = Pinned(t_ns=5)
            everything.append(Record(Kind.OPEN, connection, UP, 5, 0))
        at = sizes.get((connection, direction), 0)
        sizes[connection, direction] = at + size
        everything.append(
            Record(Kind.DATA, connection, direction, 6, at, _stream(connection + direction, at + size)[at:])
        )
    everything += [Record(Kind.CLOSE, c, d, 9, sizes.get((c, d), 0)) for c in pins for d in (UP, DOWN)]
    for (connection, direction), size in sizes.items():
        pins[connection].prefix[direction].extend(_stream(connection + direction, min(size, pin_bytes)))
    for record in everything[:join]:
        if record.kind is Kind.CLOSE:
            pins[record.connection].ended[record.direction] = record
    pins = {connection: pin for connection, pin in pins.items() if None in pin.ended}
    kept = [r for r in everything[join:] if r.kind is Kind.CLOSE or data.draw(st.booleans())]
    continuity = Continuity()
    told = continuity.greet(pins.items())
    for record in kept:
        told += continuity.follow(record)
    seen = rebuild(told)
    reachable = {(r.connection, r.direction, i) for r in kept for i in range(r.offset, r.offset + len(r.data))}
    for connection in {r.connection for r in kept}:
        for direction in (UP, DOWN):
            got, holes, length = seen[connection, direction]
            truth = _stream(connection + direction, sizes.get((connection, direction), 0))
            assert length == len(truth)
            assert len(got) == len(truth)
            missing = {i for at, lost in holes for i in range(at, at + lost)}
            assert all(got[i] == truth[i] for i in range(len(truth)) if i not in missing)
            expected = {i for i in range(pin_bytes, len(truth)) if (connection, direction, i) not in reachable}
            assert missing == expected


def test_continuity_shortens_a_gap_that_the_pins_cover() -> None:
    pin = Pinned(1, (bytearray(b"0123456789"), bytearray()))
    continuity = Continuity()
    continuity.greet([(7, pin)])
    assert continuity.follow(Record(Kind.GAP, 7, UP, 2, 4, lost=4)) == []
    assert continuity.follow(Record(Kind.GAP, 7, UP, 2, 8, lost=6)) == [Record(Kind.GAP, 7, UP, 2, 10, lost=4)]
    assert continuity.follow(Record(Kind.DATA, 7, UP, 3, 14, b"ef")) == [Record(Kind.DATA, 7, UP, 3, 14, b"ef")]
