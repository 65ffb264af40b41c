"""``eavesplit bench queue``: captured frames a second through the listener's queue, to threads and to processes.

The same frames, the same attack, lossless: one thread of this process, and through a real redis-server 1, 2 and more
worker processes. A cheap attack shows what the way through Redis costs, a dear one what more processes are worth. The
thread and the single process run twice, for the null comparisons. CPU time is that of the listener, the workers and
(where it is ours) the server; on a machine that does other things too it says more than frames a second.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

from attacker.attacks.base import CapturedFrame, CapturedPart, SessionInfo
from attacker.config import AttackConfig
from attacker.granting import digest, entitled, grants_of
from attacker.inverting import Inverters
from attacker.knowledge import KnowledgeCard
from attacker.queue import Entry, FrameQueue
from attacker.reconstructions import Reconstructions
from attacker.redis_address import parse
from attacker.redis_dispatcher import RedisWorkers
from attacker.worker import ThreadWorkers, Workers
from lab.bench import Bench, Comparison, Measure, check_rounds, process_cpu_s, ratio, rounds_of
from lab.bench_attack import sent
from lab.supervisor import Role
from victims.base import Progress, weights_folder
from victims.registry import victim
from wire.errors import InputError, RunError
from wire.payload import Meta

VICTIM, SPLIT = "second", "conv2.0"
SETTINGS: dict[str, Meta] = {"preset": "street", "weights": "shipped", "view": "camera", "frames_per_street": 1}
SCANS = 4
WAIT_S = 600.0
SPEED, CPU = "frames a second", "CPU time a frame"
THREAD, THREAD_AGAIN, PROCESS_AGAIN = "one thread", "one thread again", "1 process again"

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Case:
    """An attack, and how many frames of it make one measurement."""

    attack: AttackConfig
    frames: int


def cases() -> list[Case]:
    """The cheap attack and the dear one. InputError where the latter's shipped weights are absent."""
    weights = weights_folder() / f"concretizer-{SPLIT}.safetensors"
    if not weights.is_file():
        raise InputError(f"no {weights.name} in {weights.parent.name}/; train it: eavesplit train concretizer")
    public: dict[str, bool | int | float | str | list[int] | list[float]] = {"preset": "street"}
    return [
        Case(AttackConfig(name="coordinates", settings=public), 60),
        Case(AttackConfig(name="concretizer", settings=public, files={"inverter": weights}), 6),
    ]


