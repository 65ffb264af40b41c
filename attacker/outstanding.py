"""What was given to workers elsewhere and is not recorded yet. Sans-I/O; one lock's worth of book-keeping.

Every work stays here, whole, until its result is recorded: what is lost on the way is given out again from here, and
a result that comes twice finds nothing to belong to.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attacker.inverting import Tally
from attacker.queue import Work


@dataclass
class Whole:
    """A work and how many shares of it are outstanding. told: of its windows, so far."""

    work: Work
    shares: int
    told: Tally = field(default_factory=Tally)


@dataclass
class Given:
    """A work, or one worker's share of a session's end. number: grows with each. stream: where it belongs. worker: the
    only one who can do it ("": any). entry: its id there; None while it has to be put in."""

    number: int
    whole: Whole
    stream: str
    after: int | None = None
    worker: str = ""
    entry: str | None = None

    @property
    def work(self) -> Work:
        """The whole work, whatever the share."""
        return self.whole.work


@dataclass
class Outstanding:
    """Counts: ``duplicates`` came for a work that has its result; ``again`` works were put in once more."""

    duplicates: int = 0
    again: int = 0
    _given: dict[int, Given] = field(default_factory=dict)
    _next: int = 0
    _last: dict[tuple[str, str], int] = field(default_factory=dict)  # of streams in order
    _helped: dict[tuple[str, str], set[str]] = field(default_factory=dict)  # workers that hold state of a session

    def __len__(self) -> int:
        return len(self._given)

    def give(self, work: Work, stream: str, *, in_order: bool) -> Given:
        """Note a work. In order: it is chained to the one before it."""
        place = (work.attack, work.session)
        given = Given(self._number(), Whole(work, 1), stream, self._last.get(place) if in_order else None)
        self._given[given.number] = given
        if in_order:
            self._last[place] = given.number
        return given

    def share(self, work: Work, streams: dict[str, str]) -> list[Given]:
        """Note one share of a session's end for each worker in ``streams`` (worker -> its own stream)."""
        whole = Whole(work, len(streams))
        shares = [Given(self._number(), whole, stream, None, worker) for worker, stream in streams.items()]
        self._given.update({given.number: given for given in shares})
        return shares

    def waiting(self) -> list[Given]:
        """What has to be put in, oldest first."""
        return [given for number, given in sorted(self._given.items()) if given.entry is None]

    def put(self, number: int, entry: str) -> None:
        """It is in Redis now; nothing where its result has come already."""
        if number in self._given:
            self._given[number].entry = entry

    def lose(self, stream: str | None = None) -> int:
        """What is in this stream (None: in any) is gone and has to be put in again; how many those are."""
        lost = [g for g in self._given.values() if g.entry is not None and stream in (None, g.stream)]
        for given in lost:
            given.entry = None
        self.again += len(lost)
        return len(lost)

    def inside(self) -> dict[str, int]:
        """Stream -> how many of its works have an entry or a result in Redis."""
        found: dict[str, int] = {}
        for given in self._given.values():
            if given.entry is not None:
                found[given.stream] = found.get(given.stream, 0) + 1
        return found

    def of(self, attack: str) -> int:
        """How many works and shares of this attack are outstanding."""
        return sum(given.work.attack == attack for given in self._given.values())

    def answered(self, number: int, worker: str) -> Given | None:
        """The work that this result belongs to, noted no longer; None: it has its result, a duplicate."""
        given = self._given.pop(number, None)
        if given is None:
            self.duplicates += 1
        elif not given.work.finish:
            self._helped.setdefault((given.work.attack, given.work.session), set()).add(worker)
        return given

    def sharers(self) -> set[str]:
        """The workers that a share is waited for from."""
        return {given.worker for given in self._given.values()} - {""}

    def gone(self, worker: str) -> list[Given]:
        """This worker is dead, and its share of every session's end with it."""
        for workers in self._helped.values():
            workers.discard(worker)
        dead = [given for given in self._given.values() if given.worker == worker]
        for given in dead:
            del self._given[given.number]
        return dead

    def begun(self, attack: str, session: str) -> bool:
        """Whether a work of this session was given out, in order."""
        return (attack, session) in self._last

    def ended(self, attack: str, session: str) -> set[str]:
        """The session is over: which workers hold state of it. What comes after is a new beginning."""
        self._last.pop((attack, session), None)
        return self._helped.pop((attack, session), set())

    def all(self) -> list[Given]:
        """Everything, oldest first."""
        return [given for _, given in sorted(self._given.items())]

    def _number(self) -> int:
        self._next += 1
        return self._next
