"""Who works: the workers' signs of life, as one who looks now and then hears them. Sans-I/O.

A worker that left took its name off; one that is silent for longer than it may is dead. Silence while Redis could not
be asked, or before a worker could sign in again on a server that was emptied, is not the worker's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOOKS_S = 1.0
"""Longer between two looks: Redis could not be asked."""


@dataclass
class _Worker:
    heard_s: float
    stamp: bytes = b""
    counts: dict[str, Any] = field(default_factory=dict)


class Roll:
    """claim_s: how long a worker may be silent. :attr:`lost`: how many died."""

    def __init__(self, claim_s: float) -> None:
        self.lost = 0
        self._claim_s = claim_s
        self._workers: dict[str, _Worker] = {}
        self._unwanted: dict[str, int] = {}
        self._looked_s: float | None = None
        self._emptied_s = float("-inf")

    @property
    def alive(self) -> dict[str, dict[str, Any]]:
        """Worker -> what it counts."""
        return {name: worker.counts for name, worker in self._workers.items() if worker.stamp}

    @property
    def unwanted(self) -> int:
        """Answers that came too late, of all workers there were."""
        return sum(self._unwanted.values())

    def emptied(self, now_s: float) -> None:
        """The server has lost all names; whoever lives will sign in again."""
        self._emptied_s = now_s

    def call(self, said: Mapping[bytes, bytes], server_ms: int, now_s: float, owing: set[str]) -> set[str]:
        """Take in what Redis says (name -> milliseconds of the server's clock, a space, counts as JSON); who is gone.

        now_s: our clock. owing: workers that must be heard of although they may never have signed in.
        """
        before = self.alive
        deaf_s = 0.0 if self._looked_s is None else max(now_s - self._looked_s - LOOKS_S, 0.0)
        self._looked_s = now_s
        for worker in self._workers.values():
            worker.heard_s += deaf_s
        names = set()
        for key, stamp in said.items():
            name = key.decode(errors="replace")
            if self._sign(name, stamp, server_ms, now_s):
                names.add(name)
        for name in owing - set(self._workers):
            self._workers[name] = _Worker(now_s)
        gone = {name for name, worker in self._workers.items() if self._gone(worker, name in names, now_s)}
        for name in gone:
            self.lost += name in names and name in before
            del self._workers[name]
        return gone

    def _gone(self, worker: _Worker, named: bool, now_s: float) -> bool:
        if worker.stamp and not named and worker.heard_s > self._emptied_s:
            return True  # it took its name off
        return now_s - max(worker.heard_s, self._emptied_s) > self._claim_s

    def _sign(self, name: str, stamp: bytes, server_ms: int, now_s: float) -> bool:
        """Take one entry in; False for what is none."""
        known = self._workers.get(name)
        if known is not None and known.stamp == stamp:
            return True
        try:
            seen, _, counts = stamp.partition(b" ")
            told = dict(json.loads(counts))
            silent_s = max(server_ms - int(seen), 0) / 1000
            self._unwanted[name] = int(told.get("unwanted", 0))
        except (ValueError, TypeError):
            return False
        self._workers[name] = _Worker(now_s if known is not None else now_s - silent_s, stamp, told)
        return True
