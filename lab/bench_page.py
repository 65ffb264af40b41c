"""``eavesplit bench page``: how old a frame is when the live page shows it, and how soon a turned knob is seen.

The live demo and a headless browser run on two cores. In every round the attack is paused, then runs, the noise is
turned, and the link is each of the slower profiles; frames count for the phase in which they were captured. A frame is
as old as the time from the edge's own capture to the browser's drawing.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import psutil

from lab.bench import Bench, check_rounds, process_cpu_s
from lab.browser import browser
from lab.freshness import Sight, by_stage, spread
from lab.live import Live, demo_cut
from lab.studies.base import Settings
from victims.base import Progress
from wire.clock import ProbeTimes, estimate
from wire.errors import RunError
from wire.profiles import names, profile

if TYPE_CHECKING:
    from playwright.sync_api import Page

STUDY: Final = "demo-lidar"
CORES: Final = 2
FAST: Final = "lan"
PAUSED_S, RUNNING_S, SLOW_S = 10.0, 20.0, 10.0
SETTLE_S: Final = 3.0
"""After a change of what runs: what was under way then belongs to no phase."""

TURNS: Final = (1.0, 0.0, 2.0, 0.0)
"""Strengths to which the noise is turned in every round."""

LOOK_S: Final = 1.0
WAIT_S: Final = 120.0
PROBES: Final = 32

AIM_PAUSED_MS, AIM_RUNNING_MS, AIM_KNOB_MS = 300.0, 1000.0, 2000.0
"""Median with the attack paused; 95th percentile with it running; every turn of the knob."""

KNOB: Final = ("wire", "reconstruction", "scores")
"""In this order a turn must be seen: captured bytes, picture, score."""

SLIDE = """v => {
  const knob = document.getElementById("strength"), at = performance.now();
  knob.value = v; knob.dispatchEvent(new Event("input", { bubbles: true }));
  return at;
}"""


def bench_page(rounds: int, progress: Progress, *, split: str | None = None) -> Bench:
    """Measure; about 90 seconds a round.

    InputError for too few rounds or without a browser; RunError when the page shows nothing.
    """
    check_rounds(rounds)
    settings = Settings(options={"strength": 0.0}, splits=(split,) if split else ())
    first, cut = demo_cut(STUDY, settings)
    with two_cores(), tempfile.TemporaryDirectory() as folder, Live(first, cut, Path(folder)) as live:
        running = threading.Thread(target=live.run, daemon=True)
        running.start()
        with browser() as chromium:
            page = chromium.new_page(viewport={"width": 1400, "height": 900}, bypass_csp=True)
            page.goto(live.address, wait_until="commit")
            page.wait_for_function("() => document.body?.dataset.score", timeout=WAIT_S * 1e3)
            watch = Watch(live, page)
            for number in range(rounds):
                _round(watch, lambda note, n=number: progress(n, rounds, f"round {n + 1} of {rounds}: {note}"))  # type: ignore[misc]
            watch.look(SETTLE_S)
        live.end()
        running.join()
    return watch.told(rounds)


class Watch:
    """One page and the processes behind it: phases that were played, and everything that was seen of them."""

    def __init__(self, live: Live, page: Page) -> None:
        self._live, self._page = live, page
        self._origin = float(page.evaluate("() => performance.timeOrigin"))
        self.sight = Sight(estimate([self._probe() for _ in range(PROBES)]))
        self.shown = str(httpx.get(f"{live.address}state").json()["status"]["shown"])
        self.phases: dict[str, list[tuple[int, int]]] = {}
        self.used: dict[str, dict[str, float]] = {}
        self.turns: list[dict[str, float]] = []

    def play(self, name: str, seconds: float) -> None:
        """Watch for so long, as one phase."""
        self.look(SETTLE_S)
        start, before = time.monotonic_ns(), self._cpu()
        self.look(seconds)
        self.phases.setdefault(name, []).append((start, time.monotonic_ns()))
        used = self.used.setdefault(name, {})
        for key, value in self._cpu().items():
            used[key] = used.get(key, 0.0) + value - before[key]

    def turn(self, strength: float) -> None:
        """Slide the noise and wait until bytes, picture and score have changed; milliseconds from the hand's move."""
        with self._page.expect_response(lambda answer: answer.url.endswith("/settings")) as heard:
            at = float(self._page.evaluate(SLIDE, str(strength)))
        first = int(heard.value.json()["defense"]["first_frame"])
        moved_ns = round((self._origin + at) * 1e6) - self.sight.clock.offset_ns

        def seen(key: str) -> int | None:
            drawn = [d.drawn_ns for (k, frame), d in self.sight.marks.items() if k == key and frame >= first]
            return min(drawn, default=None)

        self._until(lambda: all(seen(key) for key in KNOB))
        self.turns.append({key: ((seen(key) or 0) - moved_ns) / 1e6 for key in KNOB})

    def set(self, **wish: Any) -> None:
        """Turn a knob of the page without its hand."""
        answer = httpx.patch(f"{self._live.address}settings", json=wish, timeout=30)
        if answer.status_code != 200:
            raise RunError(f"the page refused {wish}: {answer.text}")

    def look(self, seconds: float) -> None:
        """Let time go by, and collect what is kept for a while only."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._page.wait_for_timeout(1e3 * min(left, LOOK_S))
            self._collect()

    def told(self, rounds: int) -> Bench:
        """Everything, as the bench tells it."""
        frames = {name: self._frames(name) for name in self.phases}
        facts = [(name, _line(found)) for name, found in frames.items()]
        knob = {key: spread([turn[key] for turn in self.turns]) for key in KNOB}
        worst = max(turn["reconstruction"] for turn in self.turns)
        ordered = sum(turn["wire"] <= turn["reconstruction"] <= turn["scores"] for turn in self.turns)
        facts.append(("knob to captured bytes", _span(knob["wire"])))
        facts.append(("knob to changed picture", f"{_span(knob['reconstruction'])}, longest {worst:.0f} ms"))
        facts.append(("knob to changed score", _span(knob["scores"])))
        facts.append(("bytes, picture, score in this order", f"{ordered} of {len(self.turns)} turns"))
        facts += [(f"cores used, {name}", self._cores(name)) for name in (PAUSED, RUNNING)]
        facts.append(("browser's clock", f"known to {self.sight.clock.bound_ns / 1e6:.2f} ms"))
        gates = [
            _gate("attack paused, median", frames[PAUSED]["stages"], "p50", AIM_PAUSED_MS),
            _gate("attack running, 95th percentile", frames[RUNNING]["stages"], "p95", AIM_RUNNING_MS),
            f"knob to changed picture, longest: {worst:.0f} ms, aim {AIM_KNOB_MS:.0f}: {_held(worst <= AIM_KNOB_MS)}",
        ]
        used = {name: self._per_second(name) for name in self.phases}
        details = {"phases": frames, "knob": {**knob, "turns": self.turns}, "cores": used, "rounds": rounds}
        return Bench("page", [], facts, gates, details)

    def _frames(self, name: str) -> dict[str, Any]:
        """What was seen of the frames of a phase."""
        captured = [f for start, end in self.phases[name] for f in self.sight.captured_in(start, end)]
        found = [s for frame in captured if (s := self.sight.stages(frame, rebuilt=name == RUNNING)) is not None]
        sizes = [self.sight.rows[frame]["payload_bytes"] for frame in captured]
        link = profile(name if name in names() else FAST).up
        mean = sum(sizes) / len(sizes) if sizes else 0.0
        return {
            "captured": len(captured),
            "shown": len(found),
            "payload_bytes": round(mean),
            "payload_over_rate_ms": round(1e3 * mean / link.rate, 1),
            "answered_ms": spread([self.sight.rows[frame]["total"] for frame in captured]),
            "stages": by_stage(found),
        }

    def _collect(self) -> None:
        self.sight.take_marks(self._page.evaluate("() => eavesplit.shown.splice(0)"), self._origin)
        edge, attacker = (self._live.roles[name].ready["control"] for name in ("edge", "attacker"))
        rows = httpx.get(f"http://127.0.0.1:{edge}/frames", params={"after": max(self.sight.rows, default=-1)})
        self.sight.take_rows(rows.json())
        listed = httpx.get(f"http://127.0.0.1:{attacker}/reconstructions", params={"after": self._heard})
        self.sight.take_rebuilt(listed.json(), self.shown)
        self._heard = max([self._heard, *(int(entry["number"]) for entry in listed.json())])

    _heard = 0

    def _until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + WAIT_S
        while not true():
            if time.monotonic() > deadline:
                raise RunError(f"the page did not change within {WAIT_S:.0f} s of a turned knob")
            self.look(0.2)

    def _probe(self) -> ProbeTimes:
        before = time.monotonic_ns()
        there = round(1e6 * float(self._page.evaluate("() => performance.timeOrigin + performance.now()")))
        return ProbeTimes(before, there, there, time.monotonic_ns())

    def _cpu(self) -> dict[str, float]:
        """CPU seconds so far of every process, of the browser, and of the whole machine."""
        found = {name: process_cpu_s(role.pid) for name, role in self._live.roles.items()}
        tree = [p for p in psutil.Process().children(recursive=True) if "chrom" in p.name()]
        busy = psutil.cpu_times()
        machine = busy.user + busy.system + busy.nice
        return {**found, "browser": sum(_used(p) for p in tree), "bench": time.process_time(), "machine": machine}

    def _per_second(self, name: str) -> dict[str, float]:
        seconds = sum(end - start for start, end in self.phases[name]) / 1e9
        return {key: round(value / seconds, 3) for key, value in self.used[name].items()}

    def _cores(self, name: str) -> str:
        each = self._per_second(name)
        machine = each.pop("machine")
        ours = sum(each.values())
        parts = ", ".join(f"{key} {value:.2f}" for key, value in each.items())
        return f"{ours:.2f} ({parts}); others on this machine {max(0.0, machine - ours):.2f}"


PAUSED, RUNNING = "attack paused", "attack running"


def _round(watch: Watch, note: Callable[[str], None]) -> None:
    note(PAUSED)
    watch.set(listener_paused=True)
    watch.play(PAUSED, PAUSED_S)
    for name in [name for name in names() if name != FAST]:
        note(f"{PAUSED}, {name}")
        watch.set(link={"profile": name})
        watch.play(name, SLOW_S)
    watch.set(link={"profile": FAST})
    note(RUNNING)
    watch.set(listener_paused=False)
    watch.play(RUNNING, RUNNING_S)
    note("knob")
    for strength in TURNS:
        watch.turn(strength)


@contextmanager
def two_cores() -> Iterator[None]:
    """Keep this process, and what it starts, to the first :data:`CORES` cores that it may use."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:CORES])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _used(process: psutil.Process) -> float:
    try:
        return process_cpu_s(process.pid)
    except OSError:  # it has just ended
        return 0.0


def _line(found: Mapping[str, Any]) -> str:
    stages = found["stages"]
    if not stages:
        return f"none of {found['captured']} frames was shown"
    way = ", ".join(f"{name} {figures['p50']:.0f}" for name, figures in stages.items() if name != "total")
    whole = f"{_span(stages['total'])}; {found['shown']} of {found['captured']} frames shown"
    beside = f"{found['payload_bytes'] / 1e6:.2f} MB a frame, {found['payload_over_rate_ms']:.0f} ms at the link's rate"
    return f"{whole}; {beside}; medians: {way}"


def _span(figures: Mapping[str, Any]) -> str:
    if not figures["n"]:
        return "nothing"
    return f"p50 {figures['p50']:.0f} ms, p95 {figures['p95']:.0f} ms"


def _gate(title: str, stages: Mapping[str, Mapping[str, Any]], quantile: str, aim: float) -> str:
    if "total" not in stages:
        return f"{title}: nothing was shown"
    value = float(stages["total"][quantile])
    return f"{title}: {value:.0f} ms, aim {aim:.0f}: {_held(value <= aim)}"


def _held(held: bool) -> str:
    return "held" if held else "NOT HELD"
