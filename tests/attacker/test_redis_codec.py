"""Works and results as bytes and back: any frame of any dtype, and bytes that are none."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attacker.attacks.base import CapturedFrame, CapturedPart, Reconstruction, SessionInfo
from attacker.inverting import Failure, Outcome
from attacker.queue import Entry, Work
from attacker.redis_codec import Result, Task, decode_result, decode_task, encode_result, encode_task, number_of
from attacker.redis_keys import Keys, Stream, Terms
from wire.dtypes import CODES
from wire.errors import DecodeError
from wire.payload import ROLES, Payload

INFO = SessionInfo("5e" * 16, "toy", "s1", "ab" * 32, ("dense", "sparse"), {"defense": "none", "größe": "1"})
NS = st.integers(0, 2**63 - 1)
META = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=9),
    st.lists(st.integers(-9, 9), min_size=1, max_size=3).map(tuple),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=3).map(tuple),
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = draw(st.sampled_from(sorted(CODES, key=str)))
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    nbytes = math.prod(shape) * dtype.itemsize
    data = draw(st.binary(min_size=nbytes, max_size=nbytes))
    if dtype is torch.bool:
        data = bytes(b & 1 for b in data)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8) if nbytes else torch.empty(0, dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    named = draw(st.dictionaries(NAMES, tensors(), max_size=3))
    return Payload(draw(st.sampled_from(ROLES)), draw(NAMES), named, draw(st.dictionaries(NAMES, META, max_size=3)))


@st.composite
def frames(draw: st.DrawFn) -> CapturedFrame:
    parts = []
    for _ in range(draw(st.integers(0, 3))):
        of = draw(st.integers(1, 5))
        direction = draw(st.sampled_from(["up", "down"]))
        place = draw(st.integers(0, 9)), draw(st.integers(0, of - 1)), of
        parts.append(CapturedPart(direction, *place, draw(payloads()), draw(NS), draw(NS)))  # type: ignore[arg-type]
    numbers = draw(st.integers(0, 9)), draw(st.integers(0, 2**53))
    return CapturedFrame(INFO.session, *numbers, tuple(parts), draw(st.integers(0, 99)), "cloud", draw(st.booleans()))


@st.composite
def works(draw: st.DrawFn) -> Work:
    entries = [Entry(frame, 0) for frame in draw(st.lists(frames(), min_size=1, max_size=3))]
    window = st.lists(st.sampled_from(entries), min_size=1, max_size=3).map(tuple)
    return Work("toy", INFO.session, tuple(draw(st.lists(window, max_size=3))))


def flat(value: Any) -> Any:
    """Values as they can be compared: tensors and floats by their bits."""
    if isinstance(value, torch.Tensor):
        bits = value.contiguous().reshape(-1).view(torch.uint8).tolist() if value.numel() else []
        return str(value.dtype), tuple(value.shape), bits
    if isinstance(value, Payload):
        named = [(name, flat(tensor)) for name, tensor in value.tensors.items()]
        return value.role, value.layout, named, sorted((k, repr(v)) for k, v in value.meta.items())
    if isinstance(value, CapturedPart):
        return (
            value.direction,
            value.turn,
            value.part,
            value.parts,
            value.t_first_ns,
            value.t_last_ns,
            flat(value.payload),
        )
    if isinstance(value, CapturedFrame):
        facts = value.session, value.incarnation, value.frame, value.gap_before, value.tap, value.complete
        return *facts, [flat(part) for part in value.parts]
    if isinstance(value, Work):
        return value.attack, value.session, [[flat(entry.frame) for entry in window] for window in value.windows]
    raise TypeError(value)


def fields(encoded: dict[str, bytes]) -> dict[bytes, bytes]:
    return {name.encode(): value for name, value in encoded.items()}


@settings(max_examples=60, deadline=None)
@given(works(), st.integers(0, 2**40), st.none() | st.integers(0, 2**40))
def test_a_work_comes_back_as_it_was(work: Work, number: int, after: int | None) -> None:
    encoded = fields(encode_task(Task(number, after, INFO, work)))
    found = decode_task(encoded)
    assert (found.number, found.after, found.info) == (number, after, INFO)
    assert flat(found.work) == flat(work)
    assert number_of(encoded) == number


def test_bfloat16_and_a_frame_of_two_windows_once() -> None:
    values = torch.tensor([1.0, -0.0, float("nan"), 3.140625], dtype=torch.bfloat16)
    payload = Payload("features", "dense", {"x": values}, {})
    first, second, third = (
        Entry(CapturedFrame(INFO.session, 0, n, (CapturedPart("up", 0, 0, 1, payload, 1, 2),)), 0) for n in range(3)
    )
    work = Work("toy", INFO.session, ((first, second), (second, third)))
    encoded = fields(encode_task(Task(1, None, INFO, work)))
    # bfloat16 is the upper half of a float32: 1.0 is 0x3f80, 3.140625 is 0x4049
    assert encoded[b"data"].count(b"\x80\x3f\x00\x80") == 3  # one for each frame, not for each window
    found = decode_task(encoded).work
    tensor = found.windows[1][0].frame.parts[0].payload.tensors["x"]
    assert tensor.dtype is torch.bfloat16
    assert tensor.view(torch.int16).tolist() == values.view(torch.int16).tolist()
    assert found.windows[0][1] is found.windows[1][0]


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int64", "float16", "float64"])
def test_a_result_comes_back_as_it_was(dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    made = Reconstruction(
        "s", (3, 4), "toy", {"b": array, "a": array[:0]}, {"sites": 7, "at": (1, 2), "f": float("inf")}
    )
    outcomes = (Outcome((made, Failure((5,), "no: ünable")), 0, 2.5), Outcome((), 0, 0.0))
    work = Work("toy", "s", ())
    found = decode_result(fields(encode_result(Result(9, "w", 2, outcomes), work)))
    assert (found.number, found.worker, found.deliveries, found.reason) == (9, "w", 2, "")
    (back, failure), rest = found.outcomes[0].made, found.outcomes[1]
    assert isinstance(back, Reconstruction)
    assert (back.session, back.frames, back.meta) == ("s", (3, 4), made.meta)
    assert list(back.arrays) == ["b", "a"]
    np.testing.assert_array_equal(back.arrays["b"], array, strict=True)
    assert back.arrays["a"].shape == (0, 3)
    assert failure == Failure((5,), "no: ünable")
    assert (found.outcomes[0].spent_ms, rest.made) == (2.5, ())


def test_what_cannot_be_stored_fails_its_own_window() -> None:
    entries = [Entry(CapturedFrame("s", 0, n, ()), 0) for n in (1, 2)]
    work = Work("toy", "s", tuple((entry,) for entry in entries))
    good, bad = (Reconstruction("s", (n,), "toy", {"x": x}) for n, x in ((1, np.ones(2)), (2, np.array(["text"]))))
    found = decode_result(fields(encode_result(Result(1, "w", 1, (Outcome((good, bad), 0, 1.0),)), work)))
    kept, failed = found.outcomes[0].made
    assert isinstance(kept, Reconstruction)
    assert isinstance(failed, Failure)
    assert failed.frames == (2,)
    assert "<U4" in failed.reason


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_bytes_that_are_none_are_refused(data: st.DataObject) -> None:
    part = CapturedPart("up", 0, 0, 1, Payload("features", "dense", {"x": torch.arange(5)}, {"n": 1}), 1, 2)
    work = Work("toy", "s", ((Entry(CapturedFrame("s", 0, 1, (part,)), 0),),))
    for encode, decode in (
        (lambda: encode_task(Task(3, None, SessionInfo("s", "", "", "", ()), work)), decode_task),
        (lambda: encode_result(Result(3, "w", 1, (Outcome((Failure((1,), "x"),), 0, 1.0),)), work), decode_result),
    ):
        good = fields(encode())
        name = data.draw(st.sampled_from(sorted(good)))
        value = good[name]
        cut = data.draw(st.integers(0, max(len(value) - 1, 0)))
        changed = data.draw(st.sampled_from([value[:cut], value + b"x", b"[]", b"null", b"{}"]))
        missing = {key: kept for key, kept in good.items() if key != name}
        with pytest.raises(DecodeError):
            decode(missing)
        try:
            decode({**missing, name: changed})
        except DecodeError:
            continue
        # what is accepted all the same is what it was, or another whole number
        assert changed in (value, value[:cut]) and (name == b"number" or changed == value)


def test_the_head_is_json_and_holds_no_payload() -> None:
    part = CapturedPart("up", 0, 0, 1, Payload("features", "dense", {"x": torch.zeros(10_000)}), 1, 2)
    encoded = encode_task(Task(1, None, INFO, Work("toy", "s", ((Entry(CapturedFrame("s", 0, 1, (part,)), 0),),))))
    assert len(encoded["head"]) < 1000 < 40_000 <= len(encoded["data"]) < 41_000
    assert json.loads(encoded["head"])["attack"] == "toy"


def test_terms_and_streams_come_back_and_keys_of_two_lives_differ() -> None:
    terms, stream = Terms("000-a", 1500, 3), Stream("row:1", True, "d1", "w")
    assert Terms.decode(terms.encode().encode()) == terms
    assert Stream.decode(stream.encode().encode()) == stream
    for kind in (Terms, Stream):
        for rubbish in (b"", b"[]", b"{}", b'{"life": 1}'):
            with pytest.raises(DecodeError):
                kind.decode(rubbish)
    one, other = Keys("p", "1"), Keys("p", "2")
    assert one.work("a", "s") != other.work("a", "s") != other.own("a")
    assert one.terms == other.terms
