"""The tiny victim and its study, installed for the processes of a stream as a plug-in would be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENTRY_POINTS = """\
[eavesplit.victims]
tiny = tiny_victim:TINY

[eavesplit.studies]
tiny = tiny_study:STUDY
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of this process and of those it starts, with the modules and their entry points."""
    (folder := tmp_path / "plugin").mkdir()
    for module in ("tiny_victim.py", "tiny_study.py"):
        (folder / module).write_text(Path(__file__).with_name(module).read_text())
    told = folder / "tiny-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
    monkeypatch.syspath_prepend(str(folder))
    return folder
