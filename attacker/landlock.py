"""Landlock: a process gives up, for good, every file, port and signal that it did not ask to keep.

The three system calls are used directly, since no library ships them. Source: Linux
``Documentation/userspace-api/landlock.rst`` and ``include/uapi/linux/landlock.h``.

What it binds: the **calling thread** and every thread and process that it starts later. Threads that already run stay
free, so :func:`restrict` refuses to run beside them: call it before numpy or torch start theirs.

What it does not bind: descriptors that are already open, ``stat``, ``chdir`` and mode changes, mapping an open file as
code (so ``dlopen`` needs the right to read only), UDP, and Unix sockets that have a path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wire.errors import RunError

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture but alpha
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH, _RULE_NET_PORT = 1, 2
_PR_SET_NO_NEW_PRIVS = 38
_THREADS = Path("/proc/self/task")

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))
CONNECT_TCP = 1 << 1
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1 << 0, 1 << 1

READ = READ_FILE | READ_DIR
"""Read files and list folders."""

WRITE = (
    WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM | REFER | TRUNCATE
)
"""Make, change, rename and remove what lies beneath; never device nodes."""

DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV
"""Use a device node."""

_ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the rest is refused on what is no folder


class LandlockError(RunError):
    """The kernel has Landlock but a call failed; nothing is restricted then."""


@dataclass(frozen=True)
class Support:
    """What this kernel offers: ``abi`` 0 means none, and ``reason`` says why."""

    abi: int
    reason: str = ""


@dataclass(frozen=True)
class Rule:
    """``access`` (bits above) to ``path`` and all that lies beneath it; symbolic links in ``path`` are followed."""

    path: Path
    access: int


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _NetPort(ctypes.Structure):
    _fields_ = (("access", ctypes.c_uint64), ("port", ctypes.c_uint64))


def _syscall(number: int, *arguments: object) -> tuple[int, int]:
    """(result, errno) of one system call; (-1, ENOSYS) where the C library offers none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "syscall") or not os.path.isdir("/proc"):
        return -1, errno.ENOSYS
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(ctypes.c_long(number), *arguments)), ctypes.get_errno()


def support() -> Support:
    """Ask the kernel for its Landlock ABI version. Never raises, changes nothing."""
    if os.name != "posix" or os.uname().sysname != "Linux":
        return Support(0, "this is not Linux")
    version, code = _syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_CREATE_RULESET_VERSION))
    if version >= 1:
        return Support(version)
    return Support(0, explain(code))


def explain(code: int) -> str:
    """Why the kernel offers no Landlock, from the error number of the version query."""
    if code == errno.ENOSYS:
        return "the kernel has no Landlock (Linux before 5.13, or built without it)"
    if code == errno.EOPNOTSUPP:
        return "the kernel has Landlock but it is switched off at boot (lsm=)"
    if code in (errno.EPERM, errno.EACCES):
        return "Landlock's system calls are blocked here (a container's seccomp profile)"
    return f"Landlock's version query failed: {os.strerror(code)}"


def handled(abi: int, *, net: bool) -> tuple[int, int, int]:
    """The (file, network, scope) rights that a kernel of this ABI can take away; all of them are.

    ABI 1: the first thirteen file rights; 2: renaming across folders; 3: truncation; 4: TCP connect; 5: device ioctl;
    6: signals and abstract Unix sockets to processes outside. ``net`` False leaves TCP alone.
    """
    fs = (1 << 13) - 1
    fs |= REFER if abi >= 2 else 0
    fs |= TRUNCATE if abi >= 3 else 0
    fs |= IOCTL_DEV if abi >= 5 else 0
    scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if abi >= 6 else 0
    return fs, CONNECT_TCP if net and abi >= 4 else 0, scoped


def threads() -> int:
    """How many threads this process has (Linux)."""
    return len(os.listdir(_THREADS))


def restrict(rules: Iterable[Rule], *, connect: Sequence[int] | None = None) -> int:
    """Keep only what ``rules`` name, from now on and for every thread and process started later. Cannot be undone.

    connect: TCP ports that may still be dialled (ABI 4 and later, any address); None leaves TCP alone. Running another
    program needs EXECUTE; without any such rule the kernel refuses every exec.
    Returns the ABI version in force. Raises LandlockError where the kernel lacks it, where other threads already run,
    or where a rule's path cannot be opened; nothing is restricted then.
    """
    offered = support()
    if not offered.abi:
        raise LandlockError(f"landlock: {offered.reason}")
    if (running := threads()) > 1:
        raise LandlockError(
            f"landlock: {running} threads already run and would stay free; restrict before numpy or torch start theirs"
        )
    fs, net, scoped = handled(offered.abi, net=connect is not None)
    attributes = _Ruleset(fs, net, scoped)
    ruleset = _call("create_ruleset", _CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        for rule in rules:
            _add_path(ruleset, rule, fs)
        for port in connect or () if net else ():
            opened = _NetPort(CONNECT_TCP, port)
            _call(f"add_rule for port {port}", _ADD_RULE, ruleset, _RULE_NET_PORT, ctypes.byref(opened), 0)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, *(ctypes.c_ulong(value) for value in (1, 0, 0, 0))):
            raise LandlockError(f"landlock: no_new_privs failed: {os.strerror(ctypes.get_errno())}")
        _call("restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return offered.abi


def _add_path(ruleset: int, rule: Rule, fs: int) -> None:
    try:
        parent = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise LandlockError(f"landlock: {rule.path}: {error.strerror}") from error
    try:
        access = rule.access & fs
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            access &= _ON_FILES
        beneath = _PathBeneath(access, parent)
        _call(f"add_rule for {rule.path}", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(beneath), 0)
    finally:
        os.close(parent)


def _call(what: str, number: int, *arguments: object) -> int:
    wide = (ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments)
    result, code = _syscall(number, *wide)
    if result < 0:
        raise LandlockError(f"landlock: {what} failed: {os.strerror(code)}")
    return result
