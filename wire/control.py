"""The control port: a small HTTP server that every process has, for its state and its settings.

``GET /health``      ``{"name": ..., "ok": true}``; the only path that asks for no token
``GET /state``       what the process says about itself
``PATCH /settings``  a partial update, validated whole before anything changes; answers what was applied, and from where

Errors are ``{"error": "one line"}``. It listens on loopback; any other address needs a token, sent as
``Authorization: Bearer TOKEN``. A page in somebody's browser cannot reach it: the Host header must name this server
(which defeats a name that was pointed at 127.0.0.1), and an Origin, if there is one, must be the server itself.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pydantic
import uvicorn
from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.requests import Request
from fastapi.responses import Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from wire.address import is_loopback, listen, parse_address
from wire.errors import InputError

MAX_BODY_BYTES = 1 << 16
"""Settings are a few numbers and names."""
TOKEN_VARIABLE = "EAVESPLIT_CONTROL_TOKEN"
"""Environment variable with the token of a process's control port beyond loopback."""

_ANYWHERE = ("0.0.0.0", "::")

Reply = Mapping[str, Any]


def one_line(error: pydantic.ValidationError) -> str:
    """All of a validation's complaints in one line: ``rate_mbps: Input should be ... (got 'fast'); ...``."""
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        line = "no such setting" if fault["type"] == "extra_forbidden" else fault["msg"]
        if fault["type"] not in ("extra_forbidden", "missing", "json_invalid"):
            line += f" (got {json.dumps(fault['input'], default=repr)[:80]})"
        lines.append(": ".join(filter(None, (".".join(map(str, fault["loc"])), line))))
    return "; ".join(lines).replace("\n", " ")


class ControlServer:
    """Serves ``state`` and ``settings`` over HTTP, in a thread of its own.

    name: of the process (``"link"``). state: called for every ``GET /state``, from any thread.
    settings, apply: the model of ``PATCH /settings`` and what puts it into effect. Every field needs a default; what a
    request gave is in ``model_fields_set``. Unknown keys are refused whatever the model's own configuration. Calls of
    ``apply`` do not overlap; an :class:`~wire.errors.InputError` from it is the client's fault.
    address: ``HOST:PORT``, port 0 for any. token: required unless the host is loopback.
    hosts: further names under which clients may reach the server (``"edge"`` in a compose network).
    published: the address is a container's, and the host publishes it on its own loopback only: no token is needed
    then, and clients must call the server by a loopback name, as they do on loopback.
    routes: further ``GET`` paths; they return JSON-able data, or bytes as they are. actions: further ``POST`` paths.
    uploads: ``POST`` paths that are given their body's bytes, at most ``upload_bytes`` of them.

    Raises :class:`~wire.errors.InputError` for a bad address, and for one beyond loopback without a token.
    """

    def __init__(
        self,
        name: str,
        state: Callable[[], Reply],
        settings: type[pydantic.BaseModel] | None = None,
        apply: Callable[[Any], Reply] | None = None,
        *,
        address: str = "127.0.0.1:0",
        token: str | None = None,
        hosts: Iterable[str] = (),
        published: bool = False,
        routes: Mapping[str, Callable[[], Any]] | None = None,
        actions: Mapping[str, Callable[[], Reply]] | None = None,
        uploads: Mapping[str, Callable[[bytes], Any]] | None = None,
        upload_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        if (settings is None) != (apply is None):
            raise ValueError("settings and apply come together")
        self._address = parse_address(address, "control address")
        host = self._address[0]
        if not is_loopback(host) and not token and not published:
            raise InputError(
                f"control address {address!r}: reachable from other machines; accepted: a loopback address, or a token"
            )
        self._token = token
        # A client that must know the token cannot be a stray page, so a server on every address takes every name.
        self._hosts = None if host in _ANYWHERE and token else {"localhost", "127.0.0.1", "::1", host.lower(), *hosts}
        self._change = None if settings is None or apply is None else _Change(settings, apply)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._app = self._build(name, state, routes or {}, actions or {})
        for path, upload in (uploads or {}).items():
            self._app.add_api_route(path, partial(_received, upload, upload_bytes), methods=["POST"])

    def start(self) -> int:
        """Listen; the port. Raises :class:`~wire.errors.InputError` when the address cannot be had."""
        listening = listen(self._address, "control address")
        port: int = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            loop="asyncio",
            http="h11",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        # The socket already queues connections: a client that is faster than the thread waits, and is not refused.
        self._thread = threading.Thread(target=self._server.run, args=([listening],), name="control", daemon=True)
        self._thread.start()
        return port

    def stop(self) -> None:
        """Answer what is under way, then close the port."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join()

    def _build(
        self,
        name: str,
        state: Callable[[], Reply],
        routes: Mapping[str, Callable[[], Any]],
        actions: Mapping[str, Callable[[], Reply]],
    ) -> FastAPI:
        app = FastAPI(title=name, docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(self._admit)])
        app.add_api_route("/health", partial(_answer, lambda: {"name": name, "ok": True}), methods=["GET"])
        app.add_api_route("/state", partial(_answer, state), methods=["GET"])
        for path, route in routes.items():
            app.add_api_route(path, partial(_answer, route), methods=["GET"])
        for path, action in actions.items():
            app.add_api_route(path, partial(_answer, action), methods=["POST"])
        if self._change is not None:
            app.add_api_route("/settings", self._change.patch, methods=["PATCH"])
        app.add_exception_handler(HTTPException, _refusal)
        return app

    async def _admit(self, request: Request) -> None:
        host = request.headers.get("host", "")
        if self._hosts is not None and _host_name(host) not in self._hosts:
            raise HTTPException(403, f"host {host!r} is not this server")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise HTTPException(403, f"origin {origin!r} is another site")
        if self._token and request.url.path != "/health":
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                raise HTTPException(401, "a token is needed: Authorization: Bearer TOKEN")


class _Change:
    """``PATCH /settings``."""

    def __init__(self, settings: type[pydantic.BaseModel], apply: Callable[[Any], Reply]) -> None:
        self._settings = settings
        self._apply = apply
        self._lock = threading.Lock()

    async def patch(self, request: Request) -> Response:
        return await _received(self._change, MAX_BODY_BYTES, request)

    def _change(self, body: bytes) -> Reply:
        try:
            settings = self._settings.model_validate_json(body, strict=True, extra="forbid")
        except pydantic.ValidationError as error:
            raise InputError(one_line(error)) from None
        if not settings.model_fields_set:
            raise InputError(f"nothing to change; accepted: {', '.join(self._settings.model_fields)}")
        with self._lock:
            return self._apply(settings)


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def _json(data: Any, status: int = 200) -> Response:
    return Response(to_json(data, inf_nan_mode="null"), status, media_type="application/json")


def _answer(call: Callable[[], Any]) -> Response:
    try:
        data = call()
        return Response(data, media_type="application/octet-stream") if isinstance(data, bytes) else _json(data)
    except InputError as error:
        return _json({"error": str(error)}, 422)
    except Exception as error:
        # Left to the server, it would also cost the client its connection.
        logging.getLogger(__name__).exception("control port")
        return _json({"error": f"{type(error).__name__}: {error}".splitlines()[0]}, 500)


async def _received(call: Callable[[bytes], Any], most: int, request: Request) -> Response:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise HTTPException(413, f"a body of more than {most} bytes")
    return await run_in_threadpool(_answer, partial(call, bytes(body)))


async def _refusal(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, str(error))
    return _json({"error": detail}, status)
