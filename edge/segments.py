"""Which defense each segment of a stream had: a table beside the record, written before a swap takes hold.

A frame's segment number stands in its row of stage times; this table says what the number means. An edge that was
killed goes on with the defense it was last given, not with the one of its role file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from edge.config import DefenseChoice

FILE = "segments.json"


class Segments:
    """``segments.json`` in the edge's folder: segment number -> ``name`` and ``settings`` of its defense.

    first: the defense of segment 0, where there is no table yet.
    """

    def __init__(self, folder: Path, first: DefenseChoice) -> None:
        self._path = folder / FILE
        self._found: dict[int, DefenseChoice] = {}
        if self._path.is_file():
            told = json.loads(self._path.read_text(encoding="utf-8"))
            self._found = {int(number): DefenseChoice(**choice) for number, choice in told.items()}
        else:
            self.begin(0, first)

    @property
    def last(self) -> tuple[int, DefenseChoice]:
        """Number and defense of the newest segment."""
        return max(self._found.items(), key=lambda item: item[0])

    def begin(self, number: int, choice: DefenseChoice) -> None:
        """Note a segment, on disk when this returns."""
        self._found[number] = choice
        table = {str(n): c.model_dump() for n, c in self._found.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(table), encoding="utf-8")
        os.replace(temporary, self._path)
