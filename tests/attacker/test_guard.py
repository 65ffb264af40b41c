"""The guard, in real processes: what a listener reaches of what the edge wrote, by every way to open a file."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import safetensors.torch
import torch

from attacker import guard, landlock
from wire.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
KERNEL = bool(landlock.support().abi)

PRELUDE = """
import ctypes, json, os, subprocess, sys, threading
from pathlib import Path
from attacker import guard, landlock

base, root = Path(sys.argv[1]), Path(sys.argv[2])
edge, own, grants = base / "edge", base / "own", base / "grants"
out = {}

def attempt(name, action):
    try:
        out[name] = repr(action())
    except BaseException as error:
        out[name] = f"{type(error).__name__}: {error}"
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as it lies on disk: the edge's truth, the listener's own folder, and one granted folder."""
    base = tmp_path_factory.mktemp("run")
    for name in ("edge", "own", "grants"):
        (base / name).mkdir()
    for name in ("edge", "grants"):
        torch.save({"truth": torch.arange(3)}, base / name / "t.pt")
        safetensors.torch.save_file({"truth": torch.arange(3)}, base / name / "t.safetensors")
        (base / name / "t.txt").write_text("truth")
    (base / "own" / "link.txt").symlink_to(base / "edge" / "t.txt")
    return base


def start(base: Path, body: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(body), str(base), str(ROOT), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=base,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return json.loads(printed.splitlines()[-1])


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(scope="module")
def other() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(run_folder: Path, listener: socket.socket, other: socket.socket) -> dict[str, Any]:
    """Everything one guarded process tried, by name, with what came of it."""
    body = """
    import dataclasses, socket, struct
    allowed, other = int(sys.argv[3]), int(sys.argv[4])
    report = guard.install([grants], [own], connect=[("localhost", allowed)])
    out["report"] = dataclasses.asdict(report)
    libc = ctypes.CDLL(None, use_errno=True)
    import tempfile, torch, safetensors

    def native_open(path, flags=os.O_RDONLY):
        libc.open.restype = ctypes.c_int
        fd = libc.open(os.fsencode(path), flags, 0o600)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "native open refused")
        return os.read(fd, 5)

    def native_connect(port):
        raw = socket.socket()
        address = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), socket.inet_aton("127.0.0.1"))
        if libc.connect(raw.fileno(), address, len(address)):
            raise OSError(ctypes.get_errno(), "native connect refused")
        return "connected"

    def in_thread(action):
        box = []
        def body():
            try:
                box.append(action())
            except BaseException as error:
                box.append(error)
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if isinstance(box[0], BaseException):
            raise box[0]
        return box[0]

    def native_tensors(path):
        with safetensors.safe_open(path, "pt") as opened:
            return opened.get_tensor("truth").tolist()

    def read(path):
        with open(path) as file:
            return file.read()

    def fd_read(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.read(fd, 5)
        finally:
            os.close(fd)

    for name, folder in (("edge", edge), ("grants", grants)):
        attempt(f"{name} open", lambda: read(folder / "t.txt"))
        attempt(f"{name} relative", lambda: read(f"{name}/t.txt"))
        attempt(f"{name} os.open", lambda: fd_read(folder / "t.txt"))
        attempt(f"{name} torch.load", lambda: torch.load(folder / "t.pt", weights_only=True)["truth"].tolist())
        attempt(f"{name} safetensors", lambda: native_tensors(folder / "t.safetensors"))
        attempt(f"{name} native", lambda: native_open(folder / "t.txt"))
        attempt(f"{name} thread", lambda: in_thread(lambda: read(folder / "t.txt")))
        attempt(f"{name} native thread", lambda: in_thread(lambda: native_open(folder / "t.txt")))
        attempt(f"{name} list", lambda: sorted(os.listdir(folder)))
        attempt(f"{name} root", lambda: read(f"/proc/self/root{folder}/t.txt"))
    attempt("edge symlink", lambda: read(own / "link.txt"))
    attempt("edge hard link", lambda: os.link(edge / "t.txt", own / "hard.txt"))
    attempt("edge rename", lambda: os.rename(edge / "t.txt", own / "moved.txt"))
    attempt("edge remove", lambda: os.remove(edge / "t.txt"))
    attempt("edge truncate", lambda: os.truncate(edge / "t.txt", 0))
    attempt("edge parent", lambda: sorted(os.listdir(base)))
    attempt("other process", lambda: read(f"/proc/{os.getppid()}/environ"))

    attempt("write beside", lambda: open(base / "new.txt", "w"))
    attempt("write edge", lambda: open(edge / "t.txt", "a"))
    attempt("write granted", lambda: open(grants / "t.txt", "a"))
    attempt("write native", lambda: native_open(edge / "made.txt", os.O_WRONLY | os.O_CREAT))
    attempt("write room", lambda: open(root / "attacker" / "made.py", "w"))
    attempt("write tmp", lambda: open("/tmp/eavesplit-guard-test", "w"))
    attempt("own write", lambda: (own / "made.txt").write_text("mine"))
    attempt("own read", lambda: (own / "made.txt").read_text())
    attempt("own rename", lambda: os.rename(own / "made.txt", own / "renamed.txt"))
    attempt("own tree", lambda: (own / "a" / "b").mkdir(parents=True))
    def temporary():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "x").write_text("x")
            return Path(folder).is_relative_to(own)
    attempt("own temporary", temporary)
    attempt("own save", lambda: torch.save(torch.zeros(2), own / "z.pt"))

    attempt("room edge", lambda: read(root / "edge" / "__init__.py"))
    attempt("room listing", lambda: os.listdir(root))
    attempt("import edge", lambda: __import__("edge"))
    attempt("import lab.metrics", lambda: __import__("lab.metrics"))
    attempt("import victims.base", lambda: __import__("victims.base").__name__)
    attempt("import defenses.registry", lambda: __import__("defenses.registry").__name__)

    attempt("run subprocess", lambda: subprocess.run(["/bin/true"]))
    attempt("run system", lambda: os.system("true"))
    attempt("run exec", lambda: os.execv("/bin/true", ["true"]))
    attempt("run fork", lambda: os.fork())
    attempt("run native", lambda: libc.system(b"true"))
    attempt("connect allowed", lambda: socket.create_connection(("localhost", allowed), 5).close())
    attempt("connect address", lambda: socket.create_connection(("127.0.0.1", allowed), 5).close())
    attempt("connect other", lambda: socket.create_connection(("127.0.0.1", other), 5).close())
    attempt("connect native allowed", lambda: native_connect(allowed))
    attempt("connect native other", lambda: native_connect(other))
    attempt("connect datagram", lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", other)))
    attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)).close())
    attempt("twice", lambda: guard.install([], []))
    out["attempts"] = guard.attempts()
    print(json.dumps(out))
    """
    return finish(start(run_folder, body, listener.getsockname()[1], other.getsockname()[1]))


PYTHON_WAYS = ("open", "relative", "os.open", "torch.load", "thread", "list", "root")
NATIVE_WAYS = ("safetensors", "native", "native thread")


def test_it_says_which_layer_held(guarded: dict[str, Any], run_folder: Path, listener: socket.socket) -> None:
    layer = "kernel" if KERNEL else "hook"
    report = guarded["report"]
    assert report["landlock"] == (f"abi {landlock.support().abi}" if KERNEL else landlock.support().reason)
    assert report["audit_hook"]
    assert (report["files"], report["processes"]) == (layer, layer)
    assert report["read"] == [str(run_folder / "grants")]
    assert report["write"] == [str(run_folder / "own")]
    assert report["addresses"] == [f"localhost:{listener.getsockname()[1]}"]


@pytest.mark.parametrize("way", PYTHON_WAYS)
def test_the_edges_truth_is_out_of_reach_of_python(guarded: dict[str, Any], way: str) -> None:
    assert guarded[f"edge {way}"].startswith(("GuardRefusal: attacker may not", "PermissionError"))


@pytest.mark.skipif(not KERNEL, reason="native code is held by Landlock only, which this kernel lacks")
@pytest.mark.parametrize("way", NATIVE_WAYS)
def test_the_edges_truth_is_out_of_reach_of_native_code(guarded: dict[str, Any], run_folder: Path, way: str) -> None:
    # safetensors tells of any failure to open as of a missing file; beside it, the granted copy opens (next test)
    expected = "FileNotFoundError: No such file" if way == "safetensors" else "PermissionError: [Errno 13]"
    assert guarded[f"edge {way}"].startswith(expected)
    assert (run_folder / "edge" / "t.safetensors").stat().st_size > 0


def test_the_granted_folder_reads_by_every_way(guarded: dict[str, Any]) -> None:
    values = {way: guarded[f"grants {way}"] for way in (*PYTHON_WAYS, *NATIVE_WAYS)}
    text, raw, tensor = "'truth'", "b'truth'", "[0, 1, 2]"
    assert values == {
        "open": text, "relative": text, "os.open": raw, "torch.load": tensor, "thread": text,
        "list": "['t.pt', 't.safetensors', 't.txt']", "root": text, "safetensors": tensor, "native": raw,
        "native thread": raw,
    }  # fmt: skip


@pytest.mark.parametrize(
    "way", ["symlink", "hard link", "rename", "remove", "truncate", "parent"]
)  # fmt: skip
def test_no_detour_leads_to_the_truth(guarded: dict[str, Any], run_folder: Path, way: str) -> None:
    assert guarded[f"edge {way}"].startswith("GuardRefusal: attacker may not")
    assert (run_folder / "edge" / "t.txt").read_text() == "truth"


def test_it_writes_in_its_own_folder_only(guarded: dict[str, Any], run_folder: Path) -> None:
    for where in ("beside", "edge", "granted", "room", "tmp"):
        assert guarded[f"write {where}"].startswith("GuardRefusal: attacker may not write"), where
    if KERNEL:
        assert "PermissionError" in guarded["write native"]
        assert not (run_folder / "edge" / "made.txt").exists()
    expected = {"write": "4", "read": "'mine'", "rename": "None", "tree": "None", "temporary": "True", "save": "None"}
    assert {name: guarded[f"own {name}"] for name in expected} == expected
    assert (run_folder / "own" / "renamed.txt").read_text() == "mine"


def test_the_refusal_names_path_and_grants(guarded: dict[str, Any], run_folder: Path) -> None:
    expected = (
        f"attacker may not open {run_folder / 'edge' / 't.txt'}: not granted; "
        f"granted to read: {run_folder / 'grants'}; to write: {run_folder / 'own'}"
    )
    assert guarded["edge open"] == f"GuardRefusal: {expected}"
    assert expected in guarded["attempts"]


def test_rooms_of_the_other_side_do_not_exist_for_it(guarded: dict[str, Any]) -> None:
    assert guarded["room edge"].startswith("GuardRefusal")
    assert guarded["room listing"].startswith("GuardRefusal")
    for room in ("edge", "lab.metrics"):
        assert guarded[f"import {room}"].startswith(("ModuleNotFoundError", "GuardRefusal", "PermissionError"))
    assert guarded["import victims.base"] == "'victims'"
    assert guarded["import defenses.registry"] == "'defenses'"
    assert guarded["other process"].startswith("GuardRefusal")


def test_it_runs_no_program(guarded: dict[str, Any]) -> None:
    for way in ("subprocess", "system", "exec", "fork"):
        assert guarded[f"run {way}"].startswith("GuardRefusal: attacker may not start a process"), way
    if KERNEL:
        assert guarded["run native"] == repr(127 << 8)  # system(3): the shell could not be run


def test_it_dials_granted_addresses_only(guarded: dict[str, Any], other: socket.socket) -> None:
    assert guarded["connect allowed"] == guarded["connect address"] == guarded["listen"] == "None"
    refusal = f"attacker may not connect to 127.0.0.1:{other.getsockname()[1]}: not granted; granted: localhost:"
    assert guarded["connect other"].startswith(f"GuardRefusal: {refusal}")
    assert guarded["connect datagram"].startswith(f"GuardRefusal: {refusal}")
    assert guarded["connect native allowed"] == "'connected'"
    if landlock.support().abi >= 4:
        assert "PermissionError" in guarded["connect native other"]


def test_it_goes_up_once(guarded: dict[str, Any]) -> None:
    assert guarded["twice"].startswith("RunError: guard: already installed")


def test_without_landlock_the_hook_still_refuses_python_and_the_report_says_so(run_folder: Path) -> None:
    out = finish(
        start(
            run_folder,
            """
            landlock.support = lambda: landlock.Support(0, "the kernel has no Landlock")
            report = guard.install([grants], [own])
            out["held"] = [report.landlock, report.files, report.processes, report.connect]
            out["refuses"] = report.refuses
            attempt("open", lambda: open(edge / "t.txt").read())
            attempt("os.open", lambda: os.open(edge / "t.txt", os.O_RDONLY))
            attempt("relative os.open", lambda: os.open("edge/t.txt", os.O_RDONLY))
            attempt("remove", lambda: os.remove("edge/t.txt"))
            attempt("run", lambda: os.system("true"))
            attempt("native", lambda: ctypes.CDLL(None).open(os.fsencode(edge / "t.txt"), os.O_RDONLY) >= 0)
            attempt("granted", lambda: open(grants / "t.txt").read())
            attempt("own", lambda: (own / "hook.txt").write_text("x"))
            print(json.dumps(out))
            """,
        )
    )
    assert out["held"] == ["the kernel has no Landlock", "hook", "hook", "hook"]
    assert out["refuses"] == ["other files (hook)", "programs (hook)", "other addresses (hook)"]
    for way in ("open", "os.open", "relative os.open", "remove", "run"):
        assert out[way].startswith("GuardRefusal"), way
    assert (out["granted"], out["own"]) == ("'truth'", "1")
    assert out["native"] == "True"  # why the report tells hook from kernel


def test_a_web_service_and_an_inversion_run_behind_it(run_folder: Path) -> None:
    """FastAPI under uvicorn, worker threads, and a forward pass, all imported after the guard went up."""
    process = start(
        run_folder,
        """
        guard.install([grants], [own])
        import socket, torch, uvicorn
        from fastapi import FastAPI
        app = FastAPI()

        @app.get("/sum")
        def total() -> float:  # a plain function: starlette runs it in a thread of its own
            truth = torch.load(grants / "t.pt", weights_only=True)["truth"].float()
            return float(torch.nn.functional.conv1d(truth[None, None], torch.ones(1, 1, 3)).sum())

        listening = socket.create_server(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
        """,
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert httpx.get(f"http://127.0.0.1:{port}/sum", timeout=60).json() == 3.0
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_sparse_convolutions_run_behind_it(run_folder: Path) -> None:
    pytest.importorskip("spconv")
    out = finish(
        start(
            run_folder,
            """
            guard.install([], [own])
            import torch, spconv.pytorch as spconv
            coords = torch.tensor([[0, 0, 0, i] for i in range(4)], dtype=torch.int32)
            layer = spconv.SubMConv3d(3, 5, 3, bias=False)
            torch.nn.init.ones_(layer.weight)
            sparse = spconv.SparseConvTensor(torch.ones(4, 3), coords, [4, 4, 4], 1)
            out["sums"] = layer(sparse).features.sum(1).tolist()
            print(json.dumps(out))
            """,
        )
    )
    assert out["sums"] == [30.0, 45.0, 45.0, 30.0]  # neighbours in the row x 3 channels in x 5 out


def test_grants_that_open_more_than_they_name_are_refused(tmp_path: Path) -> None:
    own = tmp_path / "run" / "attacker"
    own.mkdir(parents=True)
    with pytest.raises(InputError, match="takes in what lies beside"):
        guard.install([tmp_path / "run"], [own])
    with pytest.raises(InputError, match="put the runs elsewhere"):
        guard.install([], [Path(sys.prefix) / "lib"])
    with pytest.raises(InputError, match=r"read grant .*missing does not exist"):
        guard.install([tmp_path / "missing"], [own])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"write grant .*file is a file"):
        guard.install([], [tmp_path / "file"])


@pytest.mark.parametrize("writes", ["[own]", "[]"])  # a listener with a folder, and a worker without any
def test_an_attack_may_descend_wherever_it_may_write(run_folder: Path, writes: str) -> None:
    body = f"""
    guard.install([], {writes}, connect=[])
    import torch

    def descend():
        start = torch.ones(1, requires_grad=True)
        adam = torch.optim.Adam([start], lr=0.5)
        start.square().sum().backward()
        adam.step()
        return round(float(start), 3)

    attempt("descend", descend)
    print(json.dumps(out))
    """
    assert finish(start(run_folder, body)) == {"descend": "0.5"}
