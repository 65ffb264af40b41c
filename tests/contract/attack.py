"""The check-list of an attack: call :func:`check_attack` on one of your own."""

from __future__ import annotations

from collections.abc import Sequence

from attacker.attacks.base import Attack, CapturedFrame, Grants, Reconstruction, SessionInfo
from attacker.knowledge import KnowledgeCard
from wire.dtypes import to_bytes


def check_attack(
    attack: Attack, card: KnowledgeCard, session: SessionInfo, grants: Grants, frames: Sequence[CapturedFrame]
) -> list[Reconstruction]:
    """Everything that the contract promises, on captured frames; AssertionError says what does not hold.

    card: the least that the attack should need. Returns its reconstructions.
    """
    assert attack.name and attack.modality
    assert card.entitles(attack.needs, session.split) == [], "the card must entitle the attack"
    if attack.needs.victim != "none":
        assert KnowledgeCard(victim="none").entitles(attack.needs), "a card that grants less must be refused"
    inverter = attack.open(session, grants)
    before = [_bytes(frame) for frame in frames]
    assert list(inverter.observe([])) == [], "no frames, no reconstructions"
    made = [item for frame in frames for item in inverter.observe([frame])] + list(inverter.finish())
    assert [_bytes(frame) for frame in frames] == before, "an attack must not change what was captured"
    known = {frame.frame for frame in frames}
    for item in made:
        assert item.session == frames[0].session
        assert item.frames and set(item.frames) <= known, "a reconstruction names the frames it is of"
        assert item.arrays
    again = attack.open(session, grants)
    repeated = [item for frame in frames for item in again.observe([frame])] + list(again.finish())
    for one, two in zip(made, repeated, strict=True):
        assert _same(one) == _same(two)
    return made


def _bytes(frame: CapturedFrame) -> list[bytes]:
    return [to_bytes(t).tobytes() for part in frame.parts for t in part.payload.tensors.values()]


def _same(made: Reconstruction) -> dict[str, bytes]:
    """What must come out again; seconds of work do not."""
    return {name: array.tobytes() for name, array in made.arrays.items() if not name.endswith("_s")}
