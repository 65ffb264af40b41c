"""What takes work from the queue: threads of this process, or processes (:mod:`attacker.redis_dispatcher`)."""

from __future__ import annotations

import threading
import time
from typing import Any, Protocol

from attacker.attacks.base import SessionInfo
from attacker.inverting import Inverters, Tally, invert, record
from attacker.queue import FrameQueue
from attacker.reconstructions import Reconstructions


class Workers(Protocol):
    """Empty the queue until it is closed and over, and put what comes of it into the store."""

    def start(self) -> None:
        """Begin. Raises InputError where they cannot be had."""

    def know(self, info: SessionInfo) -> None:
        """A session that frames may come of."""

    @property
    def working(self) -> bool:
        """Until the queue is closed and all that was taken from it is recorded."""

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False where work was left undone."""

    def state(self) -> dict[str, Any]:
        """What these workers add to the listener's state: ``why`` is a line where something is wrong."""


class Worker(threading.Thread):
    """Runs until the queue is closed and empty."""

    def __init__(self, number: int, queue: FrameQueue, inverters: Inverters, store: Reconstructions) -> None:
        super().__init__(name=f"worker-{number}", daemon=True)
        self._queue, self._inverters, self._store = queue, inverters, store

    def run(self) -> None:
        while work := self._queue.take():
            learns, told = self._queue.learns(work.attack), Tally(failed=len(work.windows))
            try:
                outcomes = invert(work, self._inverters)
                told = sum((record(work, outcome, self._store, learns=learns) for outcome in outcomes), Tally())
            finally:
                self._queue.done(work, failed=told.failed, learnt=told.learnt)


class ThreadWorkers:
    """So many threads of this process."""

    def __init__(self, count: int, queue: FrameQueue, inverters: Inverters, store: Reconstructions) -> None:
        self._inverters = inverters
        self._threads = [Worker(number, queue, inverters, store) for number in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def know(self, info: SessionInfo) -> None:
        self._inverters.know(info)

    @property
    def working(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def join(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.1))
        return not self.working

    def state(self) -> dict[str, Any]:
        return {}
