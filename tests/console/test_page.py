"""The page in a real browser: a turned knob is seen in what was captured, in the picture, and in the score, in that
order; and a killed listener is named and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from console.pictures import packed
from victims.view import Image

WAIT_MS = 60_000
WATCH = """
() => {
  // Notes, in order, when each of the three changed for the first time after `armed` was set.
  window.seen = [];
  const marks = {};
  const pixels = () => {
    const canvas = document.querySelector("#reconstruction canvas");
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let sum = 0;
    for (let i = 0; i < data.length; i += 4)
      if (data[i + 3]) sum = (sum * 31 + data[i] + 7 * data[i + 1] + 13 * data[i + 2] + i) % 2147483647;
    return sum;
  };
  const look = { bytes: () => document.body.dataset.digest, pixels, score: () => document.body.dataset.score };
  for (const key of Object.keys(look)) marks[key] = look[key]();
  window.marks = { ...marks };
  const tick = () => {
    for (const key of Object.keys(look))
      if (!window.seen.includes(key) && look[key]() !== marks[key]) window.seen.push(key);
    if (window.seen.length < 3) requestAnimationFrame(tick);
  };
  tick();
}
"""


@pytest.fixture(scope="module")
def browser(tool: Callable[[str], str]) -> Iterator[Any]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=tool("chromium"), args=flags)
        yield found
        found.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    context = browser.new_context(bypass_csp=True, viewport={"width": 1400, "height": 900})
    made: Page = context.new_page()
    made.set_default_timeout(WAIT_MS)
    made.problems = []  # type: ignore[attr-defined]
    made.on("pageerror", lambda error: made.problems.append(str(error)))  # type: ignore[attr-defined]
    made.on("console", lambda said: made.problems.append(said.text) if said.type == "error" else None)  # type: ignore[attr-defined]
    yield made
    assert made.problems == []  # type: ignore[attr-defined]
    context.close()


def visit(page: Page, url: str) -> None:
    page.goto(url, wait_until="commit")
    page.wait_for_function("() => document.body?.dataset.score && document.querySelector('#reconstruction canvas')")


def test_its_own_security_policy_lets_the_page_work(stage: Any, browser: Any) -> None:
    stage.start()
    made = browser.new_page(viewport={"width": 1400, "height": 2000})  # Playwright's own eval is why others bypass it
    problems: list[str] = []
    made.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.goto(stage.url, wait_until="commit")
    made.locator("#reconstruction canvas").wait_for(timeout=WAIT_MS)
    made.locator("#privacy .js-line").first.wait_for(state="attached", timeout=WAIT_MS)
    assert problems == []
    made.close()


def slide(page: Page, value: str) -> None:
    page.locator("#strength").evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def in_order(page: Page) -> list[str]:
    page.wait_for_function("() => window.seen.length === 3")
    return list(page.evaluate("() => window.seen"))


def test_the_slider_changes_bytes_then_picture_then_score_also_after_a_kill(stage: Any, page: Page) -> None:
    stage.start()
    visit(page, stage.url)
    # A scene that stands still: without a hand on the knob nothing changes.
    page.evaluate(WATCH)
    frame = page.locator("#truth").get_attribute("data-frame")
    page.wait_for_function("(f) => Number(document.getElementById('truth').dataset.frame) > Number(f) + 3", arg=frame)
    assert page.evaluate("() => window.seen") == []
    slide(page, "0.8")
    assert in_order(page) == ["bytes", "pixels", "score"]
    assert stage.edge.strength == 0.8

    stage.kill_listener()
    page.wait_for_function(
        "() => document.getElementById('banner').textContent.includes('listener (attacker) is down')"
    )
    stage.revive_listener()
    page.wait_for_function("() => document.getElementById('banner').hidden")
    page.evaluate(WATCH)
    slide(page, "2")
    assert in_order(page) == ["bytes", "pixels", "score"]


def test_a_refusal_is_one_line_on_the_page_and_goes_with_the_next_wish(stage: Any, page: Page) -> None:
    stage.start()
    visit(page, stage.url)
    number = page.locator("#strength-number")
    number.fill("11")
    number.press("Enter")
    page.wait_for_function("() => document.getElementById('refusal').textContent.includes('from 0 to 10')")
    assert stage.edge.strength == 0.0
    number.fill("1")
    number.press("Enter")
    page.wait_for_function("() => document.getElementById('refusal').textContent === ''")
    assert stage.edge.strength == 1.0
    page.problems.clear()  # type: ignore[attr-defined]  # the browser's own note of the 422


def test_keys_pause_and_step_and_turn_the_cloud(stage: Any, page: Page) -> None:
    stage.start()
    visit(page, stage.url)
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('pause').getAttribute('aria-pressed') === 'true'")
    assert stage.edge.paused
    shot = "() => document.querySelector('#truth canvas').toDataURL()"
    page.locator("#truth").focus()
    before = page.evaluate(shot)
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"(b) => ({shot})() !== b", arg=before)
    page.keyboard.press("0")
    page.wait_for_function(f"(b) => ({shot})() === b", arg=before)
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('pause').getAttribute('aria-pressed') === 'false'")
    assert not stage.edge.paused


def test_two_pages_show_the_same_knob(stage: Any, browser: Any, page: Page) -> None:
    stage.start()
    visit(page, stage.url)
    other = browser.new_page(bypass_csp=True)
    visit(other, stage.url)
    slide(other, "1.5")
    page.wait_for_function("() => document.getElementById('strength').value === '1.5'")
    assert httpx.get(f"{stage.url}/state").json()["status"]["pages"] == 2
    other.close()


def test_further_pictures_stand_beside_and_go_when_they_are_no_more(stage: Any, page: Page) -> None:
    stage.start()
    visit(page, stage.url)
    grey = {
        level: packed(Image(np.full((4, 4, 3), level, np.uint8)), None, 1, np.random.default_rng(0))
        for level in (90, 200)
    }
    items = [
        {"name": "owner", "frame": 5, "picture": grey[90]},
        {"name": "untrained-surrogate", "frame": 4, "picture": grey[200]},
    ]
    stage.console.hub.publish("beside", {"items": items})
    figures = page.locator("[data-beside]")
    expect(figures.locator("img")).to_have_count(2)
    assert figures.locator("b").all_inner_texts() == ["What its owner gets", "What knows nothing"]
    assert figures.locator("small").all_inner_texts() == ["frame 5", "frame 4 · untrained-surrogate"]
    boxes = [page.locator(f).bounding_box() for f in ("#truth", "[data-beside=owner] img")]
    assert boxes[0] and boxes[1] and boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)
    stage.console.hub.publish("beside", {"items": [{**items[0], "frame": 6}]})
    expect(figures).to_have_count(1)
    expect(figures.locator("small")).to_have_text("frame 6")


def test_the_page_says_when_it_hears_nothing_and_goes_on_by_itself(stage: Any, page: Page) -> None:
    stage.start()
    visit(page, stage.url)
    page.context.set_offline(True)
    port, config = stage.port, stage.console._config
    stage.console.stop()
    page.wait_for_function("() => document.getElementById('banner').textContent.includes('Nothing heard')")
    from console.app import Console

    stage.console = Console(config.model_copy(update={"listen": f"127.0.0.1:{port}"}))
    stage.console.start()
    page.context.set_offline(False)
    page.wait_for_function("() => document.getElementById('banner').hidden")
    page.problems.clear()  # type: ignore[attr-defined]  # the browser's own notes of the lost connection


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(stage: Any, browser: Any, scheme: str) -> None:
    stage.start()
    context = browser.new_context(bypass_csp=True, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    phone = context.new_page()
    phone.set_default_timeout(WAIT_MS)
    visit(phone, stage.url)
    assert phone.evaluate("() => document.documentElement.scrollWidth") <= 390
    box = phone.locator("#strength").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844  # the knob is at hand without scrolling
    context.close()


def test_the_page_notes_when_it_heard_of_and_drew_each_frame(stage: Any, page: Page) -> None:
    stage.start()
    visit(page, stage.url)
    page.wait_for_function("() => eavesplit.shown.filter((mark) => mark.key === 'reconstruction').length > 5")
    marks = page.evaluate("() => eavesplit.shown")
    assert {"truth", "payload", "reconstruction", "wire", "scores"} <= {mark["key"] for mark in marks}
    assert all(mark["heard"] <= mark["drawn"] for mark in marks)
    for key in ("truth", "payload", "reconstruction"):
        of_it = [mark for mark in marks if mark["key"] == key]
        assert [mark["frame"] for mark in of_it] == sorted({mark["frame"] for mark in of_it})
        assert [mark["told_ns"] for mark in of_it] == sorted(mark["told_ns"] for mark in of_it)


def test_the_browsers_memory_does_not_grow_with_the_frames(tmp_path: Any, stage_at: Any, page: Page) -> None:
    """The soak test's short version: once the curves' window is full and the scripts are compiled, 300 more frames hold
    no more. One frame's pictures are a tenth of what is allowed."""
    stage = stage_at(tmp_path, 0.02).start(window=20)
    try:
        visit(page, stage.url)
        session = page.context.new_cdp_session(page)

        def heap_mb(frame: int) -> float:
            page.wait_for_function("f => Number(document.getElementById('truth').dataset.frame) > f", arg=frame)
            looks = []
            for _ in range(3):  # what has just come holds more for a moment
                session.send("HeapProfiler.collectGarbage")
                looks.append(float(session.send("Runtime.getHeapUsage")["usedSize"]) / 1e6)
            return min(looks)

        heaps = [heap_mb(250), heap_mb(550)]
        if heaps[1] - heaps[0] >= 1.0:  # on a busy machine few frames are drawn, and scripts are compiled late
            heaps.append(heap_mb(850))
        assert heaps[-1] - heaps[-2] < 1.0, heaps
    finally:
        stage.stop()
