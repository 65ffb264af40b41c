"""Addresses as users write them."""

from __future__ import annotations

import pytest

from wire.address import format_address, is_loopback, listen, parse_address
from wire.errors import InputError


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:50051", ("127.0.0.1", 50051)), ("link:0", ("link", 0)), ("[::1]:65535", ("::1", 65535))],
)
def test_good_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, "--listen") == address
    assert format_address(address) == text


@pytest.mark.parametrize(
    "text", ["", "50051", ":50051", "host:", "host:port", "host:65536", "::1:80", "host:-1", "host:²"]
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(InputError, match=r"--listen: .* is no address; accepted: HOST:PORT"):
        parse_address(text, "--listen")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("LOCALHOST", True), ("0.0.0.0", False), ("link", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_taken_port_and_a_foreign_address_are_one_clear_line() -> None:
    with listen(("127.0.0.1", 0), "--listen") as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--listen: cannot listen on 127.0.0.1:{port}: Address already in use$"):
            listen(("127.0.0.1", port), "--listen")
    with pytest.raises(InputError, match=r"cannot listen on 192\.0\.2\.1:80: "):
        listen(("192.0.2.1", 80), "--listen")
