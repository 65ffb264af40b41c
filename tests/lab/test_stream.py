"""How far a stream is, from what its edge and its listener say."""

from __future__ import annotations

from typing import Any

from lab.stream import Moved, moved


def attack(working: int, share: float, note: str) -> dict[str, Any]:
    return {"working": working, "advance": {"share": share, "note": note, "calls": 3}}


def test_works_in_hand_count_as_far_as_they_have_come() -> None:
    heard = {"reconstructions": 5, "attacks": {"a": attack(0, 1.0, "over"), "b": attack(16, 0.25, "frames 0-15")}}
    assert moved(Moved(), {"answered": 32}, heard) == Moved(32, 5, 4.0, "frames 0-15")


def test_a_process_that_says_nothing_leaves_what_it_said_before() -> None:
    assert moved(Moved(32, 5, 4.0, "frames 0-15"), {}, {}) == Moved(32, 5)
