"""The supervisor, on a real link process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from lab.supervisor import Role
from wire.errors import RunError


def link(tmp_path: Path, **more: object) -> Role:
    config = {"listen": "127.0.0.1:0", "forward": "127.0.0.1:9", "control": "127.0.0.1:0", **more}
    return Role("link", "wire.relay", config, tmp_path)


def test_a_killed_process_comes_back_where_it_was(tmp_path: Path) -> None:
    role = link(tmp_path)
    role.start()
    try:
        first = dict(role.wait_ready())
        pid = role.pid
        role.kill()
        deadline = time.monotonic() + 30
        while role.pid == pid or not role.ready:
            assert time.monotonic() < deadline, "the link did not come back"
            time.sleep(0.05)
        assert role.wait_ready()["port"] == first["port"]
        assert role.wait_ready()["control"] == first["control"]
        assert "bytes" in str(role.state())
        assert role.usage.starts == 2
    finally:
        assert role.stop() == 0
    assert role.usage.cpu_s > 0
    assert role.usage.peak_mb > 1


def test_a_process_that_refuses_its_role_is_not_started_again(tmp_path: Path) -> None:
    role = link(tmp_path, rate_mbps=-1.0)
    role.start()
    with pytest.raises(RunError, match="rate_mbps"):
        role.wait_ready(30)
    assert role.wait(10) == 2
    assert role.usage.starts == 1


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        role = link(tmp_path, listen=f"127.0.0.1:{port}")
        role.start()
        with pytest.raises(RunError, match=str(port)):
            role.wait_ready(30)


LAB = """
import sys, time
from pathlib import Path
from lab.supervisor import Role
for name in ("one", "two"):
    config = {"listen": "127.0.0.1:0", "forward": "127.0.0.1:9", "control": "127.0.0.1:0"}
    role = Role(name, "wire.relay", config, Path(sys.argv[1]))
    role.start()
    role.wait_ready()
    print(role.pid, flush=True)
time.sleep(600)
"""


def test_no_process_outlives_a_lab_that_was_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", LAB, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as lab:
        assert lab.stdout is not None
        pids = [int(lab.stdout.readline()) for _ in range(2)]
        assert all(psutil.pid_exists(pid) for pid in pids)
        lab.kill()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "a process was left behind"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether it still runs: nobody may reap an orphan in a container without an init."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_settings_change_what_runs_and_a_refusal_is_told(tmp_path: Path) -> None:
    role = link(tmp_path)
    role.start()
    try:
        role.wait_ready()
        role.settings(delay_ms=3.0)
        assert "3.0" in str(role.state())
        with pytest.raises(RunError, match="delay_ms"):
            role.settings(delay_ms=-1.0)
    finally:
        role.stop()


def test_nobody_is_left_behind(tmp_path: Path) -> None:
    before = threading.active_count()
    role = link(tmp_path)
    role.start()
    role.wait_ready()
    role.stop()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() == before
    assert not Path(f"/proc/{role.pid}").exists()
