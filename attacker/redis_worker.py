"""One worker of a worker process: takes entries, inverts, answers; goes on when Redis is back.

An attack that needs order keeps its inverter here as long as this worker is given every work of its stream. Each work
names the one before it: where that was another worker's, a fresh inverter begins, and the first frame's ``gap_before``
says that it has missed all frames until then. An answer that could not be given is kept and given when its work comes
again, so that no inverter sees a frame twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from attacker.attacks.base import Attack, Grants
from attacker.inverting import Inverters, invert
from attacker.queue import Entry, Work
from attacker.redis_address import RedisAddress, check, client
from attacker.redis_codec import Result, Task, decode_task, encode_result, number_of
from attacker.redis_entries import Delivered, Entries
from attacker.redis_health import Health
from wire.errors import DecodeError, InputError

WAIT_S = 0.5
FORGET_S = 60.0
"""A stream that is gone for so long does not come back: Redis was not just emptied."""

NOTHING = Work("", "", ())

Answer = TypeVar("Answer")


@dataclass
class _Seen:
    """Of a stream: its attack and session, the number of the newest work, and since when the stream is gone."""

    attack: str
    session: str
    number: int
    gone_since: float | None = None


class RedisWorker:
    """Two threads: one works, one says that it does. name: unique among the workers of a prefix."""

    def __init__(
        self,
        address: RedisAddress,
        prefix: str,
        name: str,
        attacks: Mapping[str, Attack],
        grants: Mapping[str, Grants],
        digests: Mapping[str, str],
    ) -> None:
        self._address, self._redis = address, client(address)
        self._entries = Entries(self._redis, prefix, name, digests)
        self._health = Health(address)
        self._attacks = attacks
        self._inverters = Inverters(attacks, grants)
        self._seen: dict[str, _Seen] = {}
        self._life = ""
        self._answer: tuple[int, dict[str, bytes]] | None = None  # the newest, in case its work comes again
        self._doing: tuple[str, str, float] | None = None
        self._works = self._unwanted = self._reclaimed = 0
        self._stopping = threading.Event()
        self._beating = threading.Event()  # set: the end
        self._threads = [
            threading.Thread(target=self._run, name="work", daemon=True),
            threading.Thread(target=self._beat, name="beat", daemon=True),
        ]

    def start(self) -> None:
        """Begin. Raises InputError where Redis cannot be had."""
        check(self._redis, self._address)
        for thread in self._threads:
            thread.start()

    @property
    def working(self) -> bool:
        """Until it was stopped."""
        return self._threads[0].is_alive()

    def stop(self, grace_s: float) -> bool:
        """Finish what is in hand and take no more; False where that took longer than ``grace_s``."""
        self._stopping.set()
        self._threads[0].join(grace_s)
        self._beating.set()
        self._threads[1].join(1.0)
        if not self.working:
            self._try("leave", self._entries.leave)
            self._redis.close()
        return not self.working

    def state(self) -> dict[str, Any]:
        """What ``GET /state`` answers."""
        doing = self._doing
        return {
            "name": self._entries.name,
            "redis": self._health.state(),
            "works": self._works,
            "unwanted": self._unwanted,
            "reclaimed": self._reclaimed,
            "in_hand": doing
            and {"attack": doing[0], "session": doing[1], "since_s": round(time.monotonic() - doing[2], 1)},
            "leases": self._entries.leases,
            "refused": dict(self._entries.refused),
            "why": self._health.why or "; ".join(f"{k}: {v}" for k, v in self._entries.refused.items()) or None,
        }

    def _run(self) -> None:
        while not self._stopping.is_set():
            delivered = self._try("take", partial(self._entries.take, WAIT_S))
            self._drop_what_is_over()
            fields = self._made(delivered) if delivered is not None else None
            if delivered is None or fields is None:
                continue
            wanted = None
            while wanted is None and not self._beating.is_set():
                wanted = self._try("answer", partial(self._entries.answer, delivered, fields))
            self._works += 1
            self._unwanted += wanted is False
            if delivered.stream.in_order and delivered.key not in self._seen:  # the session is over
                self._try("let go", partial(self._entries.let_go, delivered.key))

    def _beat(self) -> None:
        while not self._beating.is_set():
            counts = {"works": self._works, "unwanted": self._unwanted, "reclaimed": self._reclaimed}
            runs = sorted(set(self._attacks) - set(self._entries.refused))
            self._try("beat", partial(self._entries.keep, json.dumps(counts | {"attacks": runs})))
            self._beating.wait(self._entries.beat_s)

    def _try(self, part: str, call: Callable[[], Answer]) -> Answer | None:
        """What ``call`` gives; None, after a pause, where Redis does not do what it is asked."""
        from redis.exceptions import RedisError

        try:
            given = call()
        except (RedisError, DecodeError) as error:
            if part == "take":
                self._entries.forget_bell()
            self._beating.wait(self._health.ill(part, error))
            return None
        self._health.well(part)
        return given

    def _made(self, delivered: Delivered) -> dict[str, bytes] | None:
        """The answer to an entry; None for one that is not even numbered."""
        try:
            number = number_of(delivered.fields)
        except DecodeError:
            self._entries.put_down()
            return None
        if self._answer is not None and self._answer[0] == number:
            return self._answer[1]
        name, deliveries = self._entries.name, delivered.deliveries
        self._reclaimed += deliveries > 1
        if deliveries > delivered.most:
            reason = f"WorkerLost: {deliveries - 1} workers were given this work and none has answered"
            fields = encode_result(Result(number, name, deliveries, (), reason), NOTHING)
        else:
            fields = self._inverted(delivered, number)
        self._answer = number, fields
        return fields

    def _inverted(self, delivered: Delivered, number: int) -> dict[str, bytes]:
        name, deliveries = self._entries.name, delivered.deliveries
        try:
            task = decode_task(delivered.fields)
            self._inverters.know(task.info)
            work = self._in_order(delivered.key, task) if delivered.stream.in_order else task.work
            self._doing = (work.attack, work.session, time.monotonic())
            outcomes = tuple(invert(work, self._inverters))
            self._note(delivered.key, task)
            return encode_result(Result(number, name, deliveries, outcomes), work)
        except (DecodeError, InputError) as error:
            reason = f"{type(error).__name__}: {error}"
            return encode_result(Result(number, name, deliveries, (), reason), NOTHING)
        finally:
            self._doing = None

    def _in_order(self, key: str, task: Task) -> Work:
        """The work as an inverter must see it that has seen what this worker has."""
        work, seen = task.work, self._seen.get(key)
        if seen is not None and seen.number != task.after:
            self._inverters.take_all(work.attack, work.session)
            seen = None
        if work.finish or (seen is None and task.after is None):
            return work
        if seen is not None:
            return work
        first, *others = work.windows
        # all frames up to here are missing: a fresh inverter has seen none of them
        begin = Entry(replace(first[0].frame, gap_before=first[0].frame.frame), 0)
        return replace(work, windows=((begin, *first[1:]), *others))

    def _note(self, key: str, task: Task) -> None:
        if task.work.finish:
            self._seen.pop(key, None)
        else:
            self._seen[key] = _Seen(task.work.attack, task.work.session, task.number)

    def _drop_what_is_over(self) -> None:
        """Inverters of another attacker's life, or of a stream that is gone."""
        streams, now = self._entries.streams, time.monotonic()
        other, self._life = self._entries.life != self._life, self._entries.life
        if other:
            self._answer = None
            self._works = self._unwanted = self._reclaimed = 0
        for key, seen in list(self._seen.items()):
            if key in streams and not other:
                seen.gone_since = None
                continue
            seen.gone_since = seen.gone_since or now
            if other or now - seen.gone_since > FORGET_S:
                self._inverters.take_all(seen.attack, seen.session)
                del self._seen[key]
