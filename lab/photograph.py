"""A picture of the live page, as it stands in the README: taken by a real browser, once there is something to see."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from lab.browser import browser
from lab.runfolder import write_whole
from wire.errors import RunError

SIZE: Final = (1400, 900)
READY: Final = "() => document.body?.dataset.score && document.querySelector('#reconstruction :is(canvas, img)')"
STILL: Final = "() => document.getAnimations().every((a) => a.playState !== 'running')"
SHOWN: Final = "frame => Number(document.getElementById('truth').dataset.frame) >= frame"
WAIT_S: Final = 120.0
SLOWEST_S: Final = 1.0
"""A frame takes no longer, where all is well."""

FRAME: Final = 31
"""The picture is taken when this frame is shown: the curves want some frames, of more than one street."""

LEARNT: Final = 700
"""The same of a training, in steps: before, neither its owner nor anybody else has much to see."""


def photograph(address: str, path: Path, frame: int = FRAME, scheme: Literal["light", "dark"] = "light") -> Path:
    """Open the page, wait for the first score and for ``frame``, save a PNG; returns ``path``.

    MissingExtraError without Playwright, InputError without a browser, RunError when too little was shown or scored in
    time.
    """
    most_s = WAIT_S + SLOWEST_S * frame
    with browser() as chromium:
        from playwright.sync_api import TimeoutError as Late

        page = chromium.new_page(
            viewport={"width": SIZE[0], "height": SIZE[1]},
            color_scheme=scheme,
            bypass_csp=True,  # the condition below is evaluated in the page, which its own policy forbids
        )
        page.goto(address, wait_until="commit")
        try:
            page.wait_for_function(READY, timeout=WAIT_S * 1e3)
            page.wait_for_function(SHOWN, arg=frame, timeout=most_s * 1e3)
            page.wait_for_function(STILL, timeout=WAIT_S * 1e3)
        except Late:
            raise RunError(f"{address}: not enough was shown and scored within {WAIT_S + most_s:.0f} s") from None
        drawn = page.screenshot(timeout=WAIT_S * 1e3)
    return write_whole(path, drawn)
