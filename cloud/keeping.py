"""The cloud's end of a training's rollbacks: what it keeps of each session, and where a session goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

from victims.base import Cut, Tail, Trained
from victims.checkpoints import Checkpoints
from wire.errors import SessionRefused
from wire.handshake import CHECKPOINT_EVERY, Opening

MAX_SESSIONS = 8
"""Sessions whose checkpoints are kept; the one that was used longest ago goes first."""


class Keeper:
    """One session's checkpoints, in a folder of its own under ``folder`` (None: none are kept)."""

    def __init__(self, folder: Path | None, opening: Opening, cut: Cut, tail: Tail) -> None:
        """Take ``tail`` back to the newest step that both ends have, and that can be read here.

        SessionRefused ``STATE_LOST`` where the edge means to go on with a state that is gone.
        """
        if opening.next_transfer:
            raise SessionRefused(
                "STATE_LOST", f"session {opening.session_id.hex()[:12]}: the tail that was trained here is gone"
            )
        self._tail, self._checkpoints = tail, None
        if folder is None or not isinstance(tail, Trained):
            return
        every = opening.info.get(CHECKPOINT_EVERY, "0")
        own = folder / opening.session_id.hex()
        self._checkpoints = Checkpoints(own, int(every) if every.isdecimal() else 0, cut.train_steps or 0)
        self._checkpoints.newest_of(tail, opening.checkpoints)
        _prune(folder, own)

    @property
    def steps(self) -> tuple[int, ...]:
        """What the edge may choose from."""
        return self._checkpoints.steps if self._checkpoints is not None else ()

    def keep(self) -> None:
        """The tail has answered: keep it if it is time to. Raises OSError."""
        if self._checkpoints is not None and isinstance(self._tail, Trained):
            self._checkpoints.keep(self._tail)


def _prune(folder: Path, own: Path) -> None:
    others = [path for path in folder.iterdir() if path.is_dir() and path != own] if folder.is_dir() else []
    for path in sorted(others, key=lambda p: p.stat().st_mtime_ns)[: -(MAX_SESSIONS - 1)]:
        shutil.rmtree(path, ignore_errors=True)
