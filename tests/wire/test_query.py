"""Questions and answers of the query oracle: both directions, and bytes that are neither."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wire import query
from wire.errors import DecodeError
from wire.payload import ROLES, Payload

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
shapes = npst.array_shapes(min_dims=1, max_dims=3, max_side=4)
arrays = st.one_of(npst.arrays(np.uint8, shapes), npst.arrays(np.float32, shapes, elements=st.floats(-9, 9, width=32)))
values = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-9, 9), names, st.tuples(st.integers(0, 9)))
payloads = st.builds(
    Payload,
    st.sampled_from(ROLES),
    names,
    st.dictionaries(names, arrays.map(torch.from_numpy), min_size=1, max_size=3),
    st.dictionaries(names, values, max_size=3),
)


@given(st.dictionaries(names, arrays, min_size=1, max_size=3))
def test_a_question_comes_back(sample: dict[str, np.ndarray]) -> None:
    found = query.asked(query.ask(sample))
    assert list(found) == list(sample)
    for name, array in sample.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


@given(st.lists(payloads, max_size=12))
def test_an_answer_comes_back(parts: list[Payload]) -> None:
    found = query.answered(query.answer(parts))
    assert [(p.role, p.layout, dict(p.meta)) for p in found] == [(p.role, p.layout, dict(p.meta)) for p in parts]
    for one, two in zip(found, parts, strict=True):
        assert list(one.tensors) == list(two.tensors)
        assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in two.tensors)


@given(st.binary(max_size=300))
def test_other_bytes_are_refused_by_name(data: bytes) -> None:
    for decode in (query.asked, query.answered):
        with pytest.raises(DecodeError):
            decode(data)


@given(payloads, st.data())
def test_a_broken_answer_is_refused_or_still_an_answer(payload: Payload, data: st.DataObject) -> None:
    whole = bytearray(query.answer([payload]))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        parts = query.answered(bytes(whole))
    except DecodeError:
        return
    assert all(part.role in ROLES for part in parts)


def test_a_question_without_arrays_is_refused() -> None:
    with pytest.raises(DecodeError, match="without arrays"):
        query.asked(query.ask({}))
