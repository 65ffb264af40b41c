"""The health check as containers run it: an exit code, one line, and no torch."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wire.control import ControlServer
from wire.health import check, main
from wire.server import CloudServer

ROOT = Path(__file__).resolve().parents[2]


class Nobody:
    """A cloud's service that takes no session."""

    def open(self, opening: object) -> object:
        raise NotImplementedError


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_control_port_is_healthy_without_a_token() -> None:
    server = ControlServer("edge", dict, token="secret")
    port = server.start()
    assert check(f"http://127.0.0.1:{port}") is None
    server.stop()
    assert "refused" in str(check(f"http://127.0.0.1:{port}"))


def test_a_cloud_is_healthy_until_it_stops() -> None:
    server = CloudServer(Nobody())
    port = server.start()
    assert check(f"grpc://127.0.0.1:{port}") is None
    server.stop(0)
    assert check(f"grpc://127.0.0.1:{port}", timeout=1) in ("no answer: UNAVAILABLE", "no answer: DEADLINE_EXCEEDED")


def test_another_server_is_not_taken_for_healthy() -> None:
    """A control port that does not know the name it is called by answers 403."""
    server = ControlServer("edge", dict)
    port = server.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("socket.getaddrinfo", _everything_is_here)
            assert check(f"http://somewhere.else:{port}") == "answered 403"
    finally:
        server.stop()


def _everything_is_here(host: str, port: int, *_: object, **__: object) -> list[object]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_as_a_process_it_imports_no_torch_and_says_why_in_one_line(scheme: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wire.health", f"{scheme}://127.0.0.1:{free_port()}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time")]
    assert done.returncode == 1
    assert len(said) == 1
    assert said[0].startswith(f"health: {scheme}://127.0.0.1:")
    assert "wire" in imported
    assert not imported & {"torch", "numpy", "fastapi", "uvicorn", "httpx", "pydantic"}


@pytest.mark.parametrize("arguments", [[], ["127.0.0.1:1"], ["ftp://127.0.0.1:1"], ["http://127.0.0.1"], ["a", "b"]])
def test_what_is_no_url_of_ours_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("health: ")
    assert "expected grpc://HOST:PORT or http://HOST:PORT" in line
