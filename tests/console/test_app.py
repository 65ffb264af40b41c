"""The page's server over real sockets: the present, the knobs, and who may turn them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import httpx
import pytest

from console.app import Console
from console.config import ConsoleConfig
from wire.errors import InputError


@contextmanager
def events(url: str, seconds: float = 30.0, **more: Any) -> Iterator[Iterator[tuple[str, Any]]]:
    """The server's events, key and value, for at most so long."""
    with httpx.Client(timeout=seconds) as client, client.stream("GET", f"{url}/events", **more) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")

        def read() -> Iterator[tuple[str, Any]]:
            deadline, key = time.monotonic() + seconds, ""
            for line in answer.iter_lines():
                assert time.monotonic() < deadline, "nothing of the kind came"
                if line.startswith("event: "):
                    key = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield key, json.loads(line.removeprefix("data: "))

        yield read()


def first(stream: Iterator[tuple[str, Any]], key: str, true: Callable[[Any], bool] = lambda value: True) -> Any:
    return next(value for name, value in stream if name == key and true(value))


def test_the_panels_show_one_frame_and_the_metrics_are_the_labs_own(stage: Any) -> None:
    stage.start()
    with events(stage.url) as stream:
        rebuilt = first(stream, "reconstruction")
        about = json.loads(stage.console.hub.present("about"))
        scores = first(stream, "scores", lambda s: {"concretizer", "coordinates"} <= set(s))
    assert rebuilt["attack"] == "concretizer"
    assert rebuilt["lag_ms"] == pytest.approx(33.0)
    assert about["headline"] == "f1_15"
    assert about["floors"] == ["coordinates", "preimage"]
    assert set(about["profiles"]) == {"lan", "wifi", "5g", "lte", "satellite"}
    # Noise 0: every point is where it was. The floor has a sixth of them, 35 cm away.
    assert scores["concretizer"]["values"]["f1_15"] == 1.0
    assert scores["coordinates"]["values"]["f1_15"] < 0.1


def test_a_late_joiner_sees_the_present_at_once(stage: Any) -> None:
    stage.start()
    with events(stage.url) as stream:
        first(stream, "reconstruction")
        first(stream, "scores")
    stage.edge.paused = True
    wanted = {"about", "truth", "payload", "reconstruction", "wire", "scores", "status", "history"}
    with events(stage.url) as stream:
        assert {key for key, _ in islice(stream, len(wanted) + 3)} >= wanted


def test_the_knob_reaches_the_edge_and_both_pages_see_it(stage: Any) -> None:
    stage.start()
    with events(stage.url) as one, events(stage.url) as other:
        before = first(one, "wire")["digest"]
        wish = {"defense": {"name": "feature_centric", "settings": {"strength": 0.5}}}
        answer = httpx.patch(f"{stage.url}/settings", json=wish)
        assert answer.status_code == 200
        assert stage.edge.strength == 0.5
        assert first(one, "wire", lambda w: w["digest"] != before)
        for page in (one, other):
            first(page, "status", lambda s: s["defense"]["settings"] == {"strength": 0.5})
        last = httpx.patch(f"{stage.url}/settings", json={"defense": {"name": "none", "settings": {}}})
        assert last.status_code == 200
        for page in (one, other):
            first(page, "status", lambda s: s["defense"]["name"] == "none")


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"defense": {"name": "feature_centric", "settings": {"strength": 11}}}, "strength is 11"),
        ({"defense": {"name": "fog"}}, "'fog' does not exist; accepted: none"),
        ({"link": {"profile": "pigeon"}}, "'pigeon' does not exist; there are: lan"),
        ({"link": {"rate_mbps": -1}}, "rate_mbps"),
        ({"shown": "magic"}, "'magic' does not run here; there are: concretizer, coordinates"),
        ({"volume": 11}, "volume: no such setting"),
        ({}, "nothing to change"),
    ],
)
def test_a_wish_that_cannot_be_had_is_refused_in_one_line(stage: Any, wish: dict[str, Any], says: str) -> None:
    stage.start()
    with events(stage.url) as stream:
        first(stream, "status", lambda s: s["attacks"])
    answer = httpx.patch(f"{stage.url}/settings", json=wish)
    assert answer.status_code == 422
    line = answer.json()["error"]
    assert says in line
    assert "\n" not in line


def test_a_link_profile_sets_both_directions_and_a_figure_of_ones_own_only_that(stage: Any) -> None:
    stage.start()
    assert httpx.patch(f"{stage.url}/settings", json={"link": {"profile": "lte"}}).status_code == 200
    assert (stage.link_state.up.rate_mbps, stage.link_state.down.rate_mbps) == (8.63, 27.33)
    assert httpx.patch(f"{stage.url}/settings", json={"link": {"delay_ms": 5.0}}).status_code == 200
    assert (stage.link_state.up.rate_mbps, stage.link_state.up.delay_ms) == (8.63, 5.0)


