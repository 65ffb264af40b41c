"""The listener's cage, put up before it loads anything: it opens what its knowledge card grants, and nothing else.

Two layers. **Landlock** (:mod:`attacker.landlock`) holds in the kernel, hence also for native code (torch, safetensors,
gRPC), which opens files without telling Python. An **audit hook** beside it names the path that was refused and what is
granted, and is all there is where the kernel has no Landlock; code that means harm can get round a hook, so the
:class:`GuardReport` says which layer held and every report prints it.

What may be read: the interpreter and its packages, system libraries and tables, and the rooms ``attacker``,
``victims``, ``defenses`` and ``wire``, as source; never ``edge``, ``cloud``, ``lab``, ``weights`` or ``runs`` (a
white-box listener is granted the victim's weights by path). What may be written: the given folders. No program can be
run. Nothing can be dialled but the given addresses: by port in the kernel, by host and port in the hook; compose's
networks do the rest.
"""

from __future__ import annotations

import errno
import importlib
import os
import site
import socket
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from attacker import landlock
from wire.errors import EavesplitError, InputError, RunError

Layer = Literal["kernel", "hook", "open"]

ROOMS = ("attacker", "victims", "defenses", "wire")

_SYSTEM = (
    "/usr", "/lib", "/lib32", "/lib64", "/nix/store",
    "/etc/ld.so.cache", "/etc/localtime", "/etc/timezone", "/etc/ssl", "/etc/mime.types", "/etc/os-release",
    "/etc/hosts", "/etc/host.conf", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services",
    "/etc/protocols", "/etc/passwd", "/etc/group",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/version",
    "/proc/filesystems", "/proc/devices", "/proc/modules", "/proc/driver/nvidia", "/proc/sys/kernel", "/proc/sys/vm",
    "/sys/devices", "/sys/fs/cgroup", "/sys/bus/pci", "/sys/class", "/sys/module", "/sys/kernel/mm",
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
_DEVICES = ("/dev/null", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")

_PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"}
)
_CHANGES = {
    "os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,), "os.remove": (0,), "os.rmdir": (0,), "os.mkdir": (0,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "os.utime": (0,), "os.setxattr": (0,),
    "os.removexattr": (0,), "sqlite3.connect": (0,),
}  # fmt: skip
"""Audit event -> which of its arguments are paths that would change."""

_REMEMBERED = 100


class GuardRefusal(EavesplitError, PermissionError):
    """The listener tried something that its card does not grant. The text names it and what is granted."""


@dataclass(frozen=True)
class GuardReport:
    """Which protection held. Goes into the knowledge card and every report.

    landlock: ``abi N``, or why there is none. files, processes, connect: the layer that enforces each (``kernel`` also
    binds native code, ``hook`` Python only, ``open`` nothing). read, write, addresses: what was granted.
    """

    landlock: str
    audit_hook: bool
    files: Layer
    processes: Layer
    connect: Layer
    read: tuple[str, ...]
    write: tuple[str, ...]
    addresses: tuple[str, ...] = ()

    @property
    def refuses(self) -> tuple[str, ...]:
        """One phrase for each thing that is refused, with the layer that refuses it."""
        names = {"other files": self.files, "programs": self.processes, "other addresses": self.connect}
        return tuple(f"{name} ({layer})" for name, layer in names.items() if layer != "open")


_installed: list[GuardReport] = []
_refused: deque[str] = deque(maxlen=_REMEMBERED)


def attempts() -> tuple[str, ...]:
    """The last hundred refusals of the audit hook, oldest first; what the kernel refuses to native code is not seen."""
    return tuple(_refused)


def install(
    read: Sequence[Path], write: Sequence[Path], *, connect: Sequence[tuple[str, int]] | None = ()
) -> GuardReport:
    """Put up both layers, for this process and all that it starts. Once, irrevocably, before any thread runs.

    read: granted files and folders. write: the listener's own folders (made by the caller; temporary files go to the
    first). connect: addresses that may be dialled, such as a queue's; None leaves connecting alone.
    Raises InputError for a path that does not exist or a grant that would open more than it names, and RunError where
    the guard is up already or other threads run.
    """
    if _installed:
        raise RunError("guard: already installed in this process; it cannot be changed")
    reads, writes = [_existing(path, "read") for path in read], [_existing(path, "write") for path in write]
    system = _system()
    _check(reads, writes, system)
    for room in ROOMS:  # its folder is then known, and the folder above it, where runs may lie, need not be listed
        importlib.import_module(room)
    sys.dont_write_bytecode = True
    if writes:
        os.environ["TMPDIR"] = str(writes[0])
    else:
        # torch's optimisers import its compiler, which asks for a folder of its own at once: here it never writes there
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = sys.prefix

    offered = landlock.support()
    if offered.abi:
        rules = [landlock.Rule(path, landlock.READ) for path in [*system, *reads]]
        rules += [landlock.Rule(path, landlock.READ | landlock.WRITE) for path in writes]
        rules += [landlock.Rule(path, landlock.DEVICE) for path in _devices()]
        landlock.restrict(rules, connect=None if connect is None else [port for _, port in connect])
    reading = tuple(str(path) for path in [*system, *reads, *writes, *_devices()])
    writing = tuple(str(path) for path in [*writes, *_devices()])
    report = GuardReport(
        landlock=f"abi {offered.abi}" if offered.abi else offered.reason,
        audit_hook=True,
        files="kernel" if offered.abi else "hook",
        processes="kernel" if offered.abi else "hook",
        connect="open" if connect is None else "kernel" if offered.abi >= 4 else "hook",
        read=tuple(map(str, reads)),
        write=tuple(map(str, writes)),
        addresses=tuple(f"{host}:{port}" for host, port in connect or ()),
    )
    sys.addaudithook(_Hook(report, reading, writing, connect, kernel=bool(offered.abi)))
    _installed.append(report)
    return report


class _Hook:
    """The audit hook: called by the interpreter, in every thread, before it acts."""

    def __init__(
        self,
        report: GuardReport,
        reading: tuple[str, ...],
        writing: tuple[str, ...],
        connect: Sequence[tuple[str, int]] | None,
        *,
        kernel: bool,
    ) -> None:
        self._report, self._reading, self._writing, self._kernel = report, reading, writing, kernel
        self._addresses = connect
        self._handlers: dict[str, Callable[[tuple[Any, ...]], None]] = {
            "open": self._open,
            "os.listdir": self._list,
            "os.scandir": self._list,
            "ctypes.dlopen": self._library,
            "socket.connect": self._connect,
            "socket.sendto": self._connect,
            "socket.sendmsg": self._connect,
        }

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        handler = self._handlers.get(event)
        if handler is not None:
            handler(arguments)
        elif event in _CHANGES:
            for index in _CHANGES[event]:
                self._path("change", arguments[index], self._writing, anchored=False)
        elif event in _PROCESSES:
            self._refuse(f"attacker may not start a process ({event}): never granted")

    def _open(self, arguments: tuple[Any, ...]) -> None:
        path, mode, flags = arguments
        writes = bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND))
        # os.open has no mode and does not tell its dir_fd, so a relative name may belong to any folder.
        anchored = mode is not None
        self._path("write" if writes else "open", path, self._writing if writes else self._reading, anchored=anchored)

    def _list(self, arguments: tuple[Any, ...]) -> None:
        self._path("list", "." if arguments[0] is None else arguments[0], self._reading, anchored=True)

    def _library(self, arguments: tuple[Any, ...]) -> None:
        name = arguments[0]
        if isinstance(name, str | bytes) and os.path.dirname(name):
            self._path("load", name, self._reading, anchored=True)

    def _path(self, verb: str, path: Any, roots: tuple[str, ...], *, anchored: bool) -> None:
        """Refuse what lies under none of ``roots``. Open descriptors pass; so does a relative name that may not belong
        to the working folder, where the kernel judges it after us."""
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.fsdecode(path)
        if self._kernel and not anchored and not os.path.isabs(name):
            return
        real = os.path.realpath(name)
        if not any(real == root or real.startswith(root.rstrip("/") + "/") for root in roots):
            granted = f"to read: {_names(self._report.read)}; to write: {_names(self._report.write)}"
            self._refuse(f"attacker may not {verb} {name}: not granted; granted {granted}")

    def _connect(self, arguments: tuple[Any, ...]) -> None:
        address = arguments[1]
        if self._addresses is None or address is None or self._granted(address):
            return
        shown = f"{address[0]}:{address[1]}" if isinstance(address, tuple) else repr(address)
        self._refuse(f"attacker may not connect to {shown}: not granted; granted: {_names(self._report.addresses)}")

    def _granted(self, address: Any) -> bool:
        if not isinstance(address, tuple):
            return False
        host, port = address[:2]
        wanted = [name for name, granted in self._addresses or () if granted == port]
        return host in wanted or any(host in _resolved(name, port) for name in wanted)

    def _refuse(self, text: str) -> None:
        _refused.append(text)
        refusal = GuardRefusal(text)
        refusal.errno = errno.EACCES  # libraries look at the number
        raise refusal


