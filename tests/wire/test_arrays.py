"""Arrays in bytes: bit-equal back, and arbitrary bytes refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire.arrays import DTYPES, pack, unpack
from wire.errors import DecodeError, InputError

ARRAYS = hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
META = st.dictionaries(
    st.text(max_size=6),
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
    | st.lists(st.integers(), max_size=3).map(tuple),
    max_size=4,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda n: n != "__metadata__"), ARRAYS, max_size=4), META)
def test_bit_equal_in_order(arrays: dict[str, np.ndarray], meta: dict) -> None:
    back, facts = unpack(pack(arrays, meta))
    assert list(back) == list(arrays)
    assert facts == meta
    for name, array in arrays.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


def test_strided_and_big_endian_arrays_keep_their_values() -> None:
    values = np.arange(24, dtype=np.float64).reshape(4, 6)
    back, _ = unpack(pack({"t": values.T, "s": values[::2, ::-1], "b": values.astype(">f4")}, {}))
    np.testing.assert_array_equal(back["t"], values.T)
    np.testing.assert_array_equal(back["s"], values[::2, ::-1])
    np.testing.assert_array_equal(back["b"], values.astype(np.float32))


def test_safetensors_itself_reads_the_arrays() -> None:
    block = pack({"points": np.ones((3, 3), np.float32)}, {"session": "ab"})
    np.testing.assert_array_equal(safetensors.numpy.load(block)["points"], np.ones((3, 3)))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack(data)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_refused_or_leaves_arrays(data: st.DataObject) -> None:
    block = bytearray(pack({"a": np.arange(6, dtype=np.int16), "b": np.zeros((2, 2))}, {"k": 1}))
    block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    try:
        arrays, _ = unpack(bytes(block)[: data.draw(st.integers(0, len(block)))])
    except DecodeError:
        return
    assert len(arrays) == 2


def test_foreign_metadata_is_refused() -> None:
    for text in (None, {"eavesplit": "[]"}, {"eavesplit": json.dumps({"order": ["x"], "meta": {}})}):
        with pytest.raises(DecodeError):
            unpack(safetensors.numpy.save({"a": np.zeros(2)}, metadata=text))


def test_what_cannot_be_stored_is_named() -> None:
    with pytest.raises(InputError, match=r"'names'.*<U1"):
        pack({"names": np.array(["x"])}, {})
    with pytest.raises(InputError, match="meta"):
        pack({}, {"k": object()})  # type: ignore[dict-item]
