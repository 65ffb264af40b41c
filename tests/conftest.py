"""What every test may use: the folder of real data, required tools, one thread, a street scan."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = bool(os.environ.get("EAVESPLIT_REQUIRE"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that need it skip with a line where it is absent."""
    folder = Path(os.environ.get("EAVESPLIT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set EAVESPLIT_DATA")
    return folder


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """``tool("chromium")`` gives the program's path; without it the test skips, or fails where CI requires it."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            (pytest.fail if REQUIRED else pytest.skip)(f"{name} is not installed")
        return str(path)

    return find
