"""What is asked of Redis: commands, and small Lua scripts for what must happen at once.

An answer is one script and not a transaction, because what it does depends on whether the entry is still to be
answered: only the first answer counts, so a work that was given to two workers has one result. Answers and signs of
life may be written when the server is full (``allow-oom``): answers make room. Works go in and out by plain commands,
since a script copies all that passes through it (a work of 3.7 MB: 15 ms of the server's time instead of 2.4).
"""

from __future__ import annotations

from typing import Any

from attacker.redis_keys import GROUP

ANSWER = """#!lua flags=allow-oom
-- KEYS stream, results, lease; ARGV group, entry, holder ('': no lease), ttl_ms, number, head, data.
-- 1, or 0: not wanted.
if ARGV[3] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[3] then return 0 end
if redis.call('XACK', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', 'number', ARGV[5], 'head', ARGV[6], 'data', ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return 1
"""

CLAIM = """
-- KEYS stream; ARGV group, worker, idle_ms. An entry of a worker that is gone: {id, fields, deliveries}, or nothing.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local start = '0-0'
repeat
  local found = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], start, 'COUNT', 1)
  local entry = found[2][1]
  if entry then
    local pending = redis.call('XPENDING', KEYS[1], ARGV[1], entry[1], entry[1], 1)
    return {entry[1], entry[2], pending[1][4]}
  end
  start = found[1]
until start == '0-0'
return false
"""

TAKE_IN_ORDER = """
-- KEYS stream, lease; ARGV group, worker, lease_ms. As CLAIM, else the next entry; only for the holder of the
-- lease, who may claim at once: no other can answer.
if redis.call('XLEN', KEYS[1]) == 0 then return false end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[2] then return false end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1)
if pending[1] then
  local claimed = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, pending[1][1])
  if claimed[1] then return {claimed[1][1], claimed[1][2], pending[1][4] + 1} end
end
local found = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', 1, 'STREAMS', KEYS[1], '>')
if not found then return false end
return {found[1][2][1][1], found[1][2][1][2], 1}
"""

KEEP = """
-- KEYS stream; ARGV group, worker, entry. The entry is being worked on: others leave it alone. 1, or 0: it is not ours.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1)
if not pending[1] or pending[1][2] ~= ARGV[2] then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'JUSTID')
return 1
"""

RENEW = """
-- KEYS lease; ARGV worker, lease_ms. 1, or 0: another's. One that nobody has (the server was emptied) is taken back.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

RELEASE = """
-- KEYS lease; ARGV worker.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""

BEAT = """#!lua flags=allow-oom
-- KEYS workers; ARGV worker, counts (JSON), ttl_ms. The worker lives, by the server's clock.
local now = redis.call('TIME')
local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[1], ARGV[1], ms .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

Taken = tuple[str, dict[bytes, bytes], int]
"""An entry's id, its fields, and how many workers it was given to."""


class Scripts:
    """Of one server. Every method raises the library's ``RedisError``."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._answer, self._claim = redis.register_script(ANSWER), redis.register_script(CLAIM)
        self._take_in_order, self._keep = redis.register_script(TAKE_IN_ORDER), redis.register_script(KEEP)
        self._renew, self._release = redis.register_script(RENEW), redis.register_script(RELEASE)
        self._beat = redis.register_script(BEAT)

    def add(
        self, stream: str, streams: str, bell: str, *, description: str, ttl_ms: int, fields: dict[str, bytes]
    ) -> str:
        """Put an entry into a stream, which is made where it does not exist; the entry's id."""
        asked = self._redis.pipeline(transaction=True)
        asked.xadd(stream, fields, nomkstream=True)
        asked.hset(streams, stream, description)
        asked.xadd(bell, {"rung": 1}, maxlen=1, approximate=False)
        for key in (stream, streams, bell):
            asked.pexpire(key, ttl_ms)
        entry = asked.execute()[0]
        if entry is None:
            self._redis.xgroup_create(stream, GROUP, "0", mkstream=True)
            return self.add(stream, streams, bell, description=description, ttl_ms=ttl_ms, fields=fields)
        return str(entry.decode())

    def answer(
        self, stream: str, results: str, lease: str, *, entry: str, holder: str, ttl_ms: int, fields: dict[str, bytes]
    ) -> bool:
        """Acknowledge an entry, delete it and give its result; False where somebody else has, or will."""
        arguments = [GROUP, entry, holder, ttl_ms, *_in_order(fields)]
        return bool(self._answer([stream, results, lease], arguments))

    def take(self, stream: str, worker: str) -> Taken | None:
        """The next entry of a stream that nobody has."""
        from redis.exceptions import ResponseError

        try:
            found = self._redis.xreadgroup(GROUP, worker, {stream: ">"}, count=1)
        except ResponseError as error:
            if "NOGROUP" in str(error):  # the session is over, or the server was emptied
                return None
            raise
        if not found:
            return None
        entry, fields = found[0][1][0]
        return entry.decode(), fields, 1

    def claim(self, stream: str, worker: str, idle_ms: int) -> Taken | None:
        """An entry whose worker has not been heard of for ``idle_ms``."""
        return _taken(self._claim([stream], [GROUP, worker, idle_ms]))

    def take_in_order(self, stream: str, lease: str, worker: str, lease_ms: int) -> Taken | None:
        """The next entry of a stream that one worker alone may read; takes or renews the lease."""
        return _taken(self._take_in_order([stream, lease], [GROUP, worker, lease_ms]))

    def keep(self, stream: str, worker: str, entry: str) -> bool:
        """This entry is still being worked on; False where it was given to another."""
        return bool(self._keep([stream], [GROUP, worker, entry]))

    def renew(self, lease: str, worker: str, lease_ms: int) -> bool:
        """Hold a lease for longer; False where another has it."""
        return bool(self._renew([lease], [worker, lease_ms]))

    def release(self, lease: str, worker: str) -> None:
        """Give a lease up, if it is still ours."""
        self._release([lease], [worker])

    def beat(self, workers: str, worker: str, counts: str, ttl_ms: int) -> None:
        """This worker lives."""
        self._beat([workers], [worker, counts, ttl_ms])


def _in_order(fields: dict[str, bytes]) -> list[bytes]:
    return [fields[name] for name in ("number", "head", "data")]


def _taken(found: Any) -> Taken | None:
    if not found:
        return None
    entry, flat, deliveries = found
    return entry.decode(), dict(zip(flat[::2], flat[1::2], strict=True)), int(deliveries)