def test_the_page_says_that_the_listener_is_down_and_goes_on_when_it_is_back(stage: Any) -> None:
    stage.start()
    with events(stage.url, 60) as stream:
        frame = first(stream, "reconstruction")["frame"]
        stage.kill_listener()
        first(stream, "status", lambda s: not s["processes"]["attacker"]["up"])
        went_on = first(stream, "truth", lambda t: t["frame"] > frame + 5)  # the stream does not wait for it
        stage.revive_listener()
        back = first(stream, "reconstruction", lambda r: r["frame"] > went_on["frame"])
        assert back["frame"] > frame
        first(stream, "status", lambda s: s["processes"]["attacker"]["up"])


def test_with_the_listener_paused_the_other_panels_go_on(stage: Any) -> None:
    stage.start()
    with events(stage.url) as stream:
        frame = first(stream, "reconstruction")["frame"]
        assert httpx.patch(f"{stage.url}/settings", json={"listener_paused": True}).status_code == 200
        truth = first(stream, "truth", lambda t: t["frame"] > frame + 5)
        payload = first(stream, "payload", lambda p: p["frame"] > frame + 5)
    assert truth["age_ms"] < 5000
    assert payload["bytes"] > 0


def test_a_jammed_browser_slows_nobody(stage: Any) -> None:
    stage.start(points=6000)
    with socket.create_connection(("127.0.0.1", stage.port)) as jammed:
        jammed.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        jammed.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{stage.port}\r\n\r\n".encode())  # and reads nothing
        with events(stage.url) as stream:
            frames = {first(stream, "truth")["frame"] for _ in range(20)}
        assert len(frames) == 20
        boxes = list(stage.console.hub._clients)
        assert all(len(box) <= 12 for box in boxes)


def test_who_may_ask(stage: Any) -> None:
    stage.start()
    ours = {"Host": f"127.0.0.1:{stage.port}"}
    assert httpx.get(f"{stage.url}/", headers=ours).status_code == 200
    assert httpx.get(f"{stage.url}/", headers={"Host": "evil.example"}).status_code == 403
    for path in ("/events", "/state", "/plotly.js"):
        assert httpx.get(f"{stage.url}{path}", headers={"Host": "evil.example"}).status_code == 403
    foreign = {"Origin": "http://evil.example"}
    assert httpx.patch(f"{stage.url}/settings", json={"paused": True}, headers=foreign).status_code == 403
    assert not stage.edge.paused
    own = {"Origin": f"http://127.0.0.1:{stage.port}"}
    assert httpx.patch(f"{stage.url}/settings", json={"paused": True}, headers=own).status_code == 200
    assert stage.edge.paused


def test_nothing_on_the_page_comes_from_elsewhere(stage: Any) -> None:
    stage.start()
    page = httpx.get(f"{stage.url}/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("http-equiv", "")
    for path in ("/page/page.js", "/page/clouds.js", "/page/curves.js", "/page/page.css", "/plotly.js"):
        assert httpx.get(f"{stage.url}{path}").status_code == 200
    assert httpx.get(f"{stage.url}/page/../app.py").status_code == 404
    assert httpx.get(f"{stage.url}/page/app.py").status_code == 404
    assert httpx.get(f"{stage.url}/report").status_code == 404


def test_beyond_loopback_a_token_is_needed_and_the_address_carries_it_once() -> None:
    far: dict[str, Any] = {
        "listen": "0.0.0.0:0",
        "edge": "127.0.0.1:9",
        "attacker": "127.0.0.1:9",
        "victim": "second",
        "modality": "lidar",
        "split": "conv3.0",
        "settings": {"preset": "street"},
    }
    with pytest.raises(InputError, match="a loopback address, or a token"):
        Console(ConsoleConfig(**far))
    console = Console(ConsoleConfig(**far), token="sesame")
    url = f"http://127.0.0.1:{console.start()}"
    try:
        assert httpx.get(f"{url}/").status_code == 401
        assert httpx.get(f"{url}/?token=wrong").status_code == 401
        assert httpx.get(f"{url}/events?token=sesame").status_code == 401  # only the page's own address
        with httpx.Client(base_url=url) as browser:
            entered = browser.get("/?token=sesame")
            assert entered.status_code == 303
            assert "httponly" in entered.headers["set-cookie"].lower()
            assert browser.get("/").status_code == 200
            assert browser.get("/state").status_code == 200
    finally:
        console.stop()


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = ConsoleConfig(
            listen=f"127.0.0.1:{port}",
            edge="127.0.0.1:9",
            attacker="127.0.0.1:9",
            victim="second",
            modality="lidar",
            split="conv3.0",
            settings={"preset": "street"},
        )
        with pytest.raises(InputError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            Console(config).start()


def test_a_hundred_readers_come_and_go_and_leave_nothing(stage: Any) -> None:
    stage.start()

    def visit() -> None:
        with events(stage.url) as stream:
            first(stream, "truth")

    visitors = [threading.Thread(target=visit) for _ in range(20)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    deadline = time.monotonic() + 20
    while stage.console.hub.clients and time.monotonic() < deadline:
        time.sleep(0.1)
    assert stage.console.hub.clients == 0
