"""``host:port`` as users write it, and listening sockets that say clearly why they could not be had."""

from __future__ import annotations

import ipaddress
import os
import socket

from wire.errors import InputError

Address = tuple[str, int]


def parse_address(text: str, source: str) -> Address:
    """``"127.0.0.1:50051"``, ``"link:7000"`` or ``"[::1]:0"`` as (host, port).

    source: where the text came from, named in the :class:`~wire.errors.InputError` (``"--listen"``).
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    digits = port.isascii() and port.isdigit()
    if not colon or not host or (":" in host and not bracketed) or not digits or int(port) > 65535:
        raise InputError(f"{source}: {text!r} is no address; accepted: HOST:PORT with a port from 0 to 65535")
    return host, int(port)


def format_address(address: Address) -> str:
    """The inverse of :func:`parse_address`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or a loopback address. No name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def listen(address: Address, source: str) -> socket.socket:
    """A listening TCP socket; port 0 lets the system choose.

    Raises :class:`~wire.errors.InputError` when the port is taken, the host unknown or the address not ours.
    """
    host, port = address
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(where[:2], family=family, backlog=128)
    except OSError as error:
        # create_server adds the address to the system's text, which is already in ours.
        why = error.strerror if isinstance(error, socket.gaierror) or not error.errno else os.strerror(error.errno)
        raise InputError(f"{source}: cannot listen on {format_address(address)}: {why}") from None
