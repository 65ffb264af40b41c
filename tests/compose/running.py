"""The demo in containers, as a test drives it: `docker compose` beside, the page in front."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 300.0


def needs_an_engine() -> None:
    """Skip where no container engine answers; fail where one is required."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        required = bool(os.environ.get("EAVESPLIT_REQUIRE"))
        (pytest.fail if required else pytest.skip)("no container engine answers here (`docker info`)")


class Demo:
    """One project of its own, beside whatever else runs on the engine. profile: the modality."""

    def __init__(self, profile: str = "lidar") -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._environment = {**os.environ, "EAVESPLIT_PORT": str(port), "COMPOSE_PROFILES": profile}

    def compose(self, *arguments: str, given: str = "") -> str:
        return self.docker("compose", "-p", "eavesplit-test", *arguments, given=given)

    def docker(self, *arguments: str, given: str = "") -> str:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, cwd=ROOT, env=self._environment, input=given
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def inside(self, service: str, program: str, given: str = "") -> Any:
        """What a Python program prints in the service's container, as JSON."""
        return json.loads(self.compose("exec", "-T", service, "python", "-c", program, given=given))

    def inspect(self, service: str) -> dict[str, Any]:
        container = self.compose("ps", "-a", "-q", service).split()[0]
        return dict(json.loads(self.docker("inspect", container))[0])

    def state(self) -> dict[str, Any]:
        """What the page says; empty while it does not answer."""
        try:
            return dict(httpx.get(f"{self.url}/state", timeout=30, trust_env=False).json())
        except httpx.TransportError:
            return {}

    def wish(self, **settings: Any) -> httpx.Response:
        """A knob of the page."""
        return httpx.patch(f"{self.url}/settings", json=settings, timeout=60, trust_env=False)

    def until(self, true: Callable[[dict[str, Any]], bool], why: str) -> dict[str, Any]:
        deadline = time.monotonic() + WAIT_S
        while True:
            state = self.state()
            if {"status", "scores", "wire"} <= set(state) and true(state):
                return state
            assert time.monotonic() < deadline, f"{why}: {json.dumps(state.get('status'))}{self._last_words()}"
            time.sleep(0.25)

    def first_reconstruction(self) -> dict[str, Any]:
        """The first one that the page's events carry."""
        with httpx.stream("GET", f"{self.url}/events", timeout=WAIT_S, trust_env=False) as answer:
            event = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    event = line.removeprefix("event: ")
                elif line.startswith("data: ") and event == "reconstruction":
                    return dict(json.loads(line.removeprefix("data: ")))
        raise AssertionError("the page's events ended")

    def _last_words(self) -> str:
        return "\n" + self.compose("logs", "--no-color", "--tail", "5")
