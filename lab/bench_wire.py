"""``eavesplit bench wire``: what the protocol, the link and the mirror cost over a bare gRPC stream.

Contenders, each a pair of processes of its own: ``ceiling`` (ready-made bytes, identity serialisers, the receiver drops
them), ``ceiling again`` (the same, for the null comparison), ``protocol`` (session, headers, credit, reply, ack),
``protocol + link`` and ``protocol + link + mirror``. CPU counts both ends; the link's own is told apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from lab import link_probe
from lab.bench import Bench, Comparison, Ratio, check_rounds, process_cpu_s, process_faults, ratio, rounds_of
from victims.base import Progress
from wire.errors import RunError

SIZES_MB = (1, 4, 16)
PAGE_BYTES = 4096
LINK_RATES_MBPS = (8.0, 80.0, 800.0)
"""1, 10 and 100 MB/s: the rates that the link is promised to keep within 5 %."""

GATE_MB, GATE_WALL, GATE_CPU, GATE_FAULTS, GATE_SPREAD = 16, 0.6, 1.6, 0.1, 0.30
"""At 16 MB: at least 0.6 of the ceiling's speed, at most 1.6 of its CPU, at most 0.1 faults a page; no verdict when the
null comparison spreads by more than 30 %."""

CEILING, AGAIN, PROTOCOL = "ceiling", "ceiling again", "protocol"
LINKED, MIRRORED = "protocol + link", "protocol + link + mirror"


def bench_wire(
    rounds: int, progress: Progress, *, megabytes: int = 64, sizes_mb: Sequence[int] = SIZES_MB, link: bool = True
) -> Bench:
    """Measure. megabytes: moved by each contender in each round. link: probe the link's rates as well.

    InputError for too few rounds; RunError when an end does not come up.
    """
    check_rounds(rounds)
    comparisons: list[Comparison] = []
    facts: list[tuple[str, str]] = []
    gates: list[str] = []
    details: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fields = {
            name: stack.enter_context(Contender(kind, Path(folder), link=linked, mirror=mirrored))
            for name, kind, linked, mirrored in (
                (CEILING, "ceiling", False, False),
                (AGAIN, "ceiling", False, False),
                (PROTOCOL, "protocol", False, False),
                (LINKED, "protocol", True, False),
                (MIRRORED, "protocol", True, True),
            )
        }
        for step, size in enumerate(sizes_mb):
            frames = max(1, megabytes // size)

            def on_round(done: float, total: float, note: str = "", step: int = step) -> None:
                progress(step + done / total, len(sizes_mb) + link, note)

            measures = {name: _Run(contender, size << 20, frames) for name, contender in fields.items()}
            found = rounds_of(measures, rounds, on_round, f"{size} MB")
            details[f"{size} MB"] = found
            comparisons += _compared(f"{size} MB", found)
            facts += _facts(f"{size} MB", found)
            if size == GATE_MB:
                gates += _gates(found)
        if link:
            gates += [_link_rate(rate, Path(folder)) for rate in LINK_RATES_MBPS]
            progress(len(sizes_mb) + 1, len(sizes_mb) + 1, "link rates")
    return Bench("wire", comparisons, facts, gates, details)


class Contender:
    """Two ends in processes of their own, with a link and a sink between them where asked for."""

    def __init__(self, kind: str, folder: Path, *, link: bool, mirror: bool) -> None:
        self._kind, self._folder, self._link, self._mirror = kind, folder, link, mirror
        self._processes: list[subprocess.Popen[str]] = []
        self.relay: subprocess.Popen[str] | None = None

    def __enter__(self) -> Contender:
        try:
            self.server, port = self._server(f"{self._kind}-server")
            if self._link:
                port = self._start_link(port)
            self.client = self._start("lab.bench_ends", f"{self._kind}-client", f"127.0.0.1:{port}")
            _said(self.client)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(self, nbytes: int, frames: int) -> float:
        """Move so many frames of so many bytes; seconds."""
        stdin = self.client.stdin
        if stdin is None:
            raise RunError("the client of a contender has no standard input")
        stdin.write(f"{nbytes} {frames}\n")
        stdin.flush()
        return float(_said(self.client))

    def _start_link(self, port: int) -> int:
        arguments = ["--forward", f"127.0.0.1:{port}"]
        if self._mirror:
            _, sink = self._server("sink")
            spool = self._folder / f"spool-{sink}.ring"
            arguments += ["--mirror", f"127.0.0.1:{sink}", "--spool", str(spool), "--spool-mb", "64"]
        self.relay = self._start("wire.relay", *arguments)
        return int(json.loads(_said(self.relay))["port"])

    def _server(self, kind: str) -> tuple[subprocess.Popen[str], int]:
        process = self._start("lab.bench_ends", kind)
        return process, int(_said(process))

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        return process

    def _stop(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.communicate()


def _said(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        raise RunError(f"an end of the bench is gone: {' '.join(map(str, process.args[1:]))}")  # type: ignore[index]
    return line


class _Run:
    """One contender at one size, as :data:`lab.bench.Measure`."""

    def __init__(self, contender: Contender, nbytes: int, frames: int) -> None:
        self._contender, self._nbytes, self._frames = contender, nbytes, frames

    def __call__(self) -> Mapping[str, float]:
        contender = self._contender
        ends, relay = (contender.client.pid, contender.server.pid), contender.relay
        before = [process_cpu_s(pid) for pid in ends]
        relay_before = process_cpu_s(relay.pid) if relay else 0.0
        faults = process_faults(contender.server.pid)
        wall = contender.run(self._nbytes, self._frames)
        moved = self._nbytes * self._frames
        return {
            "wall_s": wall,
            "cpu_s": sum(process_cpu_s(pid) for pid in ends) - sum(before),
            "faults_per_page": (process_faults(contender.server.pid) - faults) / (moved / PAGE_BYTES),
            "relay_cpu_s_per_gb": (process_cpu_s(relay.pid) - relay_before) / (moved / 1e9) if relay else 0.0,
        }


Rounds = Mapping[str, Sequence[Mapping[str, float]]]


def _speed(found: Rounds, ours: str, theirs: str) -> Ratio:
    """Speeds, not times: below 1 is slower, as for a share of the ceiling."""
    return ratio(found, theirs, ours, "wall_s")


def _compared(case: str, found: Rounds) -> list[Comparison]:
    pairs = [(PROTOCOL, CEILING), (LINKED, CEILING), (LINKED, PROTOCOL), (MIRRORED, CEILING), (MIRRORED, LINKED)]
    null_speed, null_cpu = _speed(found, AGAIN, CEILING), ratio(found, AGAIN, CEILING, "cpu_s")
    lines = []
    for ours, theirs in pairs:
        lines.append(Comparison(case, ours, theirs, "speed", _speed(found, ours, theirs), null_speed))
        lines.append(Comparison(case, ours, theirs, "CPU of both ends", ratio(found, ours, theirs, "cpu_s"), null_cpu))
    return lines


def _facts(case: str, found: Rounds) -> list[tuple[str, str]]:
    told = [(name, "page faults of the receiver per 4 KiB", "faults_per_page") for name in (CEILING, PROTOCOL)]
    told += [(name, "CPU of the link (s/GB)", "relay_cpu_s_per_gb") for name in (LINKED, MIRRORED)]
    return [(f"{case}, {name}: {title}", _spread(found[name], quantity)) for name, title, quantity in told]


def _spread(rows: Sequence[Mapping[str, float]], quantity: str) -> str:
    values = [row[quantity] for row in rows]
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _gates(found: Rounds) -> list[str]:
    lines = []
    for title, ours, null, limit, least in (
        ("speed", _speed(found, PROTOCOL, CEILING), _speed(found, AGAIN, CEILING), GATE_WALL, True),
        ("CPU", ratio(found, PROTOCOL, CEILING, "cpu_s"), ratio(found, AGAIN, CEILING, "cpu_s"), GATE_CPU, False),
    ):
        held = ours.median >= limit if least else ours.median <= limit
        rule = f"whole protocol at {GATE_MB} MB: {title} {'at least' if least else 'at most'} {limit} of the ceiling"
        lines.append(f"{rule}: {judged(held, null, f'{ours.median:.2f}')}")
    faults = median([row["faults_per_page"] for row in found[PROTOCOL]])
    held = faults <= GATE_FAULTS
    rule = f"page faults of the receiver at {GATE_MB} MB: at most {GATE_FAULTS} per 4 KiB"
    lines.append(f"{rule}: {'held' if held else 'NOT HELD'} ({faults:.2f})")
    return lines


def judged(held: bool, null: Ratio, figure: str) -> str:
    """``held (0.79)``; no verdict when same against same spreads too far for one."""
    if null.spread > GATE_SPREAD:
        return f"no verdict ({figure}): same against same spreads by {null.spread:.0%}, more than {GATE_SPREAD:.0%}"
    return f"{'held' if held else 'NOT HELD'} ({figure})"


def _link_rate(rate_mbps: float, folder: Path) -> str:
    measured = link_probe.measure({"rate_mbps": rate_mbps}, 0, folder)
    got = [measured["measured"][name]["rate_mbps"] for name in ("up", "down")]
    held = not any("rate" in text for text in measured["out_of_band"])
    shown = " and ".join("not measured" if value is None else f"{value:.4g}" for value in got)
    return f"link at {rate_mbps:g} Mbit/s within 5 %: {'held' if held else 'NOT HELD'} ({shown} up and down)"
