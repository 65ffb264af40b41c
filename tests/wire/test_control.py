"""The control port, over real HTTP."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, Field

from wire.control import MAX_BODY_BYTES, ControlServer
from wire.errors import InputError


class Settings(BaseModel):
    sigma: float = Field(default=0.0, ge=0.0, le=10.0)
    defense: str = "none"


class Process:
    """Something to control."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"sigma": 0.0, "defense": "none"}
        self.applying = 0
        self.overlapped = False

    def state(self) -> Mapping[str, Any]:
        return {"frame": 7, "score": math.nan, **self.settings}

    def apply(self, settings: Settings) -> Mapping[str, Any]:
        self.applying += 1
        self.overlapped |= self.applying > 1
        if settings.defense == "magic":
            raise InputError("defense 'magic'; accepted: none, noise")
        if settings.defense == "bug":
            raise RuntimeError("internal\ndetails")
        self.settings |= settings.model_dump(exclude_unset=True)
        self.applying -= 1
        return {"first_frame": 8}


Start = Callable[..., httpx.Client]
Shared = tuple[httpx.Client, Process]


@pytest.fixture
def process() -> Process:
    return Process()


@pytest.fixture
def start(process: Process) -> Iterator[Start]:
    servers: list[ControlServer] = []
    clients: list[httpx.Client] = []

    def begin(**options: Any) -> httpx.Client:
        server = ControlServer("edge", process.state, Settings, process.apply, **options)
        port = server.start()
        servers.append(server)
        clients.append(httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False))
        return clients[-1]

    yield begin
    for client in clients:
        client.close()
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    """One server for the tests whose requests must change nothing."""
    process = Process()
    server = ControlServer("edge", process.state, Settings, process.apply, hosts=["edge"])
    with httpx.Client(base_url=f"http://127.0.0.1:{server.start()}", trust_env=False) as client:
        yield client, process
    server.stop()


def test_health_and_state(start: Start) -> None:
    client = start()
    assert client.get("/health").json() == {"name": "edge", "ok": True}
    # NaN is no JSON; a browser would refuse the whole answer.
    assert client.get("/state").json() == {"frame": 7, "score": None, "sigma": 0.0, "defense": "none"}


def test_a_partial_update_changes_only_what_was_given(start: Start, process: Process) -> None:
    client = start()
    reply = client.patch("/settings", json={"sigma": 2})
    assert (reply.status_code, reply.json()) == (200, {"first_frame": 8})
    assert client.get("/state").json()["sigma"] == 2.0
    assert process.settings == {"sigma": 2.0, "defense": "none"}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"sigma": 11}', "sigma: Input should be less than or equal to 10 (got 11)"),
        (b'{"sigma": "1"}', 'sigma: Input should be a valid number (got "1")'),
        (b'{"sigma": true}', "sigma: Input should be a valid number (got true)"),
        (b'{"sigma": 1, "sgima": 1}', "sgima: no such setting"),
        (b"{}", "nothing to change; accepted: sigma, defense"),
        (b"sigma=1", "Invalid JSON"),
        (b"[1]", "Input should be an object"),
        (b'{"defense": "magic"}', "defense 'magic'; accepted: none, noise"),
        (b'{"defense": "a\\nb", "sigma": -1}', "sigma: Input should be greater than or equal to 0 (got -1)"),
    ],
)
def test_bad_settings_are_one_line_and_change_nothing(shared: Shared, body: bytes, says: str) -> None:
    client, process = shared
    reply = client.patch("/settings", content=body)
    assert reply.status_code == 422
    assert reply.json()["error"].startswith(says)
    assert "\n" not in reply.json()["error"]
    assert process.settings == {"sigma": 0.0, "defense": "none"}


def test_a_fault_of_ours_is_500_and_the_server_goes_on(start: Start) -> None:
    client = start()
    reply = client.patch("/settings", json={"defense": "bug"})
    assert (reply.status_code, reply.json()) == (500, {"error": "RuntimeError: internal"})
    assert client.get("/health").status_code == 200


