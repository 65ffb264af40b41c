"""The radiance profile, with the same image: a room is learnt, and a listener's picture of a view is scored again and
again as it learns too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compose.running import Demo, needs_an_engine

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]


@pytest.fixture
def demo() -> Iterator[Demo]:
    needs_an_engine()
    running = Demo("radiance")
    running.compose("build")
    try:
        running.compose("up", "-d", "--wait", "--wait-timeout", "600")
        yield running
    finally:
        running.compose("down", "-v", "--timeout", "5")


def test_a_view_is_rebuilt_while_the_room_is_learnt(demo: Demo) -> None:
    assert demo.first_reconstruction()["picture"]["kind"] == "image"
    first = demo.until(lambda s: "surrogate-fit" in s["scores"], "no picture is scored")["scores"]["surrogate-fit"]
    assert {"psnr", "psnr_affine"} <= set(first["values"])
    demo.until(lambda s: s["scores"]["surrogate-fit"]["frame"] > first["frame"], "no later picture is scored")
