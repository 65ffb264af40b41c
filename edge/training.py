"""An edge that trains: one session across kills of either end, and the way back to the newest step that both have kept.

Frames keep the numbers that they had: what is sent again after a rollback bears the number that it bore before, under
the next incarnation. So a frame that crossed twice is still one frame, and counts once in every sum.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from victims.base import Head, Trained
from victims.checkpoints import Checkpoints, newest_common
from wire.errors import InputError
from wire.handshake import CHECKPOINT_EVERY, Opened

FOLDER, FILE = "checkpoints", "session.json"


@dataclass(frozen=True)
class Place:
    """Where a stream goes on: the next frame's number, and its sample's position in the source."""

    frame: int = 0
    position: int = 0


@dataclass(frozen=True)
class Continued:
    """What a session is opened with: the same id each time, a new incarnation, and the steps to choose from."""

    session_id: bytes
    incarnation: int
    checkpoints: tuple[int, ...]
    every: int

    @property
    def info(self) -> dict[str, str]:
        """Tells the cloud when to keep checkpoints, so that both ends do at the same steps."""
        return {CHECKPOINT_EVERY: str(self.every)}


class Rollbacks:
    """The edge's end of every rollback, kept in ``folder``. every: steps from one checkpoint to the next (0: none).

    InputError where the folder holds something else.
    """

    def __init__(self, folder: Path, every: int, steps: int) -> None:
        self._every, self._file = every, folder / FOLDER / FILE
        self._checkpoints = Checkpoints(folder / FOLDER, every, steps)
        self._session_id, self._incarnation = secrets.token_bytes(16), -1
        if self._file.is_file():
            try:
                told = json.loads(self._file.read_text(encoding="utf-8"))
                self._session_id, self._incarnation = bytes.fromhex(told["session"]), int(told["incarnation"])
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{self._file}: no session: {error}") from None

    def next(self) -> Continued:
        """The next incarnation, noted on disk before anybody hears of it."""
        self._incarnation += 1
        self._file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._file.with_suffix(".part")
        told = {"session": self._session_id.hex(), "incarnation": self._incarnation}
        temporary.write_text(json.dumps(told), encoding="utf-8")
        os.replace(temporary, self._file)
        return Continued(self._session_id, self._incarnation, self._checkpoints.steps, self._every)

    def settle(self, head: Head, offered: Continued, opened: Opened) -> Place:
        """Take ``head`` back to the newest step that both ends have; where the stream goes on from there."""
        step = newest_common(offered.checkpoints, opened.checkpoints)
        kept = self._checkpoints.back_to(_trained(head), step)
        return Place(int(str(kept.get("frame", 0))), int(str(kept.get("position", 0))))

    def keep(self, head: Head, place: Place) -> bool:
        """Keep a checkpoint if it is time for one; the stream would go on from it at ``place``. Raises OSError."""
        return self._checkpoints.keep(_trained(head), {"frame": place.frame, "position": place.position})


def _trained(head: Head) -> Trained:
    if not isinstance(head, Trained):
        raise InputError(f"{type(head).__name__} trains, but keeps no state to go back to")
    return head
