"""What a listener that was killed must give up: frames that it captured, did nothing with, and did not keep whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from attacker.attacks.base import Needs
from attacker.knowledge import KnowledgeCard
from attacker.sessions import Sessions

REASON = "a listener was killed before its turn came, and its payloads were not kept"

Known = tuple[str, str, int]
"""Attack, session, frame."""


@dataclass(frozen=True)
class Lost:
    """Frames of one session that one attack will never see."""

    attack: str
    session: str
    incarnation: int
    frames: list[int]


def unkept(
    sessions: Sessions, needs: Mapping[str, Needs], card: KnowledgeCard, known: Collection[Known]
) -> Iterator[Lost]:
    """What the sums would miss if nobody said so. known: what was done before, or waits to be done now."""
    for session in sessions:
        info, frames = session.info, session.frames
        there = [frame for frame in range(frames.first, frames.highest + 1) if frame in frames.captured]
        for name, need in needs.items():
            lost = [frame for frame in there if (name, info.session, frame) not in known]
            if lost and not card.entitles(need, info.split or None):
                yield Lost(name, info.session, session.incarnation, lost)
