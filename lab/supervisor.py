"""Starts the processes of a run, keeps them up, and accounts for what they used."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import tomli_w

from wire.errors import RunError

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

_HTTP = httpx.Client(trust_env=False)
"""One for all: a client of its own for each question would cost more than the answer."""

RESTART_S = 0.2
"""Pause before a dead process is started again."""


def _die_with(parent: int) -> None:
    """In the child: be terminated when the lab dies, however it dies, also while this child was being made."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


@dataclass
class Usage:
    """What a role used over all its lives: CPU seconds (user + system) and peak resident memory of one life (MB)."""

    cpu_s: float = 0.0
    peak_mb: float = 0.0
    starts: int = 0


class Role:
    """One process of a run (``python -m MODULE --config FILE``), restarted when it dies unexpectedly.

    The role file is written before every start; ports that the system chose are written back into it, so that a
    restarted process is found where the first one was.
    """

    def __init__(self, name: str, module: str, config: dict[str, Any], folder: Path, *, restart: bool = True) -> None:
        self.name, self.module, self.config, self.restart = name, module, config, restart
        self.usage = Usage()
        self.ready: dict[str, Any] = {}
        self.done: dict[str, Any] | None = None
        self.returncode: int | None = None
        self.pid = 0
        self._file = folder / f"{name}.toml"
        self._log_path = folder / f"{name}.log"
        self._stopping = False
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the process; it is not ready yet."""
        threading.Thread(target=self._live, name=f"role-{self.name}", daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self.usage.starts > 0)

    def wait_ready(self, timeout: float = 60.0) -> dict[str, Any]:
        """Block until the process said that it is ready. RunError with the end of its log when it did not."""
        with self._changed:
            self._changed.wait_for(lambda: self.ready or self.returncode is not None, timeout)
            if self.ready:
                return self.ready
        raise RunError(f"{self.name} did not come up: {self.last_words()}")

    def last_words(self) -> str:
        """The last line that the process wrote to stderr."""
        lines = self._log_path.read_text(errors="replace").strip().splitlines() if self._log_path.exists() else []
        return lines[-1] if lines else f"no word in {self._log_path}"

    def wait(self, timeout: float | None = None) -> int | None:
        """Block until the process is gone for good; its exit code, or None after ``timeout``."""
        with self._changed:
            self._changed.wait_for(lambda: self.returncode is not None, timeout)
            return self.returncode

    def state(self) -> dict[str, Any]:
        """``GET /state`` of the process; empty while it is down."""
        port = self.ready.get("control")
        if port is None:
            return {}
        try:
            answer = _HTTP.get(f"http://127.0.0.1:{port}/state", timeout=5)
            return dict(answer.json()) if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return {}

    def settings(self, **values: Any) -> dict[str, Any]:
        """``PATCH /settings``; RunError with the process's own line when it refuses."""
        answer = _HTTP.patch(f"http://127.0.0.1:{self.ready['control']}/settings", json=values, timeout=30)
        if answer.status_code != 200:
            raise RunError(f"{self.name} refused {values}: {answer.text}")
        return dict(answer.json())

    def stop(self, timeout: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL after ``timeout`` seconds."""
        self._stopping = True
        if self.returncode is None and self._process is not None:
            _signal(self._process, signal.SIGTERM)
            if self.wait(timeout) is None:
                _signal(self._process, signal.SIGKILL)
                self.wait(5)
        return self.returncode

    def kill(self) -> None:
        """SIGKILL without a word; the supervisor starts it again."""
        if self._process is not None:
            _signal(self._process, signal.SIGKILL)

    def _live(self) -> None:
        """Every life of the process, in one thread: the kernel's death signal follows the thread that began a child."""
        while True:
            process = self._spawn()
            self._listen(process)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.usage.cpu_s += used.ru_utime + used.ru_stime
            self.usage.peak_mb = max(self.usage.peak_mb, used.ru_maxrss / 1024)
            with self._changed:
                if not self.restart or self._stopping or process.returncode in (0, 2):
                    self.returncode = process.returncode
                    self._changed.notify_all()
                    return
                self.ready = {}
            time.sleep(RESTART_S)

    def _spawn(self) -> subprocess.Popen[str]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(tomli_w.dumps(_without_none(self.config)))
        parent = os.getpid()
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.config.get("threads", 1)), "PYTHONUNBUFFERED": "1"}
        with self._log_path.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, "--config", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the lab alone, which then stops everything in order
                preexec_fn=lambda: _die_with(parent),
            )
        with self._changed:
            self._process, self.pid = process, process.pid
            self.usage.starts += 1
            self._changed.notify_all()
        if self._stopping:  # stopped between two lives
            _signal(process, signal.SIGTERM)
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Read what the process says until it closes its standard output."""
        if process.stdout is None:
            return
        with process.stdout:
            for line in process.stdout:
                try:
                    said = json.loads(line)
                except ValueError:
                    continue
                with self._changed:
                    if "ready" in said:
                        self.ready = said
                        self._pin_ports(said)
                    elif "done" in said:
                        self.done = said
                    self._changed.notify_all()

    def _pin_ports(self, said: dict[str, Any]) -> None:
        for key, spoken in (("listen", "port"), ("control", "control"), ("mirror", "mirror")):
            if key in self.config and spoken in said:
                host = str(self.config[key]).rpartition(":")[0]
                self.config[key] = f"{host}:{said[spoken]}"


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return  # already gone: the listener thread reaps it


def _without_none(values: Any) -> Any:
    """TOML has no null: a setting that is None is left out and takes its default."""
    if isinstance(values, dict):
        return {key: _without_none(value) for key, value in values.items() if value is not None}
    if isinstance(values, list | tuple):
        return [_without_none(value) for value in values]
    return str(values) if isinstance(values, Path) else values
