"""Clouds that can be killed, and a cable that can be cut."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("no clock", deadline=None)  # a busy machine is no failure
settings.load_profile("no clock")


class EchoCloud:
    """A cloud process on one port, with as many lives as a test asks for."""

    def __init__(self, spawner: subprocess.Popen, window: int) -> None:
        self._spawner, self._window = spawner, window
        self.port = 0
        self.pid = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._spawner.stdin.write(f"start {self.port} {self._window}\n")
        self._spawner.stdin.flush()
        self.pid, self.port = map(int, self._spawner.stdout.readline().split())

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        if self.pid:
            self.signal(signal.SIGKILL)
            self.pid = 0


@pytest.fixture(scope="session")
def _spawner() -> Iterator[subprocess.Popen]:
    command = [sys.executable, str(Path(__file__).with_name("echo_cloud.py"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def echo_cloud(_spawner: subprocess.Popen) -> Iterator[Callable[..., EchoCloud]]:
    """``echo_cloud(window=...)``: a running cloud process."""
    clouds: list[EchoCloud] = []

    def make(window: int = 4 << 20) -> EchoCloud:
        cloud = EchoCloud(_spawner, window)
        cloud.start()
        clouds.append(cloud)
        return cloud

    yield make
    for cloud in clouds:
        cloud.kill()


class Cable:
    """Forwards TCP to ``port``; :meth:`cut` resets every connection, wherever its bytes are."""

    def __init__(self, port: int, delay: float = 0.0) -> None:
        self.target, self.delay = port, delay
        self.connections = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                self.connections += 1
                with self._lock:
                    self._pairs.append((near, far))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.delay:
                    time.sleep(self.delay)
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RD)  # wakes the pump, or close would send nothing
        time.sleep(0.01)
        for pair in pairs:
            for end in pair:
                end.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()


@pytest.fixture
def cable() -> Iterator[Callable[..., Cable]]:
    """``cable(port, delay=...)``: a forwarder to that port."""
    cables: list[Cable] = []

    def make(port: int, delay: float = 0.0) -> Cable:
        cables.append(Cable(port, delay))
        return cables[-1]

    yield make
    for made in cables:
        made.close()
