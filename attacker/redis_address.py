"""Where Redis is, how it is dialled, and what went wrong, in one line that never shows a password."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from wire.address import Address, format_address
from wire.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from redis import Redis

URL_VARIABLE = "EAVESPLIT_REDIS_URL"
"""Environment variable that takes the place of a role file's ``redis``, so that no password need stand in a file."""

PORT = 6379
TIMEOUT_S = 5.0
READ_BYTES = 1 << 20
OLDEST = 7
"""Scripts with flags exist since Redis 7."""

_ACCEPTED = "redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], or rediss:// for TLS"


@dataclass(frozen=True)
class RedisAddress:
    """One database of one server. :attr:`shown` is what may be printed."""

    host: str
    port: int = PORT
    db: int = 0
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def address(self) -> Address:
        """Host and port, as the guard grants them."""
        return self.host, self.port

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        return f"redis{'s' if self.tls else ''}://{format_address(self.address)}/{self.db}"


def address_of(url: str) -> RedisAddress:
    """The server of a role file, or of :data:`URL_VARIABLE` where that is set. InputError for what is no URL."""
    override = os.environ.get(URL_VARIABLE)
    return parse(override, URL_VARIABLE) if override else parse(url, "redis")


def parse(url: str, source: str) -> RedisAddress:
    """Read a URL. InputError names ``source`` and what is accepted, and repeats nothing of the URL but its scheme."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError(f"{source}: no URL of a Redis server; accepted: {_ACCEPTED}") from None
    if parts.scheme not in ("redis", "rediss"):
        raise InputError(f"{source}: scheme {parts.scheme!r}; accepted: {_ACCEPTED}")
    database = parts.path.strip("/") or "0"
    if not parts.hostname or not (database.isascii() and database.isdigit()) or parts.query or parts.fragment:
        raise InputError(f"{source}: no URL of a Redis server; accepted: {_ACCEPTED}")
    return RedisAddress(
        parts.hostname,
        PORT if port is None else port,
        int(database),
        parts.scheme == "rediss",
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )


def client(address: RedisAddress) -> Redis:
    """A client that has not dialled yet. It tries every command once: whoever asks knows best what to do then.

    Raises MissingExtraError where the library is not installed.
    """
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ModuleNotFoundError as error:
        raise MissingExtraError("scale-out on Redis needs redis, which is not installed: make install") from error
    return Redis(
        host=address.host,
        port=address.port,
        db=address.db,
        username=address.user,
        password=address.password,
        ssl=address.tls,
        protocol=2,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        socket_read_size=READ_BYTES,
        retry=Retry(NoBackoff(), 0),
    )


def check(redis: Redis, address: RedisAddress) -> None:
    """Ask the server who it is. InputError where it cannot be used, with what to do."""
    from redis.exceptions import RedisError

    try:
        version = str(redis.info("server")["redis_version"])  # type: ignore[index]
    except RedisError as error:
        raise InputError(explain(error, address)) from None
    if int(version.split(".")[0]) < OLDEST:
        raise InputError(f"Redis at {address.shown} is version {version}; accepted: {OLDEST} and later")


def explain(error: Exception, address: RedisAddress) -> str:
    """One line: which server, what is wrong, what to do."""
    from redis import exceptions

    name = f"Redis at {address.shown}"
    text = (str(error).splitlines() or [type(error).__name__])[0][:200]
    if isinstance(error, exceptions.OutOfMemoryError):
        return f"{name} is full: raise its maxmemory, or lower redis_frames"
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError) or "NOAUTH" in text:
        return f"{name} refuses this user or password: give the right one in {URL_VARIABLE}=redis://:PASSWORD@HOST:PORT"
    if isinstance(error, exceptions.NoPermissionError):
        return f"{name} forbids this user a command: {text}"
    if isinstance(error, exceptions.BusyLoadingError):
        return f"{name} is still loading its data: wait for it"
    if isinstance(error, exceptions.TimeoutError):
        return f"{name} does not answer within {TIMEOUT_S:g} s: is it overloaded, or behind a firewall?"
    if isinstance(error, exceptions.ConnectionError):
        cause = error.__cause__ or error.__context__
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else text
        start = f"start it with `redis-server --port {address.port}`, or correct the address"
        return f"{name} cannot be reached ({why}): {start}"
    return f"{name}: {text}"
