"""The folder of one run: its name, its ``run.toml``, whole-or-nothing files, and what a resumed run finds done."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tomli_w

from wire import arrays, record
from wire.errors import DecodeError, InputError

NAME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}_[a-z0-9][a-z0-9-]*(~\d+)?")
"""``<ISO time, UTC, colons as dashes>_<study>``; ``~2`` when two began in one second. Sorts by age."""

_STUDY = re.compile(r"[a-z0-9][a-z0-9-]*")
_VERSIONS = ("eavesplit", "torch", "numpy", "scipy", "spconv", "spconv-cu120", "grpcio", "protobuf", "mcap", "plotly")


@dataclass(frozen=True)
class RunFolder:
    """One execution of a study, or one of its cells (a folder of the same shape under ``cells/``)."""

    path: Path

    @classmethod
    def create(cls, root: Path, study: str, resolved: Mapping[str, Any], now: datetime | None = None) -> RunFolder:
        """A new folder under ``root`` with its ``run.toml``.

        resolved: every setting after defaults, files and flags, plus ``seed`` and digests; keys whose value is None
        are left out (TOML has no null). Versions, environment and the time are added.
        """
        if not _STUDY.fullmatch(study):
            raise InputError(f"study {study!r}; accepted: lower-case letters, digits and dashes")
        moment = (now or datetime.now(UTC)).astimezone(UTC)
        base = f"{moment:%Y-%m-%dT%H-%M-%S}_{study}"
        root.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            path = root / (base if attempt == 1 else f"{base}~{attempt}")
            try:
                path.mkdir()
                break
            except FileExistsError:
                continue
        else:
            raise InputError(f"{root}: a thousand runs of {study} began in one second")
        run = cls(path)
        run._write_config({"study": study, "created": moment.isoformat(timespec="seconds"), **resolved})
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run, to resume, score or report. InputError when it has no readable ``run.toml``."""
        run = cls(path)
        _ = run.config
        return run

    def cell(self, cell_id: str, resolved: Mapping[str, Any] | None = None) -> RunFolder:
        """The folder of one cell, made (with its own ``run.toml``) when ``resolved`` is given and it does not exist."""
        cell = RunFolder(self.path / "cells" / cell_id)
        if resolved is not None and not (cell.path / "run.toml").exists():
            cell.path.mkdir(parents=True, exist_ok=True)
            cell._write_config({"study": self.config["study"], **resolved})
        return cell

    def cells(self) -> list[RunFolder]:
        """The cells that have begun, by name; the run itself when its study has only one."""
        return [RunFolder(p.parent) for p in sorted(self.path.glob("cells/*/run.toml"))] or [self]

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.path.name

    @property
    def edge(self) -> Path:
        """Truth, outcomes and stage times: never readable by the attacker."""
        return self.path / "edge"

    @property
    def capture(self) -> Path:
        """What the listener saw."""
        return self._listeners("capture")

    @property
    def reconstructions(self) -> Path:
        """What the listener made of it."""
        return self._listeners("reconstructions")

    @property
    def scores(self) -> Path:
        """A row per frame, attack and metric."""
        return self.path / "scores.csv"

    @property
    def summary(self) -> Path:
        """``summary.json``."""
        return self.path / "summary.json"

    @property
    def report(self) -> Path:
        """``report.html``."""
        return self.path / "report.html"

    @property
    def finished(self) -> bool:
        """Whether a summary was written: it is, only after everything else."""
        return self.summary.exists()

    @property
    def config(self) -> dict[str, Any]:
        """``run.toml``. InputError names the file and what is wrong with it."""
        file = self.path / "run.toml"
        try:
            return tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{self.path}: no run folder ({file.name}: {error.strerror})") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{file}: no valid TOML: {error}") from None

    def frames_done(self) -> set[int]:
        """Frames that were answered and recorded: a resumed run does not send them again."""
        if not self.edge.is_dir():
            return set()
        done = set()
        for item in record.read(self.edge):
            if item.topic == "outcome":
                try:
                    done.add(int(arrays.unpack(item.data)[1]["frame"]))  # type: ignore[arg-type]
                except (DecodeError, KeyError, TypeError):
                    continue  # not a finished frame, so it is done again
        return done

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one file of the run, whole or not at all."""
        return write_whole(self.path / name, content)

    def write_summary(self, summary: Mapping[str, Any]) -> Path:
        """``summary.json``, strict JSON (no NaN: it is a bug, and raises ValueError)."""
        return self.write("summary.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """``summary.json``. InputError when the run has none yet."""
        try:
            loaded = json.loads(self.summary.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{self.summary}: {error.strerror}; the run has not finished") from None
        except ValueError as error:
            raise InputError(f"{self.summary}: no valid JSON: {error}") from None
        if not isinstance(loaded, dict):
            raise InputError(f"{self.summary}: holds a {type(loaded).__name__}, accepted is an object")
        return loaded

    def _listeners(self, name: str) -> Path:
        # A guarded listener may write to one folder only, so its two records may lie one level deeper.
        guarded = self.path / "listener" / name
        return guarded if guarded.is_dir() else self.path / name

    def _write_config(self, values: Mapping[str, Any]) -> None:
        full = {"versions": versions(), "environment": environment(), **values}
        plain = {k: v for k, v in full.items() if not isinstance(v, Mapping)}
        tables = {k: v for k, v in full.items() if isinstance(v, Mapping)}
        self.write("run.toml", tomli_w.dumps(_toml({**plain, **tables})))


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write to a temporary name beside ``path``, flush to the disk, rename: a reader sees the old file or the new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def runs(root: Path) -> list[RunFolder]:
    """The runs under ``root``, oldest first; other folders are none of ours."""
    if not root.is_dir():
        return []
    found = [p for p in root.iterdir() if NAME.fullmatch(p.name) and (p / "run.toml").is_file()]
    return [RunFolder(p) for p in sorted(found)]


def prune(root: Path, keep: int, *, only_unfinished: bool = False) -> list[Path]:
    """Delete all but the newest ``keep`` runs under ``root`` and return what went.

    only_unfinished: leave finished runs alone, whatever their age, and count only the others.
    """
    if keep < 0:
        raise InputError(f"--keep {keep}; accepted: 0 or more")
    candidates = [run for run in runs(root) if not (only_unfinished and run.finished)]
    gone = candidates[: max(len(candidates) - keep, 0)]
    for run in gone:
        shutil.rmtree(run.path)
    return [run.path for run in gone]


def versions() -> dict[str, str]:
    """Versions of what a result depends on; what is not installed is absent."""
    found = {"python": platform.python_version()}
    for package in _VERSIONS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment() -> dict[str, str | int]:
    """The machine: system, processor, cores, accelerator. No host, user or network name."""
    import torch

    found: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _toml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _toml(v) for k, v in value.items() if v is not None}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str):
        ordered = sorted(value) if isinstance(value, set | frozenset) else value
        return [_toml(v) for v in ordered if v is not None]
    return value
