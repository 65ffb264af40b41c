import zlib
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wire import dtypes
from wire.errors import DecodeError, InputError
from wire.payload import ROLES, Payload
from wire.pb import frame_pb2 as pb
from wire.transfer import MAX_DIMS, MAX_TENSORS, Assembly, TooLarge, check, pack, piece_count

GIB = 1 << 30
names = st.text(min_size=1, max_size=12)


@st.composite
def tensors(draw):
    """Any dtype and shape (0 rows and 0 dimensions too), with random bits, contiguous or not."""
    dtype = draw(st.sampled_from(list(dtypes.CODES)))
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    raw = np.frombuffer(draw(st.binary(min_size=(n := prod(shape) * dtype.itemsize), max_size=n)), np.uint8).copy()
    if dtype is torch.bool:
        raw &= 1
    flat = torch.from_numpy(raw).view(dtype) if raw.size else torch.empty(0, dtype=dtype)
    tensor = flat.reshape(shape)
    if draw(st.booleans()) and shape:
        tensor = tensor.permute(*reversed(range(tensor.dim())))[..., ::2]
    return tensor


metas = st.dictionaries(
    names,
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(tuple),
        st.lists(st.floats(allow_nan=False), min_size=1, max_size=5).map(tuple),
    ),
    max_size=4,
)
payloads = st.builds(Payload, st.sampled_from(ROLES), names, st.dictionaries(names, tensors(), max_size=4), metas)


def receive(outgoing, max_bytes=GIB):
    assembly = Assembly(outgoing.header, outgoing.piece_bytes, max_bytes)
    for index in range(outgoing.pieces):
        assembly.add(index, memoryview(b"".join(outgoing.piece(index))))
    return assembly


def bits(tensor):
    return bytes(dtypes.to_bytes(tensor))


@given(payloads, st.integers(1, 700), st.booleans())
def test_any_payload_comes_back_bit_for_bit_whatever_the_cut(payload, piece_bytes, crc):
    outgoing = pack(payload, piece_bytes, exchange=7, turn=1, part=2, parts=3, crc=crc)
    header = pb.Header.FromString(outgoing.header.SerializeToString())
    assert (header.exchange, header.turn, header.part, header.parts) == (7, 1, 2, 3)
    assert all(tensor.offset % 64 == 0 for tensor in header.tensors)
    found = receive(outgoing).payload()
    assert (found.role, found.layout, dict(found.meta)) == (payload.role, payload.layout, dict(payload.meta))
    assert {k: type(v) for k, v in found.meta.items()} == {k: type(v) for k, v in payload.meta.items()}
    assert list(found.tensors) == list(payload.tensors)
    for name, tensor in payload.tensors.items():
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (tensor.dtype, tensor.shape)
        assert bits(found.tensors[name]) == bits(tensor)


@given(payloads, st.integers(1, 200))
def test_pieces_cut_one_row_of_bytes_at_fixed_lengths(payload, piece_bytes):
    outgoing = pack(payload, piece_bytes)
    row = b"".join(outgoing.data())
    assert len(row) == outgoing.nbytes
    pieces = [b"".join(outgoing.piece(index)) for index in range(outgoing.pieces)]
    assert b"".join(pieces) == row
    assert all(len(piece) == piece_bytes for piece in pieces[:-1])
    for tensor in outgoing.header.tensors:
        assert row[tensor.offset : tensor.offset + tensor.nbytes] == bits(payload.tensors[tensor.name])


@pytest.mark.parametrize("piece_bytes", [4 << 10, (1 << 20) - 1, 1 << 20, 4 << 20])
def test_large_pieces(piece_bytes):
    a, b = torch.arange(700_001, dtype=torch.int32), torch.arange(300_007, dtype=torch.int64)
    found = receive(pack(Payload("features", "dense", {"a": a, "b": b}), piece_bytes, crc=True)).payload()
    assert torch.equal(found.tensors["a"], a)
    assert torch.equal(found.tensors["b"], b)


def test_views_refer_to_the_tensors_own_memory():
    tensor = torch.zeros(100)
    outgoing = pack(Payload("features", "dense", {"a": tensor}), 64)
    tensor[0] = 1.0
    assert bytes(outgoing.piece(0)[0][:4]) == b"\x00\x00\x80\x3f"


