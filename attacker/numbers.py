"""A set of whole numbers kept as intervals: frame and transfer numbers are nearly gapless, so hours of them stay
small."""

from __future__ import annotations

from bisect import bisect_right


class Numbers:
    """Numbers >= 0. Adding in rising order costs O(1); in any order O(log n) to find and O(n) intervals to insert."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []  # exclusive
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number < self._ends[at]

    def add(self, number: int) -> bool:
        """Add it; False if it was there. Raises ValueError below 0."""
        if number < 0:
            raise ValueError(f"number {number}; accepted: 0 and above")
        at = bisect_right(self._starts, number) - 1
        if at >= 0 and number < self._ends[at]:
            return False
        self._count += 1
        joins_left = at >= 0 and self._ends[at] == number
        joins_right = at + 1 < len(self._starts) and self._starts[at + 1] == number + 1
        if joins_left and joins_right:
            self._ends[at] = self._ends.pop(at + 1)
            del self._starts[at + 1]
        elif joins_left:
            self._ends[at] += 1
        elif joins_right:
            self._starts[at + 1] = number
        else:
            self._starts.insert(at + 1, number)
            self._ends.insert(at + 1, number + 1)
        return True

    def below(self, number: int) -> int | None:
        """The largest member smaller than ``number``; None where there is none."""
        at = bisect_right(self._starts, number - 1) - 1
        return None if at < 0 else min(self._ends[at], number) - 1
