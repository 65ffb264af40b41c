"""The C library's heap, set up for buffers of many megabytes that come and go."""

from __future__ import annotations

import ctypes

_SETTINGS = (
    (-4, 0),  # M_MMAP_MAX: a large buffer comes from the heap, where its pages stay mapped
    (-1, 1 << 30),  # M_TRIM_THRESHOLD: the heap's top is not given back after each transfer
    (-2, 64 << 20),  # M_TOP_PAD: it grows in steps of 64 MiB
    (-8, 1),  # M_ARENA_MAX: all threads reuse the same pages
)


def tune() -> bool:
    """Keep freed memory for the next transfer, instead of faulting in every page of each one anew.

    Call it first thing in a process's main, before gRPC and torch are imported: what was allocated before keeps its
    place. Returns False where the C library is not glibc (nothing is changed then).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    results = [mallopt(name, value) for name, value in _SETTINGS]
    return all(result == 1 for result in results)
