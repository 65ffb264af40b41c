"""Parts that are defended when they leave: each once, from the same draws whenever it is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from defenses.later import Later
from wire.payload import Payload


def parts(*sizes: int) -> list[Payload]:
    return [Payload("gradients", "gradients", {"gradients": torch.zeros(size)}) for size in sizes]


def noised(rng: np.random.Generator, made: list[int]) -> Later:
    def make(number: int, part: Payload) -> Payload:
        made.append(number)
        drawn = torch.from_numpy(rng.standard_normal(len(part.tensors["gradients"]), dtype=np.float32))
        return replace(part, tensors={"gradients": drawn})

    return Later(parts(3, 5, 2), make, rng)


def values(payload: Payload) -> list[float]:
    return payload.tensors["gradients"].tolist()


def test_parts_are_made_one_by_one_of_one_stream() -> None:
    made, whole = list[int](), np.random.default_rng(4).standard_normal(10, dtype=np.float32).tolist()
    later = noised(np.random.default_rng(4), made)
    assert (len(later), later.nbytes, made) == (3, 40, [])
    found = []
    for number, part in enumerate(later):
        assert made == list(range(number + 1))
        found += values(part)
    assert found == whole and later.spent_ns > 0


def test_a_part_is_the_same_whenever_it_is_asked_for_and_the_stream_goes_on() -> None:
    rng, other = np.random.default_rng(4), np.random.default_rng(4)
    later, wanted = noised(rng, []), [values(part) for part in noised(other, [])]
    assert [values(later[n]) for n in (2, 0, -2, 2)] == [wanted[n] for n in (2, 0, 1, 2)]
    assert [values(part) for part in later[1:]] == wanted[1:]
    assert rng.random() == other.random()
    with pytest.raises(IndexError):
        later[3]
