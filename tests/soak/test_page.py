"""The live page for minutes and hours: the browser's memory stays flat, and the disk stays within what is stated.

Figures are printed (``pytest -s``). The short versions of both belong to the suite.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import CDPSession, Page
from scipy import stats

from attacker.knowledge import KnowledgeCard
from lab.browser import browser
from lab.live import Live
from lab.stream import AttackChoice, StreamSettings

WARM_FRAMES = 260
"""Until the curves' window of 240 frames is full."""

HEAP_S = float(os.environ.get("EAVESPLIT_SOAK_HEAP_S", 600.0))
DISK_S = float(os.environ.get("EAVESPLIT_SOAK_DISK_S", 3600.0))
LOOK_S = 10.0
LOOKS = 5
FLAT_MB_PER_MIN = 0.1
"""The whole interval of the slope must lie below: a page that leaked one frame's pictures would gain ten times that."""


def cut(split: str, record_gb: float = 0.25) -> StreamSettings:
    """The demo with the attack that costs nothing: the page gets a reconstruction of every frame."""
    return StreamSettings(
        victim="second",
        split=split,
        victim_settings={"preset": "near", "weights": "shipped", "view": "camera"},
        attacks=[AttackChoice("coordinates")],
        knowledge=KnowledgeCard(),
        seed=3,
        defense="feature_centric",
        defense_settings={"strength": 0.0},
        record_gb=record_gb,
    )


@contextmanager
def running(live: Live) -> Iterator[Live]:
    with live:
        thread = threading.Thread(target=live.run)
        thread.start()
        try:
            yield live
        finally:
            live.end()
            thread.join()


def on_disk(folder: Path) -> int:
    """Bytes that a folder occupies, as ``du`` counts them."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:  # its writer deleted it meanwhile
            continue
    return total


def visited(page: Page, address: str) -> CDPSession:
    page.set_default_timeout(120_000)
    page.goto(address, wait_until="commit")
    page.wait_for_function("() => document.body?.dataset.score")
    return page.context.new_cdp_session(page)


def heap_mb(session: CDPSession) -> float:
    """What the page's scripts hold after a full collection, in 10^6 bytes: the least of some looks, since pictures that
    have just come hold more for a moment."""

    def look() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6

    return min(look() for _ in range(LOOKS))


@pytest.mark.soak
def test_the_browsers_memory_is_flat_over_ten_minutes(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("chromium")
    with running(Live("conv3.0", cut, tmp_path)) as live, browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 2000}, bypass_csp=True)  # all curves in sight
        session = visited(page, live.address)
        shown = "Number(document.getElementById('truth').dataset.frame)"
        page.wait_for_function(f"() => {shown} > {WARM_FRAMES}", timeout=1e6)
        minutes, heap = [], []
        begin = time.monotonic()
        while (at := time.monotonic() - begin) < HEAP_S:
            minutes.append(at / 60)
            heap.append(heap_mb(session))
            page.wait_for_timeout(1e3 * LOOK_S)
        frames = int(page.evaluate(f"() => {shown}"))
    fit = stats.linregress(minutes, heap)
    half = float(stats.t.ppf(0.975, len(heap) - 2)) * fit.stderr
    print(
        f"\nheap after collection: {heap[0]:.1f} MB at first, {heap[-1]:.1f} MB after {minutes[-1]:.1f} min and"
        f" {frames} frames; slope {1e3 * fit.slope:+.1f} kB/min (95 %: {1e3 * (fit.slope - half):+.1f} to"
        f" {1e3 * (fit.slope + half):+.1f})"
    )
    assert fit.slope + half < FLAT_MB_PER_MIN


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_an_hour_of_demo_stays_within_the_stated_size(tmp_path: Path) -> None:
    with running(Live("conv3.0", cut, tmp_path)) as live:
        sizes, begin = [], time.monotonic()
        while time.monotonic() - begin < DISK_S:
            time.sleep(LOOK_S)
            sizes.append(on_disk(tmp_path))
        # The hour's end tells nothing new once the oldest segments go: what is left growing would be the logs.
        late = np.array(sizes[len(sizes) // 2 :])
        print(
            f"\non disk after {DISK_S / 60:.0f} min: {sizes[-1] / 1e9:.3f} GB, at most {max(sizes) / 1e9:.3f};"
            f" second half {late.min() / 1e9:.3f} to {late.max() / 1e9:.3f}; stated {live.disk_gb:.3f}"
        )
        assert max(sizes) <= live.disk_gb * 1e9


def test_the_bound_on_disk_holds_over_all_folders(tmp_path: Path) -> None:
    """The hour's short version: four megabytes for each record, of which a frame fills half."""

    def small(split: str) -> StreamSettings:
        return replace(cut(split, record_gb=0.004), rate_hz=10.0)

    with running(Live("conv4.0", small, tmp_path)) as live:
        edge, attacker = (live.roles[name] for name in ("edge", "attacker"))
        deadline = time.monotonic() + 120
        largest = 0
        while not attacker.state().get("record", {}).get("deleted_segments"):
            assert time.monotonic() < deadline, (edge.state(), attacker.state())
            largest = max(largest, on_disk(tmp_path))
            time.sleep(0.2)
        spool = (tmp_path / "roles" / "spool.ring").stat()
        assert spool.st_blocks * 512 > 60e6  # allocated whole, so that it never grows
        records = on_disk(tmp_path) - spool.st_blocks * 512
        assert 4e6 < records < 3 * 4.3e6 + 4e6  # three records, and of each at most a frame more
        assert max(largest, on_disk(tmp_path)) <= live.disk_gb * 1e9
