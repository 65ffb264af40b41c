"""The system's own Chromium, driven by Playwright: for pictures and measurements of the live page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from wire.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


@contextmanager
def browser(*flags: str) -> Iterator[Browser]:
    """A headless browser, closed at the end. flags: of Chromium, beside the usual ones.

    MissingExtraError without Playwright, InputError without a Chromium.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise MissingExtraError("looking at the page needs playwright, which is not installed: make install") from error
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise InputError(f"looking at the page needs a browser; looked for: {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=[*FLAGS, *flags])
        try:
            yield chromium
        finally:
            chromium.close()
