"""A turn's parts, each defended when it is about to leave: no second copy of a large step is ever held."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from wire.payload import Payload


class Later(Sequence[Payload]):
    """``make(number, part)`` of each part, worked out when it is asked for and not kept.

    make keeps shapes and types. It may draw from ``rng``, in the order of the parts; a part that is asked for again, or
    out of its turn, is made of the same draws.
    """

    def __init__(
        self,
        parts: Sequence[Payload],
        make: Callable[[int, Payload], Payload],
        rng: np.random.Generator,
    ) -> None:
        self._parts, self._make, self._bits = parts, make, rng.bit_generator
        self._states: list[Mapping[str, Any]] = []  # of the generator before each part that was made
        self.spent_ns = 0

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        return sum(part.nbytes for part in self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    @overload
    def __getitem__(self, index: int) -> Payload: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Payload]: ...
    def __getitem__(self, index: int | slice) -> Payload | Sequence[Payload]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        for earlier in range(len(self._states), number):
            self._made(earlier)
        return self._made(number)

    def _made(self, number: int) -> Payload:
        begin, again = time.monotonic_ns(), number < len(self._states)
        now = self._bits.state
        if again:
            self._bits.state = self._states[number]
        else:
            self._states.append(now)
        made = self._make(number, self._parts[number])
        if again:
            self._bits.state = now
        self.spent_ns += time.monotonic_ns() - begin
        return made
