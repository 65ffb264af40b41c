"""Landlock, in real processes on this kernel; where it has none, that it says so."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from attacker import landlock

ROOT = Path(__file__).resolve().parents[2]
HEADER = Path("/usr/include/linux/landlock.h")
needs_kernel = pytest.mark.skipif(not landlock.support().abi, reason=f"no Landlock: {landlock.support().reason}")

PRELUDE = """
import json, os, subprocess, sys, threading
from pathlib import Path
from attacker import landlock
from attacker.landlock import EXECUTE, READ, WRITE, Rule, restrict

out = {}

def attempt(name, action):
    try:
        out[name] = action()
    except OSError as error:
        out[name] = f"errno {error.errno}"
"""


def child(body: str, *arguments: object) -> dict[str, object]:
    """Run ``body`` in a fresh interpreter; it fills ``out``."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(body) + "\nprint(json.dumps(out))", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_bits_are_the_kernels() -> None:
    if not HEADER.exists():
        pytest.skip("no kernel headers")
    defined = dict(re.findall(r"define LANDLOCK_ACCESS_(?:FS|NET)_(\w+)\s+\(1ULL << (\d+)\)", HEADER.read_text()))
    for name in set(defined) & set(vars(landlock)):
        assert getattr(landlock, name) == 1 << int(defined[name]), name
    assert {"EXECUTE", "READ_FILE", "MAKE_SYM"} <= set(defined)


def test_each_abi_adds_its_rights() -> None:
    # Documentation/userspace-api/landlock.rst, "Previous limitations", by hand
    assert landlock.handled(1, net=True) == (0x1FFF, 0, 0)
    assert landlock.handled(2, net=True) == (0x3FFF, 0, 0)
    assert landlock.handled(3, net=True) == (0x7FFF, 0, 0)
    assert landlock.handled(4, net=True) == (0x7FFF, 2, 0)
    assert landlock.handled(5, net=False) == (0xFFFF, 0, 0)
    assert landlock.handled(6, net=True) == landlock.handled(99, net=True) == (0xFFFF, 2, 3)


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSYS, "no Landlock"), (errno.EOPNOTSUPP, "switched off at boot"), (errno.EPERM, "seccomp")],
)
def test_a_kernel_without_it_is_reported_and_nothing_is_restricted(
    monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    monkeypatch.setattr(landlock, "_syscall", lambda *_: (-1, code))
    assert landlock.support().abi == 0
    assert words in landlock.support().reason
    with pytest.raises(landlock.LandlockError, match=words):
        landlock.restrict([])


@needs_kernel
def test_reading_writing_and_running_are_separate_rights(tmp_path: Path) -> None:
    for name in ("read", "write", "neither"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    out = child(
        """
        base = Path(sys.argv[1])
        system = [p for p in map(Path, ("/usr", "/lib", "/lib64", "/bin", sys.prefix, sys.base_prefix)) if p.exists()]
        rules = [Rule(p, READ) for p in system] + [Rule(Path("/usr/bin/true"), EXECUTE)]
        rules += [Rule(p, EXECUTE) for p in map(Path, ("/lib64", "/lib")) if p.exists()]
        out["abi"] = restrict([*rules, Rule(base / "read", READ), Rule(base / "write", READ | WRITE)])
        attempt("read r", lambda: (base / "read/f").read_text())
        attempt("read w", lambda: (base / "read/f").write_text("x"))
        attempt("read list", lambda: os.listdir(base / "read"))
        attempt("write r", lambda: (base / "write/f").read_text())
        attempt("write w", lambda: (base / "write/g").write_text("x"))
        attempt("write tree", lambda: (base / "write/a/b").mkdir(parents=True))
        attempt("write rename", lambda: str((base / "write/g").rename(base / "write/a/g").name))
        attempt("write device", lambda: os.mknod(base / "write/null", 0o020666, os.makedev(1, 3)))
        attempt("neither r", lambda: (base / "neither/f").read_text())
        attempt("neither list", lambda: os.listdir(base / "neither"))
        attempt("neither truncate", lambda: os.truncate(base / "neither/f", 0))
        attempt("base list", lambda: os.listdir(base))
        attempt("run granted", lambda: subprocess.run(["/usr/bin/true"]).returncode)
        attempt("run other", lambda: subprocess.run(["/usr/bin/id"]).returncode)
        """,
        tmp_path,
    )
    refused = f"errno {errno.EACCES}"
    assert out.pop("abi") == landlock.support().abi
    assert out == {
        "read r": "read",
        "read w": refused,
        "read list": ["f"],
        "write r": "write",
        "write w": 1,
        "write tree": None,
        "write rename": "g" if landlock.support().abi >= 2 else f"errno {errno.EXDEV}",
        "write device": out["write device"],  # as root EACCES, else EPERM
        "neither r": refused,
        "neither list": refused,
        "neither truncate": refused if landlock.support().abi >= 3 else None,
        "base list": refused,
        "run granted": 0,
        "run other": refused,
    }
    assert out["write device"] in (refused, f"errno {errno.EPERM}")


@needs_kernel
def test_it_binds_later_threads_and_processes(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("secret")
    out = child(
        """
        secret = Path(sys.argv[1])
        restrict([Rule(Path("/proc/self"), READ)])
        def look():
            attempt("thread", secret.read_text)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        receive, send = os.pipe()
        if not os.fork():
            attempt("child", secret.read_text)
            os.write(send, out["child"].encode())
            os._exit(0)
        out["child"] = os.read(receive, 100).decode()
        """,
        tmp_path / "f",
    )
    assert out == {"thread": f"errno {errno.EACCES}", "child": f"errno {errno.EACCES}"}


@needs_kernel
def test_it_refuses_to_leave_a_running_thread_free(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("still readable")
    out = child(
        """
        stop = threading.Event()
        threading.Thread(target=stop.wait).start()
        try:
            restrict([])
        except landlock.LandlockError as error:
            out["error"] = str(error)
        stop.set()
        attempt("read", Path(sys.argv[1]).read_text)
        """,
        tmp_path / "f",
    )
    assert "2 threads already run" in str(out["error"])
    assert out["read"] == "still readable"


@needs_kernel
def test_a_rule_for_a_missing_path_restricts_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("still readable")
    out = child(
        """
        base = Path(sys.argv[1])
        try:
            restrict([Rule(base / "missing", READ)])
        except landlock.LandlockError as error:
            out["error"] = str(error)
        attempt("read", (base / "f").read_text)
        """,
        tmp_path,
    )
    assert out == {"error": f"landlock: {tmp_path / 'missing'}: No such file or directory", "read": "still readable"}


@pytest.mark.skipif(landlock.support().abi < 6, reason="needs Landlock ABI 6")
def test_ports_and_signals() -> None:
    with socket.create_server(("127.0.0.1", 0)) as allowed, socket.create_server(("127.0.0.1", 0)) as other:
        out = child(
            """
            import socket
            allowed, other, parent = map(int, sys.argv[1:])
            restrict([], connect=[allowed])
            attempt("allowed", lambda: socket.socket().connect(("127.0.0.1", allowed)))
            attempt("other", lambda: socket.socket().connect(("127.0.0.1", other)))
            attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)).close())
            attempt("signal", lambda: os.kill(parent, 0))
            attempt("own signal", lambda: os.kill(os.getpid(), 0))
            """,
            allowed.getsockname()[1],
            other.getsockname()[1],
            os.getpid(),
        )
    assert out == {
        "allowed": None,
        "other": f"errno {errno.EACCES}",
        "listen": None,
        "signal": f"errno {errno.EPERM}",
        "own signal": None,
    }