def test_the_crc_is_over_everything_that_travels():
    payload = Payload("features", "dense", {"a": torch.ones(3), "b": torch.ones(2)})
    row = np.ones(3, "<f4").tobytes() + bytes(52) + np.ones(2, "<f4").tobytes()
    assert pack(payload, 1000, crc=True).header.crc32 == zlib.crc32(row)


def test_a_wrong_crc_is_refused():
    outgoing = pack(Payload("features", "dense", {"a": torch.ones(3)}), 100, crc=True)
    outgoing.header.crc32 ^= 1
    with pytest.raises(DecodeError, match="CRC-32"):
        receive(outgoing).payload()


@pytest.fixture
def header():
    """Two tensors: f32 (3, 2) at 0 (24 bytes), i16 (4,) at 64 (8 bytes); 72 bytes in 3 pieces of 32."""
    payload = Payload(
        "features", "dense", {"a": torch.ones(3, 2), "b": torch.ones(4, dtype=torch.int16)}, {"stride": 2}
    )
    made = pack(payload, 32).header
    assert (made.total_bytes, made.pieces) == (72, 3)
    return made


def _tensor(header, index, **fields):
    for name, value in fields.items():
        if name == "shape":
            header.tensors[index].shape[:] = value
        else:
            setattr(header.tensors[index], name, value)


