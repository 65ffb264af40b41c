"""One attacker's life in Redis: its keys from the first to the last. A restarted attacker is a new life, which clears
what the old one left and takes its works from the capture; of two at once the younger has the prefix."""

from __future__ import annotations

import secrets
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from attacker.redis_address import RedisAddress
from attacker.redis_keys import KEPT_MS, Keys, Terms
from wire.errors import DecodeError


class Superseded(Exception):
    """A younger attacker works under the same prefix; the text says what to do."""


class Life:
    """:attr:`keys` are of no life before :meth:`begin`. Methods raise the library's ``RedisError`` unless they say
    otherwise."""

    def __init__(self, redis: Any, address: RedisAddress, keys: Keys, terms: Terms) -> None:
        self._redis, self._address = redis, address
        self.keys, self._terms = keys, terms

    def begin(self) -> Keys:
        """Clear what an earlier life left, and be younger than it."""
        before = self._clear(self._redis.get(self.keys.terms))
        number = max(time.time_ns() // 1_000_000, int(before.partition("-")[0] or 0) + 1)
        life = f"{number:014d}-{secrets.token_hex(4)}"
        self.keys, self._terms = Keys(self.keys.prefix, life), replace(self._terms, life=life)
        return self.keys

    def tell(self) -> None:
        """Tell the workers whom they work for."""
        self._redis.set(self.keys.terms, self._terms.encode(), px=KEPT_MS)

    def is_ours(self, terms: bytes | None) -> bool:
        """Whether it is our life that Redis tells. Raises Superseded where a younger one's is."""
        life = _life(terms)
        if life > self.keys.life:
            raise Superseded(
                f"another attacker has taken over {self.keys.prefix!r} on Redis at {self._address.shown}: "
                "give each its own redis_prefix"
            )
        return life == self.keys.life

    def forget(self, stream: str) -> None:
        """A stream that nobody needs any more. Raises nothing: what is left expires."""
        from redis.exceptions import RedisError

        with suppress(RedisError):
            self._redis.unlink(stream, Keys.lease(stream))
            self._redis.hdel(self.keys.streams, stream)

    def leave(self) -> None:
        """Leave nothing behind, where Redis can still be asked; the rest expires. Hangs up."""
        from redis.exceptions import RedisError

        with suppress(RedisError, Superseded):
            terms = self._redis.get(self.keys.terms)
            if self.is_ours(terms):
                self._clear(terms)
        self._redis.close()

    def _clear(self, terms: bytes | None) -> str:
        """Delete the life that Redis tells; which it was ("": none)."""
        left = Keys(self.keys.prefix, _life(terms))
        if left.life:
            streams = [name.decode() for name in self._redis.hkeys(left.streams)]
            leases = [Keys.lease(stream) for stream in streams]
            self._redis.unlink(left.streams, left.results, left.terms, left.bell, *streams, *leases)
        return left.life


def _life(terms: bytes | None) -> str:
    try:
        return Terms.decode(terms).life if terms is not None else ""
    except DecodeError:
        return ""
