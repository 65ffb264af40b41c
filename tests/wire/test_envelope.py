import pytest
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.envelope import HEAD_MAX, decode, encode, varint
from wire.errors import DecodeError
from wire.pb import frame_pb2 as pb

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
text = st.text(max_size=20)


@st.composite
def heads(draw):
    head = pb.Envelope(piece=draw(u64), transfer_id=draw(u64), ack=draw(u64), credit=draw(u64), t_send_ns=draw(u64))
    kind = draw(st.sampled_from(["none", "open", "header", "probe", "error", "close"]))
    if kind == "open":
        head.open.CopyFrom(
            pb.Open(protocol=draw(u32), victim=draw(text), layouts=draw(st.lists(text, max_size=4)), epoch=draw(u32))
        )
        head.open.info["torch"] = draw(text)
    elif kind == "header":
        head.header.CopyFrom(pb.Header(role=draw(text), layout=draw(text), total_bytes=draw(u64), exchange=draw(u64)))
        for shape in draw(st.lists(st.lists(u64, max_size=3), max_size=3)):
            head.header.tensors.add(name=draw(text), dtype=draw(st.integers(0, 10)), shape=shape)
        head.header.meta["stride"].integers.items.extend(draw(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3)))
    elif kind == "probe":
        head.probe.CopyFrom(pb.Probe(id=draw(u64), t1_ns=draw(u64), unloaded=draw(st.booleans())))
    elif kind == "error":
        head.error.CopyFrom(pb.Error(code=draw(st.integers(0, 20)), message=draw(text), fatal=draw(st.booleans())))
    elif kind == "close":
        head.close.CopyFrom(pb.Close(reason=draw(text), bytes=draw(u64)))
    return head


def by_library(message: bytes) -> tuple[pb.Envelope, bytes]:
    """What the protobuf library makes of the same bytes."""
    whole = pb.Envelope.FromString(message)
    data = whole.data
    whole.ClearField("data")
    return whole, data


def agree(message: bytes) -> None:
    try:
        expected = by_library(message)
    except ProtobufError:
        with pytest.raises(DecodeError):
            decode(message)
        return
    head, data = decode(message)
    assert (head, bytes(data)) == expected


@given(heads(), st.binary(max_size=300))
def test_a_message_is_the_one_that_the_library_writes(head, data):
    whole = pb.Envelope()
    whole.CopyFrom(head)
    whole.data = data
    assert encode(head, memoryview(data)) == whole.SerializeToString()
    assert by_library(encode(head, data)) == (head, data)


@given(heads(), st.binary(max_size=300))
def test_decoding_gives_back_what_was_encoded(head, data):
    found, tail = decode(encode(head, data))
    assert (found, bytes(tail)) == (head, data)


unknown = st.sampled_from(
    [
        b"\xa0\x06\x05",  # field 100, varint
        b"\xa1\x06" + bytes(8),  # field 100, 64 bits
        b"\xa2\x06\x03abc",  # field 100, length-delimited
        b"\xa3\x06\x08\x01\xa4\x06",  # field 100, a group
        b"\xa5\x06" + bytes(4),  # field 100, 32 bits
        b"\xfa\x00\x03abc",  # data, with its tag in two bytes instead of one
    ]
)


@given(st.lists(st.one_of(heads().map(lambda h: h.SerializeToString()), unknown, st.binary(max_size=40).map(
    lambda d: b"\x7a" + varint(len(d)) + d)), max_size=6))  # fmt: skip
def test_foreign_encoders_are_read_as_the_library_reads_them(fields):
    """Data first, twice, in the middle or absent; unknown fields anywhere; parts of heads merged."""
    agree(b"".join(fields))


@given(heads(), st.binary(max_size=100), st.data())
def test_truncated_messages_are_refused_exactly_when_the_library_refuses(head, data, draw):
    message = encode(head, data)
    agree(message[: draw.draw(st.integers(0, len(message)))])


@given(heads(), st.binary(max_size=60), st.data())
def test_flipped_bits_are_judged_as_the_library_judges_them(head, data, draw):
    message = bytearray(encode(head, data))
    for _ in range(draw.draw(st.integers(1, 3))):
        if message:
            message[draw.draw(st.integers(0, len(message) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    agree(bytes(message))


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_arbitrary_bytes(message):
    agree(message)


def test_data_is_a_view_of_the_message():
    message = encode(pb.Envelope(piece=3), bytes(1 << 20))
    _, data = decode(message)
    assert data.obj is message


@pytest.mark.parametrize(
    "message",
    [
        encode(pb.Envelope(header=pb.Header(tensors=[pb.Tensor()] * (HEAD_MAX // 2)))),
        b"\x32" + varint(HEAD_MAX + 1) + bytes(HEAD_MAX + 1) + b"\x7a\x01x",
        b"\xa3\x06" * (HEAD_MAX // 2 + 1),
        bytes([0x32]) + varint(2**40) + bytes(HEAD_MAX),
    ],
    ids=["many fields", "long open before data", "nested groups", "a length that lies"],
)
def test_heads_that_would_be_costly_to_parse_are_refused_unparsed(message, monkeypatch):
    monkeypatch.setattr(pb.Envelope, "FromString", None, raising=False)
    with pytest.raises(DecodeError, match=f"at most {HEAD_MAX}"):
        decode(message)


@given(u64)
def test_varints_are_the_librarys(value):
    assert b"\x08" + varint(value) == pb.Envelope(piece=value).SerializeToString() or value == 0
