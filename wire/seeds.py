"""One run seed; every consumer derives its own stream from (run seed, role, session, frame)."""

from __future__ import annotations

import hashlib

import numpy as np


def sequence(seed: int, role: str, session: int = 0, frame: int = 0) -> np.random.SeedSequence:
    """The seed sequence of one consumer.

    seed: the run's seed, >= 0. role: a stable name such as ``"defense"`` or ``"link.jitter"``.
    session, frame: >= 0. Different arguments give independent streams; equal arguments the same stream, on every
    platform and in every process.
    """
    digest = hashlib.sha256(role.encode()).digest()[:8]
    return np.random.SeedSequence([seed, int.from_bytes(digest, "little"), session, frame])


def generator(seed: int, role: str, session: int = 0, frame: int = 0) -> np.random.Generator:
    """A PCG64 generator on :func:`sequence`."""
    return np.random.Generator(np.random.PCG64(sequence(seed, role, session, frame)))
