"""A picture of the live page, as it stands in the README: taken by a real browser, once there is something to see."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from lab.runfolder import write_whole
from wire.errors import InputError, MissingExtraError, RunError

SIZE: Final = (1400, 900)
READY: Final = "() => document.body.dataset.score && document.querySelector('#reconstruction canvas')"
WAIT_S: Final = 120.0
SETTLE_S: Final = 12.0
"""After the first score: the curves want a few frames."""

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


def photograph(address: str, path: Path, scheme: str = "dark") -> Path:
    """Open the page, wait for the first score, save a PNG; returns ``path``.

    MissingExtraError without Playwright, InputError without a browser, RunError when nothing was scored in time.
    """
    try:
        from playwright.sync_api import TimeoutError as Late
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "a picture of the page needs playwright, which is not installed: make install"
        ) from error
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise InputError(f"a picture of the page needs a browser; looked for: {', '.join(BROWSERS)}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=list(FLAGS))
        page = chromium.new_page(
            viewport={"width": SIZE[0], "height": SIZE[1]},
            color_scheme="dark" if scheme == "dark" else "light",
            bypass_csp=True,  # the condition below is evaluated in the page, which its own policy forbids
        )
        page.goto(address, wait_until="commit")
        try:
            page.wait_for_function(READY, timeout=WAIT_S * 1e3)
        except Late:
            raise RunError(f"{address}: nothing was scored within {WAIT_S:.0f} s") from None
        page.wait_for_timeout(SETTLE_S * 1e3)
        drawn = page.screenshot(timeout=WAIT_S * 1e3)
        chromium.close()
    return write_whole(path, drawn)
