"""What this machine can do, and how to mend what it cannot."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One finding. bad: the main job cannot run; note: something optional is absent."""

    name: str
    level: Literal["ok", "note", "bad"]
    found: str
    mend: str = ""


def checks() -> Iterator[Check]:
    """Every check, cheap ones first."""
    version = sys.version_info
    fits = (3, 11) <= version[:2] < (3, 13)
    yield Check(
        "python", "ok" if fits else "bad", sys.version.split()[0], "" if fits else "install Python 3.11 or 3.12"
    )
    cores = len(os.sched_getaffinity(0))
    yield Check("cores", "ok" if cores >= 2 else "note", str(cores), "" if cores >= 2 else "2 are recommended")
    yield _memory()
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Check(
        "disk",
        "ok" if free > 5 else "note",
        f"{free:.0f} GB free here",
        "" if free > 5 else "runs keep up to 2 GB each",
    )
    yield from _packages()
    yield _gpu()
    yield _landlock()
    yield _weights()
    yield _data()
    for tool, why, package in (
        ("redis-server", "scale-out tests", "redis-server"),
        ("chromium", "tests of reports and pages", "chromium"),
        ("docker", "compose demo", "docker.io"),
    ):
        there = shutil.which(tool)
        yield Check(
            tool, "ok" if there else "note", there or f"absent ({why})", "" if there else f"apt-get install {package}"
        )


def _memory() -> Check:
    import psutil

    total = psutil.virtual_memory().total / 1e9
    return Check(
        "memory", "ok" if total >= 8 else "note", f"{total:.0f} GB", "" if total >= 8 else "8 GB are recommended"
    )


def _packages() -> Iterator[Check]:
    wanted = (
        ("torch", "bad", "pip install -e ."),
        ("spconv", "bad", "pip install -e '.[lidar]' (with a GPU: '.[cuda]'; only one of the two)"),
        ("diffusers", "note", "pip install -e '.[image]'"),
        ("dp_accounting", "note", "pip install -e '.[image]'"),
        ("nerfacc", "note", "pip install -e '.[radiance]'"),
        ("redis", "note", "pip install -e '.[console]'"),
    )
    for module, missing, mend in wanted:
        there = importlib.util.find_spec(module) is not None
        level: Literal["ok", "note", "bad"] = "ok" if there else ("bad" if missing == "bad" else "note")
        yield Check(module, level, "installed" if there else "absent", "" if there else mend)


def _gpu() -> Check:
    try:
        import torch
    except ImportError:
        return Check("gpu", "note", "torch is absent", "pip install -e .")
    if torch.cuda.is_available():
        return Check("gpu", "ok", torch.cuda.get_device_name())
    return Check("gpu", "note", "none: attacks compute on the CPU", "make install GPU=1 on a machine with one")


def _landlock() -> Check:
    from attacker.landlock import support

    kernel = support()
    if kernel.abi:
        return Check("landlock", "ok", f"ABI {kernel.abi}: the kernel keeps the listener to its grants")
    found = f"the kernel offers none ({kernel.reason}): only the audit hook guards the listener"
    return Check("landlock", "note", found, "Linux 5.13 or newer with Landlock switched on")


def _weights() -> Check:
    from victims.base import weights_folder

    found = sorted(path.stem for path in weights_folder().glob("*.safetensors"))
    if found:
        return Check("weights", "ok", ", ".join(found))
    return Check("weights", "bad", f"none in {weights_folder()}", "eavesplit train victim; eavesplit train concretizer")


def _data() -> Check:
    where = os.environ.get("EAVESPLIT_DATA")
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    folder = Path(where) if where else beside
    if folder.is_dir():
        return Check("real data", "ok", str(folder))
    return Check("real data", "note", "none (tests on real scans skip)", "set EAVESPLIT_DATA to a folder of real data")
