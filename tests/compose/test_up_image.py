"""The image profile, with the same image: pictures are answered, rebuilt and scored, at another split point too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compose.running import Demo, needs_an_engine

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]


@pytest.fixture
def demo() -> Iterator[Demo]:
    needs_an_engine()
    running = Demo("image")
    running.compose("build")
    try:
        running.compose("up", "-d", "--wait", "--wait-timeout", "600")
        yield running
    finally:
        running.compose("down", "-v", "--timeout", "5")


def test_pictures_are_rebuilt_and_another_cut_is_too(demo: Demo) -> None:
    def rebuilt(split: str) -> float:
        told = demo.until(
            lambda s: s["status"]["split"] == split and "inversion-direct" in s["scores"],
            f"nothing is rebuilt at {split}",
        )
        return float(told["scores"]["inversion-direct"]["values"]["psnr"])

    assert demo.first_reconstruction()["picture"]["kind"] == "image"
    deep = rebuilt("layer2.2")
    assert demo.wish(split="layer1.2").status_code == 200
    demo.until(lambda s: s["status"]["split"] == "layer1.2" and not s["status"].get("opening"), "the cut stays")
    demo.until(lambda s: s["scores"].get("inversion-direct", {}).get("values", {}).get("psnr", 0) > deep + 1, "no gain")
