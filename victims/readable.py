"""What of a source can be read, for those who look at it before or beside a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from wire.errors import InputError

T = TypeVar("T")


def readable(source: Iterable[T], on_failure: Callable[[InputError], object] = lambda error: None) -> Iterator[T]:
    """The elements of ``source`` past those that raise InputError: a stream counts and names these itself.

    source: goes on after an element that raised, as a victim's samples and a ``map`` do, and a generator does not.
    """
    elements = iter(source)
    while True:
        try:
            yield next(elements)
        except StopIteration:
            return
        except InputError as error:
            on_failure(error)
