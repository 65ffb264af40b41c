"""The live demo in a real browser, all of it: real processes, a real Redis, a scene that stands still. A turned knob is
seen in the captured bytes, then in the picture, then in the score; and again after each of attacker, Redis and edge was
killed."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Page

from attacker.knowledge import KnowledgeCard
from lab.browser import browser
from lab.live import Live
from lab.stream import AttackChoice, StreamSettings
from victims.base import weights_folder
from victims.lidar.street import street_scan
from wire.errors import InputError

WAIT_MS = 120_000

ARM = """
() => {
  // Notes, in order, when each of the three is first seen to differ from what it is now.
  const pixels = () => document.querySelector("#reconstruction canvas").toDataURL();
  const look = { bytes: () => document.body.dataset.digest, pixels, score: () => document.body.dataset.score };
  const before = Object.fromEntries(Object.keys(look).map((key) => [key, look[key]()]));
  const armed = (window.armed = (window.armed || 0) + 1);
  window.seen = [];
  const tick = () => {
    for (const key of Object.keys(look)) if (!window.seen.includes(key) && look[key]() !== before[key]) window.seen.push(key);
    if (window.seen.length < 3 && armed === window.armed) requestAnimationFrame(tick);
  };
  tick();
}
"""  # noqa: E501
NEXT_SCORE = "after => Number(document.body.dataset.scoreFrame) > after"


class Redis:
    """A redis-server that can be killed and started again at the same port."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program, self._folder = program, folder
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port = found.getsockname()[1]
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)
        while True:
            try:
                client.ping()
                client.close()
                return
            except redis.exceptions.RedisError:
                assert self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tool: Callable[[str], str], tmp_path: Path) -> Iterator[Redis]:
    made = Redis(tool("redis-server"), tmp_path)
    yield made
    made.kill()


@pytest.fixture
def live(tool: Callable[[str], str], server: Redis, tmp_path: Path) -> Iterator[Live]:
    tool("chromium")
    scans = tmp_path / "scans"
    scans.mkdir()
    points = street_scan(3, 0, azimuth_deg=(-45.0, 45.0)).points
    points[points[:, 0] < 10].tofile(scans / "000000.bin")  # for ever the same, and little of it

    def cut(split: str) -> StreamSettings:
        if split != "conv3.0":
            raise InputError(f"split {split!r}: no stream for it")
        inverter = weights_folder() / f"concretizer-{split}.safetensors"
        return StreamSettings(
            victim="second",
            split=split,
            victim_settings={"preset": "near", "weights": "shipped", "view": "camera"},
            attacks=[AttackChoice("concretizer", files={"inverter": inverter})],
            knowledge=KnowledgeCard("wire", "white"),
            source=str(scans),
            seed=3,
            defense="feature_centric",
            defense_settings={"strength": 0.0},
            workers=1,
            redis=f"redis://127.0.0.1:{server.port}",
        )

    with Live("conv3.0", cut, tmp_path / "run") as running:
        thread = threading.Thread(target=running.run)
        thread.start()
        yield running
        running.end()
        thread.join()


def slide(page: Page, value: str) -> None:
    page.locator("#strength").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def turned(page: Page, value: str) -> list[str]:
    """What is seen to change, in order, when the noise is turned."""
    page.evaluate(ARM)
    slide(page, value)
    page.wait_for_function("() => window.seen.length === 3")
    return list(page.evaluate("() => window.seen"))


def still(page: Page, digest: str) -> None:
    """Turn the noise off and wait until what crosses is the clean scene, and what is scored too."""
    slide(page, "0")
    page.wait_for_function("d => document.body.dataset.digest === d", arg=digest)
    captured = int(page.evaluate("() => Number(document.body.dataset.captured)"))
    page.wait_for_function(NEXT_SCORE, arg=captured)


@pytest.mark.timeout(600)
def test_a_turned_knob_is_seen_in_order_also_after_each_kill(live: Live, server: Redis) -> None:
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 900}, bypass_csp=True)
        page.set_default_timeout(WAIT_MS)
        page.goto(live.address, wait_until="commit")
        page.wait_for_function("() => document.body?.dataset.score && document.querySelector('#reconstruction canvas')")
        clean = str(page.evaluate("() => document.body.dataset.digest"))
        page.evaluate(ARM)  # without a hand on the knob nothing changes
        page.wait_for_function(NEXT_SCORE, arg=2 + int(page.evaluate("() => Number(document.body.dataset.captured)")))
        assert page.evaluate("() => window.seen") == []
        assert turned(page, "0.8") == ["bytes", "pixels", "score"]
        names = page.evaluate("() => document.getElementById('processes').textContent")
        assert all(name in names for name in ("edge", "link", "cloud", "listener", "worker-0", "redis"))

        for name, kill, revive in (
            ("attacker", live.roles["attacker"].kill, None),
            ("redis", server.kill, server.start),
            ("edge", live.roles["edge"].kill, None),
        ):
            still(page, clean)
            kill()
            page.wait_for_function("n => document.getElementById('banner').textContent.includes(n)", arg=f"{name}")
            if revive is not None:
                revive()
            page.wait_for_function("() => document.getElementById('banner').hidden")
            captured = int(page.evaluate("() => Number(document.body.dataset.captured)"))
            page.wait_for_function(NEXT_SCORE, arg=captured)
            assert turned(page, "0.8") == ["bytes", "pixels", "score"], name
