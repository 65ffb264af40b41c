"""A picture of the live page, as it stands in the README: taken by a real browser, once there is something to see."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from lab.browser import browser
from lab.runfolder import write_whole
from wire.errors import RunError

SIZE: Final = (1400, 900)
READY: Final = "() => document.body?.dataset.score && document.querySelector('#reconstruction :is(canvas, img)')"
SHOWN: Final = "frame => Number(document.getElementById('truth').dataset.frame) >= frame"
WAIT_S: Final = 120.0
FRAME: Final = 31
"""The picture is taken when this frame is shown: the curves want some frames, of more than one street."""


def photograph(address: str, path: Path, scheme: Literal["light", "dark"] = "light") -> Path:
    """Open the page, wait for the first score, save a PNG; returns ``path``.

    MissingExtraError without Playwright, InputError without a browser, RunError when too little was shown or scored in
    time.
    """
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
            page.wait_for_function(SHOWN, arg=FRAME, timeout=WAIT_S * 1e3)
        except Late:
            raise RunError(f"{address}: not enough was shown and scored within {2 * WAIT_S:.0f} s") from None
        drawn = page.screenshot(timeout=WAIT_S * 1e3)
    return write_whole(path, drawn)