def _names(values: Sequence[str]) -> str:
    return ", ".join(values) or "none"


def _resolved(host: str, port: int) -> set[str]:
    """The addresses of a granted host now; a container that came up again may have a new one."""
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _existing(path: Path, kind: str) -> Path:
    real = Path(os.path.realpath(path))
    if not real.exists():
        raise InputError(f"guard: {kind} grant {path} does not exist")
    if kind == "write" and not real.is_dir():
        raise InputError(f"guard: write grant {path} is a file; accepted: a folder")
    return real


def _system() -> list[Path]:
    """What any Python program reads: interpreter, packages, system libraries and tables, and the listener's rooms."""
    project = Path(__file__).resolve().parent.parent
    folders = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    folders += [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    folders += site.getsitepackages()
    folders += [str(project / room) for room in ROOMS]
    found = {os.path.realpath(folder): None for folder in [*folders, *_SYSTEM] if os.path.exists(folder)}
    return [Path(folder) for folder in found]


def _devices() -> list[Path]:
    graphics = [str(path) for path in Path("/dev").glob("nvidia[0-9]*")] if os.path.isdir("/dev") else []
    return [Path(name) for name in [*_DEVICES, *graphics] if os.path.exists(name)]


def _check(reads: Sequence[Path], writes: Sequence[Path], system: Sequence[Path]) -> None:
    """A run folder must not lie where everything can be read, nor a grant take in the run folder's neighbours."""
    for own in writes:
        for root in system:
            if own.is_relative_to(root):
                raise InputError(
                    f"guard: {own} lies in {root}, which the listener may read whole, its neighbours included; "
                    "put the runs elsewhere"
                )
        for grant in reads:
            if own != grant and own.is_relative_to(grant):
                raise InputError(f"guard: read grant {grant} takes in what lies beside {own}; grant the files by name")