LIES = {
    "total above the cap": (lambda h: setattr(h, "total_bytes", 2**63), "at most 1000"),
    "total too small": (lambda h: setattr(h, "total_bytes", 71), "tensors end at byte 72, the transfer at 71"),
    "total too large": (lambda h: setattr(h, "total_bytes", 90), "tensors end at byte 72, the transfer at 90"),
    "no pieces": (lambda h: setattr(h, "pieces", 0), "in 0 pieces of 32; expected 3"),
    "too many pieces": (lambda h: setattr(h, "pieces", 4), "in 4 pieces of 32; expected 3"),
    "offset not aligned": (lambda h: _tensor(h, 1, offset=65), "offset 65; expected 64"),
    "offset overlaps": (lambda h: _tensor(h, 1, offset=0), "offset 0; expected 64"),
    "offset beyond": (lambda h: _tensor(h, 1, offset=2**63), "expected 64"),
    "nbytes lies": (lambda h: _tensor(h, 0, nbytes=20), "20 bytes for shape [3, 2]; expected 24"),
    "shape lies": (lambda h: _tensor(h, 0, shape=[3, 3]), "24 bytes for shape [3, 3]; expected 36"),
    "huge shape": (lambda h: _tensor(h, 0, shape=[2**63, 2**63]), "expected"),
    "shape that wraps to 24 in 64 bits": (lambda h: _tensor(h, 0, shape=[2**62 + 6]), "expected"),
    "huge empty shape": (lambda h: _tensor(h, 1, shape=[0, 2**62, 2**62], nbytes=0), "too large"),
    "too many dimensions": (lambda h: _tensor(h, 0, shape=[1] * (MAX_DIMS + 1)), "9 dimensions; at most 8"),
    "unknown dtype": (lambda h: _tensor(h, 0, dtype=77), "dtype 77"),
    "unspecified dtype": (lambda h: _tensor(h, 0, dtype=0), "dtype 0"),
    "same name twice": (lambda h: _tensor(h, 1, name="a"), "'a' comes twice"),
    "no name": (lambda h: _tensor(h, 0, name=""), "name of 0 characters"),
    "long name": (lambda h: _tensor(h, 0, name="x" * 129), "name of 129 characters"),
    "unknown role": (lambda h: setattr(h, "role", "secrets"), "role 'secrets'; accepted: features"),
    "no layout": (lambda h: setattr(h, "layout", ""), "layout of 0 characters"),
    "part beyond": (lambda h: setattr(h, "part", 1), "part 1 of 1"),
    "no parts": (lambda h: setattr(h, "parts", 0), "part 0 of 0"),
    "meta without value": (lambda h: h.meta["x"].Clear(), "meta 'x'"),
    "long meta": (lambda h: setattr(h.meta["x"], "text", "x" * 5000), "text of length 5000; at most 4096"),
    "much meta": (lambda h: [h.meta[str(i)].Clear() for i in range(70)], "71 entries; at most 64"),
    "many tensors": (lambda h: h.tensors.extend([pb.Tensor()] * MAX_TENSORS), "258 tensors; at most 256"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused_before_anything_is_allocated(header, lie, monkeypatch):
    change, text = LIES[lie]
    change(header)
    monkeypatch.setattr(dtypes, "buffer", None)  # would raise TypeError
    with pytest.raises(DecodeError) as caught:
        Assembly(header, 32, 1000)
    assert text in str(caught.value)


def test_the_honest_header_passes(header):
    check(header, 32, 72)
    with pytest.raises(TooLarge, match="72 bytes; at most 71"):
        check(header, 32, 71)


@settings(max_examples=200)
@given(st.data())
def test_random_headers_are_refused_or_describe_their_bytes(data):
    """Whatever passes the check can be filled and read, and nothing else is ever raised."""
    number = st.one_of(st.integers(0, 300), st.sampled_from([2**31, 2**32, 2**63, 2**64 - 1]))
    header = pb.Header(role="features", layout="dense", parts=1, total_bytes=data.draw(number))
    header.pieces = (
        piece_count(header.total_bytes, 64) % 2**32 if data.draw(st.booleans()) else data.draw(st.integers(0, 9))
    )
    for index in range(data.draw(st.integers(0, 3))):
        shape = data.draw(st.lists(number, max_size=3))
        code = data.draw(st.integers(0, 11))
        size = prod(shape) * (dtypes.DTYPES[code].itemsize if code in dtypes.DTYPES else 1)
        nbytes = size if size < 2**64 and data.draw(st.booleans()) else data.draw(number)
        header.tensors.add(
            name=str(index), dtype=code, shape=shape, offset=data.draw(st.integers(0, 3)) * 64, nbytes=nbytes
        )
    try:
        assembly = Assembly(header, 64, 4096)
    except DecodeError:
        return
    for index in range(header.pieces):
        assembly.add(index, memoryview(bytes(min(64, header.total_bytes - 64 * index))))
    assert sum(t.nbytes for t in header.tensors) == assembly.payload().nbytes


@pytest.mark.parametrize(
    ("index", "size", "text"),
    [(1, 32, "piece 1 came; expected 0"), (0, 31, "31 bytes; expected 32"), (0, 33, "33 bytes")],
)
def test_pieces_come_in_order_and_in_full(header, index, size, text):
    with pytest.raises(DecodeError, match=text):
        Assembly(header, 32, 1000).add(index, memoryview(bytes(size)))


def test_a_transfer_without_data_is_one_piece():
    outgoing = pack(Payload("features", "sparse_voxels", {"coords": torch.zeros(0, 4, dtype=torch.int32)}), 32)
    assert (outgoing.nbytes, outgoing.pieces, outgoing.piece(0)) == (0, 1, [])
    assert receive(outgoing).payload().tensors["coords"].shape == (0, 4)


def test_an_incomplete_transfer_has_no_payload(header):
    with pytest.raises(DecodeError, match="0 of 3 pieces"):
        Assembly(header, 32, 1000).payload()


@pytest.mark.parametrize(
    "payload",
    [
        Payload("features", "dense", {"a": torch.tensor([1.0, float("nan")])}),
        Payload("features", "dense", {"a": torch.tensor([float("inf")], dtype=torch.bfloat16)}),
        Payload("features", "dense", {}, {"scale": float("inf")}),
        Payload("features", "dense", {}, {"scale": (1.0, float("nan"))}),
    ],
)
def test_what_is_not_finite_is_refused_on_request(payload):
    assembly = receive(pack(payload, 64))
    assembly.payload()
    with pytest.raises(DecodeError, match=r"not finite|not-a-number"):
        assembly.payload(finite=True)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (Payload("features", "d", {"a": torch.zeros(1, dtype=torch.complex64)}), "complex64"),
        (Payload("features", "d", {"": torch.zeros(1)}), "a name of 1 to 128"),
        (Payload("features", "d", {"a": torch.zeros([1] * 9)}), "at most 8 dimensions"),
        (Payload("features", "d", {str(i): torch.zeros(1) for i in range(257)}), "257 tensors; at most 256"),
        (Payload("features", "d", {}, {"x": 2**63}), "64 bits"),
        (Payload("features", "d", {}, {"x": [1, 2]}), "list; accepted: bool"),
        (Payload("features", "d", {}, {"x": "y" * 4097}), "4096 characters"),
        (Payload("features", "d", {}, {str(i): "y" * 4000 for i in range(30)}), "names and meta; at most"),
        (Payload("features", "d", {}, {str(i): 1 for i in range(65)}), "65 entries; at most 64"),
    ],
)
def test_what_cannot_travel_is_named(payload, text):
    with pytest.raises(InputError, match=text):
        pack(payload, 1024)
