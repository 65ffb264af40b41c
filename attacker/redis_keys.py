"""What stands in Redis beside the works: names of keys, and what attacker and workers tell each other. Sans-I/O."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from wire.errors import DecodeError

GROUP = "workers"
"""The consumer group of every stream of works."""

KEPT_MS = 600_000
"""Keys of an attacker or worker that is never heard of again vanish after this."""

FORMAT = 1
"""Of the entries. A worker of another version leaves them alone and says so."""


@dataclass(frozen=True)
class Keys:
    """The keys of one attacker's life under a prefix. ``life`` grows with every start of an attacker."""

    prefix: str
    life: str = ""

    @property
    def terms(self) -> str:
        """Whose life it is, and what workers are to keep to (:class:`Terms`)."""
        return f"{self.prefix}:life"

    @property
    def bell(self) -> str:
        """A stream that gets an entry with each work: idle workers wait on it."""
        return f"{self.prefix}:bell"

    @property
    def workers(self) -> str:
        """Hash: worker -> when it was last seen, and its counts."""
        return f"{self.prefix}:workers"

    @property
    def streams(self) -> str:
        """Hash: stream of works -> :class:`Stream`."""
        return f"{self.prefix}:{self.life}:streams"

    @property
    def results(self) -> str:
        """The stream of results."""
        return f"{self.prefix}:{self.life}:results"

    def work(self, attack: str, session: str) -> str:
        """The stream of one attack on one session."""
        return f"{self.prefix}:{self.life}:work:{attack}:{session}"

    def own(self, worker: str) -> str:
        """The stream of what one worker alone can do."""
        return f"{self.prefix}:{self.life}:own:{worker}"

    @staticmethod
    def lease(stream: str) -> str:
        """Who alone may read this stream of an attack that needs order."""
        return f"{stream}:lease"


@dataclass(frozen=True)
class Terms:
    """What the attacker tells its workers. claim_ms: a worker that is not heard of for so long is given up."""

    life: str
    claim_ms: int
    deliveries: int
    format: int = FORMAT

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Terms:
        """Raises DecodeError."""
        try:
            found = json.loads(data)
            numbers = [int(found[key]) for key in ("claim_ms", "deliveries", "format")]
            return cls(str(found["life"]), *numbers)
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError(f"no terms of an attacker: {error}") from error


@dataclass(frozen=True)
class Stream:
    """A stream of works. digest: of the attack's settings, which must be the worker's too. worker: who alone reads it
    ("": any)."""

    attack: str
    in_order: bool
    digest: str
    worker: str = ""

    def encode(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> Stream:
        """Raises DecodeError."""
        try:
            found = json.loads(data)
            return cls(str(found["attack"]), bool(found["in_order"]), str(found["digest"]), str(found["worker"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DecodeError(f"no description of a stream: {error}") from error
