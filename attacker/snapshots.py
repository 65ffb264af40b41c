"""Models that a curious cloud pushed, as files: ``SESSION/STEP.safetensors``, the newest few of each session."""

from __future__ import annotations

import os
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

from wire.errors import DecodeError

KEPT = 8

_SESSION = re.compile(r"[0-9a-f]{32}")
_STEP = re.compile(r"\d{1,12}")


class Snapshots:
    """Written whole and renamed, so that whoever reads one has all of it. One writer. folder: exists, or is made."""

    def __init__(self, folder: Path, kept: int = KEPT) -> None:
        self.count = 0
        self._folder, self._kept = folder, kept

    def put(self, model: bytes | memoryview) -> Path:
        """Keep a model; its path. Raises DecodeError for what names no session and step, OSError for a full disk."""
        self._folder.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / "newest.part"
        temporary.write_bytes(model)
        try:
            with safe_open(temporary, "np") as opened:
                told = opened.metadata() or {}
        except SafetensorError as error:
            raise DecodeError(f"a snapshot that is no safetensors: {error}") from None
        session, step = told.get("session", ""), told.get("step", "")
        if not _SESSION.fullmatch(session) or not _STEP.fullmatch(step):
            raise DecodeError(f"a snapshot of session {session!r}, step {step!r}; accepted: 32 hex digits, a number")
        path = self._path(session, int(step))
        path.parent.mkdir(exist_ok=True)
        os.replace(temporary, path)
        for old in sorted(path.parent.glob("*.safetensors"), key=lambda p: p.stat().st_mtime_ns)[: -self._kept]:
            old.unlink()
        self.count += 1
        return path

    def get(self, session: str, step: int) -> Path | None:
        """The model of ``session`` as it was after ``step`` steps, while it is kept. See
        :data:`attacker.attacks.base.Snapshot`."""
        path = self._path(session, step)
        return path if path.is_file() else None

    def _path(self, session: str, step: int) -> Path:
        return self._folder / session / f"{step}.safetensors"