def bench_queue(
    rounds: int, progress: Progress, *, workers: int = 2, redis: str = "", of: Sequence[Case] | None = None
) -> Bench:
    """Measure with 1 to ``workers`` processes (1, 2 and the largest), on ``redis`` or a server of our own.

    InputError where there is neither a server nor the program, or nothing to invert with.
    """
    check_rounds(rounds)
    chosen = cases() if of is None else of
    counts = sorted({1, min(2, workers), workers})
    comparisons: list[Comparison] = []
    facts: list[tuple[str, str]] = []
    details: dict[str, object] = {"victim": VICTIM, "split": SPLIT, "settings": SETTINGS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eavesplit-")))
        url, server = (redis, None) if redis else stack.enter_context(own_server(folder))
        frames = _frames()
        facts.append(("payload of a frame (bytes)", f"{median(_size(frame) for frame in frames):,.0f}"))
        for step, case in enumerate(chosen):

            def on_round(done: float, total: float, note: str = "", step: int = step) -> None:
                progress(step + done / total, len(chosen), note)

            with Field(case, frames, url, server, counts, folder / str(step)) as field:
                measured = rounds_of(field.contenders(), rounds, on_round, case.attack.row)
            comparisons += _compared(case, measured, counts)
            for name, rows in measured.items():
                facts.append((f"{case.attack.row}, {name} ({SPEED})", _spread([row[SPEED] for row in rows])))
                facts.append((f"{case.attack.row}, {name} (CPU-ms a frame)", _spread([row[CPU] for row in rows])))
            details[case.attack.row] = {"frames": case.frames, "rounds": measured}
    return Bench("queue", comparisons, facts, (), details)


class Field:
    """Everybody who inverts one case: threads of this process, and worker processes under a prefix for each number."""

    def __init__(
        self,
        case: Case,
        frames: Sequence[CapturedFrame],
        url: str,
        server: int | None,
        counts: Sequence[int],
        folder: Path,
    ) -> None:
        self._case, self._frames, self._server, self._folder = case, frames, server, folder
        self._address, self._counts = parse(url, "--redis"), counts
        self._card = KnowledgeCard("wire", "white")
        self._attacks = entitled([case.attack], self._card)
        self._roles: dict[int, list[Role]] = {}
        self._prefix = f"eavesplit:bench:{os.getpid()}:{case.attack.row}"
        self._measured = 0

    def __enter__(self) -> Field:
        config = {
            "redis": self._address.shown,
            "control": "127.0.0.1:0",
            "attacks": [self._case.attack.model_dump()],
            "knowledge": self._card.to_dict(),
        }
        for count in self._counts:
            own = {**config, "redis_prefix": f"{self._prefix}:{count}"}
            self._roles[count] = [
                Role(f"worker-{count}-{number}", "attacker.work", own, self._folder, restart=False)
                for number in range(count)
            ]
        try:
            for role in self._everybody():
                role.start()
            for role in self._everybody():
                role.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for role in self._everybody():
            role.stop()

    def _everybody(self) -> list[Role]:
        return [role for roles in self._roles.values() for role in roles]

    def contenders(self) -> Mapping[str, Measure]:
        """Each gives :data:`SPEED` and :data:`CPU`, in milliseconds."""
        found: dict[str, Measure] = {name: partial(self._measure, None) for name in (THREAD, THREAD_AGAIN)}
        found[PROCESS_AGAIN] = partial(self._measure, 1)
        return found | {processes(count): partial(self._measure, count) for count in self._counts}

    def _measure(self, count: int | None) -> Mapping[str, float]:
        self._measured += 1
        needs = {name: attack.needs for name, attack in self._attacks.items()}
        queue = FrameQueue(needs, "lossless", 8)
        store = Reconstructions(self._folder / f"made-{self._measured}", 1 << 30)
        workers = self._workers(count, queue, store)
        info = SessionInfo("be" * 16, VICTIM, SPLIT, "", ())
        workers.know(info)
        workers.start()
        try:
            warm = 2 * (count or 1)  # an inverter is opened for its first frame
            self._put(queue, info, range(warm))
            begin, used = time.perf_counter(), self._cpu_s(count)
            self._put(queue, info, range(warm, warm + self._case.frames))
            spent, used = time.perf_counter() - begin, self._cpu_s(count) - used
            queue.close(drain=True)
            if not workers.join(WAIT_S) or store.count != warm + self._case.frames:
                raise RunError(f"{store.count} of {warm + self._case.frames} frames came back: {workers.state()}")
        finally:
            queue.close(drain=False)
            store.close()
            shutil.rmtree(self._folder / f"made-{self._measured}")
        return {SPEED: self._case.frames / spent, CPU: used / self._case.frames * 1e3}

    def _cpu_s(self, count: int | None) -> float:
        """Of every process that takes part."""
        pids = [os.getpid(), *(role.pid for role in self._roles.get(count or 0, ()))]
        if count is not None and self._server is not None:
            pids.append(self._server)
        return sum(process_cpu_s(pid) for pid in pids)

    def _workers(self, count: int | None, queue: FrameQueue, store: Reconstructions) -> Workers:
        wanted = self._case.attack
        if count is None:
            grants = {wanted.row: grants_of(wanted, self._card, device="cpu", seed=0)}
            return ThreadWorkers(1, queue, Inverters(self._attacks, grants), store)
        attacks = {wanted.row: (False, digest(wanted, self._card, 0))}
        where = self._address, f"{self._prefix}:{count}"
        return RedisWorkers(*where, queue, store, attacks, frames=4 * count, claim_s=10.0, deliveries=3)

    def _put(self, queue: FrameQueue, info: SessionInfo, numbers: range) -> None:
        """Queue these frames, and wait until all that was queued is done."""
        for number in numbers:
            frame = replace(self._frames[number % len(self._frames)], session=info.session, frame=number)
            queue.put(Entry(frame, time.monotonic_ns()))
        deadline = time.monotonic() + WAIT_S
        while any(count.waiting or count.working for count in queue.counts().values()):
            if time.monotonic() > deadline:
                raise RunError(f"frames are not inverted within {WAIT_S:.0f} s")
            time.sleep(0.001)


@contextmanager
def own_server(folder: Path) -> Iterator[tuple[str, int]]:
    """A redis-server that keeps nothing, on a free port: its URL and process. InputError without the program."""
    program = shutil.which("redis-server")
    if program is None:
        raise InputError("redis-server is not installed: install it (Debian: redis-server), or give --redis URL")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    log = (folder / "redis.log").open("wb")
    with log, subprocess.Popen(words, cwd=folder, stdout=log, preexec_fn=_die_with_parent) as server:
        try:
            _answers(port, server)
            yield f"redis://127.0.0.1:{port}", server.pid
        finally:
            server.terminate()


def _die_with_parent() -> None:
    _LIBC.prctl(1, signal.SIGTERM)


def _answers(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"redis-server did not come up on port {port}: {error.strerror}") from error
            time.sleep(0.02)


def processes(count: int) -> str:
    """What so many worker processes are called."""
    return f"{count} process{'es' if count > 1 else ''}"


def _frames() -> list[CapturedFrame]:
    """What the victim's head sends of the first scans of the procedural street."""
    chosen = victim(VICTIM)
    head = chosen.cut(SPLIT, SETTINGS).head()
    frames = []
    for number, sample in enumerate(islice(chosen.samples("procedural", {**SETTINGS, "seed": 0}), SCANS)):
        parts = sent(head, sample)
        heard = tuple(CapturedPart("up", 0, n, len(parts), payload, 0, 0) for n, payload in enumerate(parts))
        frames.append(CapturedFrame("", 0, number, heard))
    return frames


def _size(frame: CapturedFrame) -> int:
    return sum(part.payload.nbytes for part in frame.parts)


def _compared(
    case: Case, found: Mapping[str, Sequence[Mapping[str, float]]], counts: Sequence[int]
) -> list[Comparison]:
    lines = []
    for what in (SPEED, CPU):
        own = ratio(found, PROCESS_AGAIN, processes(1), what)
        # a ratio of processes to a thread carries the noise of both
        wider = max(own, ratio(found, THREAD_AGAIN, THREAD, what), key=lambda null: null.spread)
        pairs = [(processes(count), THREAD, wider) for count in counts]
        pairs += [(processes(count), processes(1), own) for count in counts if count > 1]
        lines += [Comparison(case.attack.row, a, b, what, ratio(found, a, b, what), null) for a, b, null in pairs]
    return lines


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"
