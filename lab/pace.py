"""Keeps a lossless stream lossless: while too much waits for the listener, the edge takes no new sample.

The link and a curious cloud never wait for a listener; what does not fit into their rings is lost. In a run that is to
lose nothing the lab, which sees both, holds the edge back instead. A sample that has begun is finished, so a ring must
hold what is read of one sample, and what crosses while nobody looks, above :data:`HIGH`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from math import ceil
from typing import Any, Final

import httpx

from lab.supervisor import Role
from wire.errors import InputError, RunError

HIGH: Final = 0.25
"""Of a ring: from here on the edge is held back ..."""
LOW: Final = 0.05
"""... until it is emptied so far."""

LOOK_S: Final = 0.1

LEAST_MB: Final = 512
MOST_MB: Final = 1 << 16
"""Of a ring: the link and the cloud take no larger one."""


def ring_mb(asked: int, sample_bytes: int) -> int:
    """How large a ring must be for samples of at most so many bytes: one fits above :data:`HIGH`.

    asked: 0 where nobody asked for a size; then at least :data:`LEAST_MB`. InputError, which says what to set, where it
    is too small, or no ring is large enough.
    """
    needed = ceil(sample_bytes / (1 - HIGH) / (1 << 20))
    said = f"a sample of this training is {sample_bytes / (1 << 20):,.0f} MB, and a ring holds one above a quarter"
    if needed > MOST_MB:
        raise InputError(f"{said}; accepted: a ring of {MOST_MB} MB at most: set fewer rays, samples or side")
    if not asked:
        return max(LEAST_MB, needed)
    if asked < needed:
        raise InputError(f"spool_mb is {asked}: {said}; set spool_mb to {needed} or more, or to 0")
    return asked


def filled(link: Mapping[str, Any], cloud: Mapping[str, Any]) -> float:
    """How full the fuller of both rings is, 0 to 1, from what link and cloud say of themselves."""
    shares = [0.0]
    mirror = link.get("mirror")
    if mirror:
        shares.append(mirror["spool"]["depth_bytes"] / mirror["spool"]["capacity_bytes"])
    copies = cloud.get("copies")
    if copies:
        shares.append(copies["waiting_bytes"] / copies["capacity_bytes"])
    return max(shares)


def held(share: float, before: bool) -> bool:
    """Whether the edge is to be held back now."""
    return share > (LOW if before else HIGH)


class Pace:
    """Looks at the rings from time to time, in a thread of its own. :attr:`holds`: how often the edge was held back."""

    def __init__(self, edge: Role, link: Role, cloud: Role) -> None:
        self.holds = 0
        self._edge, self._link, self._cloud = edge, link, cloud
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pace", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a held edge stays held."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        holding, life = False, 0
        while not self._stopping.wait(LOOK_S):
            link, cloud = self._link.state(), self._cloud.state()
            if self._edge.pid != life:  # one that was started again is not held
                holding, life = False, self._edge.pid
            now = held(filled(link, cloud), holding)
            if now == holding:
                continue
            with suppress(RunError, httpx.HTTPError, KeyError):  # not up yet, or down: it is told the next time
                self._edge.settings(paused=now)
                self.holds += now
                holding = now
