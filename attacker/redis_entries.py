"""The streams as one worker sees them: take an entry, keep it, answer it.

An entry that its worker neither answers nor keeps for the attacker's ``claim_ms`` is claimed by another worker. A
stream of an attack that needs order is read by the holder of its lease alone, who renews it while alive; when the
lease runs out, the next worker takes it and what is left in the stream. An answer counts only while the entry is still
to be answered, and in order only from the holder, so a worker that comes back from the dead changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attacker.redis_codec import Fields
from attacker.redis_keys import FORMAT, KEPT_MS, Keys, Stream, Terms
from attacker.redis_scripts import Scripts, Taken

REFRESH_S = 0.5


@dataclass(frozen=True)
class Delivered:
    """An entry that is this worker's. deliveries: how many workers got it, this one included. most: how many may."""

    key: str
    stream: Stream
    entry: str
    fields: Fields
    deliveries: int
    most: int


class Entries:
    """One worker's view. digests: row -> digest of its settings; streams of other attacks are left to others.

    :meth:`take` and :meth:`answer` are one thread's; :meth:`keep` may be another's. All raise the library's
    ``RedisError``.
    """

    def __init__(self, redis: Any, prefix: str, name: str, digests: Mapping[str, str]) -> None:
        self.name = name
        self.refused: dict[str, str] = {}
        self._redis, self._scripts, self._digests = redis, Scripts(redis), digests
        self._keys = Keys(prefix)
        self._terms: Terms | None = None
        self._streams: dict[str, Stream] = {}
        self._rung: bytes | str = "0-0"
        self._turn = 0
        self._refresh_at = self._claim_at = 0.0
        self._lock = threading.Lock()
        self._in_hand: Delivered | None = None
        self._leases: set[str] = set()

    @property
    def life(self) -> str:
        """Of the attacker that this worker works for; "" before the first."""
        return self._keys.life

    @property
    def streams(self) -> frozenset[str]:
        """What this worker may read now."""
        return frozenset(self._streams)

    @property
    def leases(self) -> list[str]:
        """The streams that this worker alone reads."""
        with self._lock:
            return sorted(self._leases)

    @property
    def beat_s(self) -> float:
        """How often a worker must be heard of: four times before it is given up."""
        return (self._terms.claim_ms if self._terms else 1000) / 4000

    def take(self, wait_s: float) -> Delivered | None:
        """The next entry; waits at most ``wait_s`` seconds for one."""
        if time.monotonic() >= self._refresh_at:
            self._refresh()
        if self._terms is not None:
            found = self._next(self._terms)
            if found is not None:
                with self._lock:
                    self._in_hand = found
                return found
        self._listen(wait_s)
        return None

    def answer(self, delivered: Delivered, fields: dict[str, bytes]) -> bool:
        """Give the result of the entry in hand; False where it is not wanted (any more)."""
        lease = Keys.lease(delivered.key)
        wanted = self._scripts.answer(
            delivered.key,
            self._keys.results,
            lease,
            entry=delivered.entry,
            holder=self.name if delivered.stream.in_order else "",
            ttl_ms=KEPT_MS,
            fields=fields,
        )
        self.put_down()
        return wanted

    def put_down(self) -> None:
        """Nothing is in hand: an entry that was not answered is another worker's after a while."""
        with self._lock:
            self._in_hand = None

    def let_go(self, key: str) -> None:
        """This worker holds nothing of this stream any more."""
        with self._lock:
            self._leases.discard(key)
        self._scripts.release(Keys.lease(key), self.name)

    def keep(self, counts: str) -> None:
        """This worker lives, still works on what it has in hand, and keeps its leases."""
        with self._lock:
            in_hand, leases, terms = self._in_hand, sorted(self._leases), self._terms
        self._scripts.beat(self._keys.workers, self.name, counts, KEPT_MS)
        if in_hand is not None:
            self._scripts.keep(in_hand.key, self.name, in_hand.entry)
        for stream in leases if terms is not None else ():
            if terms is not None and not self._scripts.renew(Keys.lease(stream), self.name, terms.claim_ms):
                with self._lock:
                    self._leases.discard(stream)

    def leave(self) -> None:
        """Give up the leases, so that the next worker need not wait for their end."""
        for stream in self.leases:
            self._scripts.release(Keys.lease(stream), self.name)
        self._redis.hdel(self._keys.workers, self.name)

    def _refresh(self) -> None:
        """Ask whose life it is and which streams there are. While Redis knows neither, the last known hold."""
        self._refresh_at = time.monotonic() + REFRESH_S
        said = self._redis.get(self._keys.terms)
        if said is None:
            return
        terms = Terms.decode(said)
        if terms.format != FORMAT:
            self.refused = {
                "format": f"the attacker writes entries of format {terms.format}; this worker reads {FORMAT}"
            }
            self._terms, self._streams = None, {}
            return
        if terms.life != self._keys.life:
            with self._lock:
                self._keys, self._leases = Keys(self._keys.prefix, terms.life), set()
        self._terms = terms
        described = self._redis.hgetall(self._keys.streams)
        self.refused = {}
        self._streams = {key.decode(): s for key, data in described.items() if self._mine(s := Stream.decode(data))}

    def _mine(self, stream: Stream) -> bool:
        if stream.worker not in ("", self.name):
            return False
        digest = self._digests.get(stream.attack)
        if digest is None:
            self.refused[stream.attack] = "this worker does not run it"
        elif digest != stream.digest:
            self.refused[stream.attack] = "the attacker's settings for it, or its knowledge, differ from this worker's"
        return digest == stream.digest

    def _next(self, terms: Terms) -> Delivered | None:
        """One entry of any stream, in turn; first of workers that are gone, when it is time to look."""
        claims = time.monotonic() >= self._claim_at
        if claims:
            self._claim_at = time.monotonic() + terms.claim_ms / 4000
        keys = sorted(self._streams)
        for step in range(len(keys)):
            key = keys[(self._turn + step) % len(keys)]
            taken = self._from(key, self._streams[key], terms, claims=claims)
            if taken is not None:
                self._turn += step + 1
                entry, fields, deliveries = taken
                return Delivered(key, self._streams[key], entry, fields, deliveries, terms.deliveries)
        return None

    def _from(self, key: str, stream: Stream, terms: Terms, *, claims: bool) -> Taken | None:
        if not stream.in_order:
            claimed = self._scripts.claim(key, self.name, terms.claim_ms) if claims else None
            return claimed or self._scripts.take(key, self.name)
        taken = self._scripts.take_in_order(key, Keys.lease(key), self.name, terms.claim_ms)
        if taken is not None:
            with self._lock:
                self._leases.add(key)
        return taken

    def _listen(self, wait_s: float) -> None:
        """Wait until the attacker says that there is something new."""
        wait = min(wait_s, REFRESH_S, max(self._claim_at - time.monotonic(), 0.0) or REFRESH_S)
        rung = self._redis.xread({self._keys.bell: self._rung}, count=1, block=max(round(wait * 1000), 1))
        if rung:
            self._rung = rung[0][1][-1][0]
            self._refresh_at = 0.0

    def forget_bell(self) -> None:
        """The server may be another one now, whose bell counts anew."""
        self._rung = "0-0"