def test_settings_are_applied_one_after_the_other(start: Start, process: Process) -> None:
    client = start()
    threads = [
        threading.Thread(target=client.patch, args=("/settings",), kwargs={"json": {"sigma": i}}) for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not process.overlapped


def test_a_large_body_is_refused(start: Start) -> None:
    reply = start().patch("/settings", content=b" " * (MAX_BODY_BYTES + 1))
    assert (reply.status_code, reply.json()) == (413, {"error": f"a body of more than {MAX_BODY_BYTES} bytes"})


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::", ""])
@pytest.mark.parametrize("path", ["/state", "/health"])
def test_another_host_name_is_refused(shared: Shared, host: str, path: str) -> None:
    """A page whose name was pointed at 127.0.0.1 sends its own name."""
    reply = shared[0].get(path, headers={"Host": host})
    assert reply.status_code == 403
    assert "is not this server" in reply.json()["error"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1:1", "[::1]:2", "edge:7000"])
def test_our_own_names_are_accepted(shared: Shared, host: str) -> None:
    assert shared[0].get("/state", headers={"Host": host}).status_code == 200


def test_another_origin_is_refused(start: Start, process: Process) -> None:
    client = start()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        reply = client.patch("/settings", json={"sigma": 1}, headers={"Origin": origin})
        assert reply.status_code == 403
    assert process.settings["sigma"] == 0.0
    own = f"http://{client.base_url.host}:{client.base_url.port}"
    assert client.patch("/settings", json={"sigma": 1}, headers={"Origin": own}).status_code == 200


def test_a_token_is_asked_for_everywhere_but_health(start: Start) -> None:
    client = start(token="s3cret")
    assert client.get("/health").status_code == 200
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "s3cret"}):
        assert client.get("/state", headers=headers).status_code == 401
        assert client.patch("/settings", json={"sigma": 1}, headers=headers).status_code == 401
    assert client.get("/state", headers={"Authorization": "Bearer s3cret"}).status_code == 200


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "edge:7000"])
def test_beyond_loopback_needs_a_token(process: Process, address: str) -> None:
    with pytest.raises(InputError, match="reachable from other machines; accepted: a loopback address, or a token"):
        ControlServer("edge", process.state, address=address)


def test_every_address_with_a_token_takes_every_name(start: Start) -> None:
    client = start(address="0.0.0.0:0", token="t")
    reply = client.get("/state", headers={"Host": "edge:7000", "Authorization": "Bearer t"})
    assert reply.status_code == 200


def test_a_port_that_is_published_on_loopback_needs_no_token_and_takes_loopback_names_only(start: Start) -> None:
    client = start(address="0.0.0.0:0", published=True)
    port = client.base_url.port
    assert client.get("/state").status_code == 200
    assert client.get("/state", headers={"Host": f"localhost:{port}"}).status_code == 200
    for host in ("192.0.2.7:8080", "evil.example"):  # another machine's browser, or a name that was pointed here
        assert client.get("/state", headers={"Host": host}).status_code == 403
    guarded = start(address="0.0.0.0:0", published=True, token="t")
    assert guarded.get("/state").status_code == 401


def test_routes_and_actions(start: Start) -> None:
    done: list[str] = []

    def reset() -> Mapping[str, Any]:
        done.append("reset")
        return {"reset": len(done)}

    client = start(routes={"/truth": lambda: b"\x00\xff", "/card": lambda: {"a": 1}}, actions={"/reset": reset})
    assert client.get("/truth").content == b"\x00\xff"
    assert client.get("/card").json() == {"a": 1}
    assert client.post("/reset").json() == {"reset": 1}
    assert client.get("/reset").status_code == 405
    assert client.get("/docs").status_code == 404
    assert client.post("/reset", headers={"Origin": "http://evil.example"}).status_code == 403
    assert done == ["reset"]


def test_without_settings_there_is_nothing_to_patch(process: Process) -> None:
    server = ControlServer("console", process.state)
    port = server.start()
    assert httpx.patch(f"http://127.0.0.1:{port}/settings", json={}, trust_env=False).status_code == 404
    server.stop()


def test_a_taken_port_is_said_in_one_line(process: Process) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = ControlServer("edge", process.state, address=f"127.0.0.1:{port}")
        with pytest.raises(
            InputError, match=f"control address: cannot listen on 127.0.0.1:{port}: Address already in use"
        ):
            server.start()
        server.stop()


def test_stop_frees_the_port(process: Process) -> None:
    server = ControlServer("edge", process.state)
    port = server.start()
    assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    server.stop()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
