import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wire import dtypes
from wire.errors import DecodeError, InputError
from wire.pb import frame_pb2 as pb


def test_every_code_of_the_protocol_has_a_dtype_of_the_same_name():
    names = {
        torch.float32: "F32",
        torch.float16: "F16",
        torch.bfloat16: "BF16",
        torch.int32: "I32",
        torch.int16: "I16",
        torch.uint8: "U8",
        torch.int64: "I64",
        torch.int8: "I8",
        torch.float64: "F64",
        torch.bool: "BOOL",
    }
    assert {dtype: pb.DType.Name(code) for dtype, code in dtypes.CODES.items()} == names
    assert set(dtypes.DTYPES) == set(pb.DType.values()) - {pb.DTYPE_UNSPECIFIED}


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.tensor([1.0, -2.0]), b"\x00\x00\x80\x3f\x00\x00\x00\xc0"),
        (torch.tensor([1.0], dtype=torch.bfloat16), b"\x80\x3f"),
        (torch.tensor(258, dtype=torch.int16), b"\x02\x01"),
        (torch.tensor([True, False]), b"\x01\x00"),
        (torch.arange(6, dtype=torch.uint8).reshape(2, 3).T, bytes([0, 3, 1, 4, 2, 5])),
        (torch.zeros(0, 4), b""),
        (torch.ones(1, requires_grad=True), b"\x00\x00\x80\x3f"),
        (torch.ones(2)[::2], b"\x00\x00\x80\x3f"),
    ],
    ids=["f32", "bf16", "0-dim", "bool", "transposed", "no rows", "with grad", "one of two"],
)
def test_bytes_are_little_endian_in_row_major_order(tensor, expected):
    assert bytes(dtypes.to_bytes(tensor)) == expected


def test_contiguous_tensors_are_not_copied():
    tensor = torch.zeros(8)
    view = dtypes.to_bytes(tensor)
    tensor[0] = 1.0
    assert bytes(view[:4]) == b"\x00\x00\x80\x3f"


@given(st.integers(1, 10_000))
def test_buffers_begin_at_a_cache_line(nbytes):
    data = dtypes.buffer(nbytes)
    assert (data.nbytes, data.ctypes.data % dtypes.ALIGN) == (nbytes, 0)


@given(st.integers(0, 2**40))
def test_aligned_is_the_next_multiple(offset):
    assert dtypes.aligned(offset) % 64 == 0
    assert 0 <= dtypes.aligned(offset) - offset < 64


def test_tensors_are_views_of_the_buffer():
    data = dtypes.buffer(128)
    data[:] = 0
    tensor = dtypes.from_bytes(data, torch.int32, (4,), 64)
    data[64] = 7
    assert tensor.tolist() == [7, 0, 0, 0]


def test_a_bool_is_zero_or_one():
    data = dtypes.buffer(3)
    data[:] = (0, 1, 2)
    with pytest.raises(DecodeError, match="byte 2; accepted: 0, 1"):
        dtypes.from_bytes(data, torch.bool, (3,), 0)


def test_a_dtype_that_does_not_travel_is_named_with_those_that_do():
    with pytest.raises(InputError, match=r"'phase' has dtype torch.complex64; accepted: float32"):
        dtypes.code("phase", torch.zeros(1, dtype=torch.complex64))
