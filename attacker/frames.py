"""Transfers of one session to frames: every part of every turn of an exchange. Sans-I/O.

A frame is complete when nothing more of it that an attack could use can come: all parts of every turn up to the last
one that leaves the edge, and all replies to the turns before that one. The reply to the last turn (detections, an
acknowledged step) is captured but not waited for. Rays that nothing will follow (``train`` false: a picture is to be
rendered) are complete with their embeddings, which are all that an attack will get.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attacker.attacks.base import Direction
from attacker.numbers import Numbers
from attacker.transfers import Transfer

LAST_TURN = frozenset({"features", "gradients"})
"""Roles of the last turn that leaves the edge; ``rays`` are answered with ``embeddings`` and followed by
``gradients``."""

MAX_PARTS = 4096
MAX_OPEN_FRAMES = 64
MAX_OPEN_BYTES = 1 << 30

Slot = tuple[Direction, int, int]
"""Direction, turn, part."""


@dataclass(frozen=True)
class RawFrame:
    """A complete frame, its payloads not yet decoded."""

    session: str
    tap: str
    incarnation: int
    frame: int
    gap_before: int
    transfers: Mapping[Slot, Transfer]


@dataclass
class _Open:
    transfers: dict[Slot, Transfer] = field(default_factory=dict)
    size: int = 0

    def complete(self) -> bool:
        if self._picture():
            return self._whole("up", 0) and self._whole("down", 0)
        turns = {turn for direction, turn, _ in self.transfers if direction == "up"}
        last = next((t for t in sorted(turns) if self._role("up", t) in LAST_TURN), None)
        if last is None:
            return False
        return all(self._whole("up", t) and (t == last or self._whole("down", t)) for t in range(last + 1))

    def _picture(self) -> bool:
        """Whether its rays say that no gradients will follow them."""
        rays = next((t.header for t in self._turn("up", 0)), None)
        return rays is not None and rays.role == "rays" and "train" in rays.meta and not rays.meta["train"].flag

    def _turn(self, direction: Direction, turn: int) -> list[Transfer]:
        return [t for (d, n, _), t in self.transfers.items() if (d, n) == (direction, turn)]

    def _role(self, direction: Direction, turn: int) -> str | None:
        return next((t.header.role for t in self._turn(direction, turn)), None)

    def _whole(self, direction: Direction, turn: int) -> bool:
        found = self._turn(direction, turn)
        return bool(found) and len(found) == max(t.header.parts for t in found)


class FrameAssembler:
    """The frames of one session as one tap heard them, over all its connections and incarnations.

    A transfer that is sent again (after a reconnect) is a duplicate, counted in :attr:`duplicates`.
    :attr:`first`: the session's first frame (an edge that goes on in a new session counts on), as its first transfer
    says; 0 where that was not heard. :attr:`highest`: the highest frame number heard of, -1 before the first.
    :attr:`refused`: transfers whose numbers no edge would send.
    """

    def __init__(self, session: str, tap: str) -> None:
        self.session, self.tap = session, tap
        self.duplicates = 0
        self.refused = 0
        self.first, self.highest = 0, -1
        self.captured = Numbers()  # complete, in any incarnation
        self._incarnation = 0
        self._complete = Numbers()  # in this incarnation
        self._answered = Numbers()  # last turns of complete frames whose reply was heard, in this incarnation
        self._open: dict[int, _Open] = {}  # by frame, oldest first

    @property
    def missed(self) -> int:
        """Frame numbers from the first to the highest heard of that are not captured: captured + missed = sent."""
        return max(self.highest + 1 - self.first - len(self.captured), 0)

    @property
    def incomplete(self) -> int:
        """Of the missed ones, those of which something was heard."""
        return sum(frame not in self.captured for frame in list(self._open))  # other threads ask

    def restore(self, incarnation: int, frame: int) -> int:
        """Note a frame as captured (by us now, or before a restart); returns how many are missing directly before
        it."""
        self._reach(incarnation)
        before = self._complete.below(frame)
        if incarnation == self._incarnation:
            self._complete.add(frame)
        self.captured.add(frame)
        self.highest = max(self.highest, frame)
        self._open.pop(frame, None)
        if before is None:
            return max(frame - self.first, 0) if incarnation == 0 else 0
        return frame - 1 - before

    def feed(self, direction: Direction, incarnation: int, transfer: Transfer) -> tuple[bool, RawFrame | None]:
        """(whether the transfer is new, the frame that it completes)."""
        header = transfer.header
        frame = int(header.exchange)
        if not header.parts or header.part >= header.parts or header.parts > MAX_PARTS or frame >= 1 << 53:
            self.refused += 1
            return False, None
        self._reach(incarnation)
        self.highest = max(self.highest, frame)
        if direction == "up" and incarnation == 0 and transfer.number == 0:
            self.first = frame
        if incarnation < self._incarnation or frame in self._complete:
            # the reply to a last turn comes after its frame is complete; anything else has been heard
            new = direction == "down" and incarnation == self._incarnation and self._answered.add(int(header.reply_to))
            self.duplicates += not new
            return new, None
        entry = self._open.setdefault(frame, _Open())
        slot: Slot = (direction, int(header.turn), int(header.part))
        if slot in entry.transfers:
            self.duplicates += 1
            return False, None
        entry.transfers[slot] = transfer
        entry.size += len(transfer.data)
        if not entry.complete():
            self._bound()
            return True, None
        gap = self.restore(incarnation, frame)
        for (heard, _, _), known in entry.transfers.items():
            if heard == "down":
                self._answered.add(int(known.header.reply_to))
        return True, RawFrame(self.session, self.tap, incarnation, frame, gap, entry.transfers)

    def _reach(self, incarnation: int) -> None:
        if incarnation > self._incarnation:
            self._incarnation = incarnation
            self._complete, self._answered, self._open = Numbers(), Numbers(), {}

    def _bound(self) -> None:
        size = sum(entry.size for entry in self._open.values())
        while len(self._open) > 1 and (len(self._open) > MAX_OPEN_FRAMES or size > MAX_OPEN_BYTES):
            size -= self._open.pop(next(iter(self._open))).size
