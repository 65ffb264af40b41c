"""Whether Redis does what it is asked: since when, and why not. Several threads ask, and each tells its own part."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

from attacker.redis_address import RedisAddress, explain

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
JITTER = 0.2


class Health:
    """Thread-safe."""

    def __init__(self, address: RedisAddress) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._problems: dict[str, str] = {}
        self._tries: dict[str, int] = {}
        self._since = time.monotonic()

    @property
    def why(self) -> str | None:
        """What is wrong, in a line; None where nothing is."""
        with self._lock:
            return next(iter(self._problems.values()), None)

    def well(self, part: str) -> None:
        """What this part asked was done."""
        with self._lock:
            self._tries.pop(part, None)
            if self._problems.pop(part, None) is not None and not self._problems:
                self._since = time.monotonic()

    def ill(self, part: str, error: Exception | str) -> float:
        """It was not; how many seconds to wait before the next try."""
        line = error if isinstance(error, str) else explain(error, self._address)
        with self._lock:
            if not self._problems:
                self._since = time.monotonic()
            self._problems[part] = line
            tries = self._tries[part] = self._tries.get(part, 0) + 1
        pause = min(FIRST_PAUSE_S * 2.0 ** min(tries - 1, 10), LONGEST_PAUSE_S)
        return pause * random.uniform(1 - JITTER, 1 + JITTER)

    def state(self) -> dict[str, Any]:
        """Part of what ``GET /state`` answers."""
        why = self.why
        since = round(time.monotonic() - self._since, 1)
        return {"url": self._address.shown, "up": why is None, "since_s": since, "why": why}
