"""Checkpoints of one end of a training: the newest two, so that a killed end and the other one always share a step.

One file each, ``STEP.safetensors``: tensors, and as metadata the JSON of everything else; written whole and renamed.
Both ends keep a step at the same numbers, the cloud before it acknowledges, so they are never more than one apart.
A file that cannot be read is passed over: no end offers it, and it takes no readable one's place.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from victims.base import State, Trained
from wire.errors import InputError
from wire.payload import Meta

KEPT = 2

_FILE = re.compile(r"(\d{1,12})\.safetensors")
_JSON = "eavesplit"
_UNREADABLE = (OSError, SafetensorError, ValueError, KeyError, TypeError)

log = logging.getLogger(__name__)


def newest_common(ours: Iterable[int], theirs: Iterable[int]) -> int:
    """The step that both ends go back to; 0, the beginning, is always there."""
    return max(set(ours) & set(theirs), default=0)


class Checkpoints:
    """Of one head or tail in ``folder``. every: steps from one to the next, 0 for none at all; the last of the
    training, ``last``, is kept too. One writer."""

    def __init__(self, folder: Path, every: int, last: int) -> None:
        self._folder, self._every, self._last = folder, every, last
        self._newest = 0

    @property
    def steps(self) -> tuple[int, ...]:
        """How many steps were done in each that can be read, ascending."""
        return tuple(step for step in self._files() if _readable(self._path(step)))

    def keep(self, part: Trained, more: Mapping[str, Meta] | None = None) -> bool:
        """Keep ``part`` and ``more`` if it has come so far, and drop the oldest beyond :data:`KEPT`. Raises OSError."""
        done = part.done
        if not self._every or done <= self._newest:
            return False
        if done // self._every == self._newest // self._every and done < self._last:
            return False
        self._folder.mkdir(parents=True, exist_ok=True)
        state, path = part.state(), self._path(done)
        told = json.dumps({"state": dict(state.meta), "more": dict(more or {})})
        temporary = path.with_suffix(".part")
        save_file({name: tensor.contiguous() for name, tensor in state.tensors.items()}, temporary, {_JSON: told})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
        self._newest = done
        newest = self.steps[-KEPT:]
        for step in self._files():
            if step not in newest:
                self._path(step).unlink()
        return True

    def newest_of(self, part: Trained, theirs: Iterable[int]) -> int:
        """Let ``part`` go on from the newest step that is among ``theirs`` too and that it can take; 0: from none.

        A file that can be read and not taken goes: the other end is to choose among the rest.
        """
        while step := newest_common(self.steps, theirs):
            try:
                self.back_to(part, step)
                return step
            except InputError as error:
                log.warning("passed over: %s", error)
                self._path(step).unlink()
        self.back_to(part, 0)
        return 0

    def back_to(self, part: Trained, step: int) -> Mapping[str, Meta]:
        """Let ``part`` go on after ``step`` steps; what was kept with it. Later checkpoints are void and go.

        step 0: nothing is loaded, ``part`` is to be fresh. InputError for a file that cannot be read, or is of another
        network.
        """
        more: Mapping[str, Meta] = {}
        if step:
            state, more = _read(self._path(step))
            part.load(state)
        for later in self._files():
            if later > step:
                self._path(later).unlink()
        self._newest = step
        return more

    def _files(self) -> list[int]:
        """The steps of all files, ascending."""
        found = self._folder.glob("*.safetensors") if self._folder.is_dir() else ()
        return sorted(int(match[1]) for path in found if (match := _FILE.fullmatch(path.name)))

    def _path(self, step: int) -> Path:
        return self._folder / f"{step}.safetensors"


def _readable(path: Path) -> bool:
    """Whether its head is whole and all that the head names is there; tensors are not loaded for it."""
    try:
        with safe_open(path, "pt") as opened:
            _told(opened)
    except _UNREADABLE:
        return False
    return True


def _told(opened: Any) -> tuple[dict[str, Meta], dict[str, Meta]]:
    """What is kept beside the tensors: the state's own, and the caller's."""
    told = json.loads((opened.metadata() or {})[_JSON])
    return dict(told["state"]), dict(told["more"])


def _read(path: Path) -> tuple[State, Mapping[str, Meta]]:
    try:
        with safe_open(path, "pt") as opened:
            meta, more = _told(opened)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (no mapping)
        return State(tensors, meta), more
    except _UNREADABLE as error:
        raise InputError(f"{path}: no checkpoint: {error}") from None
