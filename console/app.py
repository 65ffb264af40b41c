"""The page's server: static files, the present as server-sent events, and the knobs.

``GET /``          the page; with ``?token=TOKEN`` where the address is reachable from other machines
``GET /events``    server-sent events: ``event`` is a key, ``data`` its JSON; the present first, then what changes
``PATCH /settings``  the knobs (:class:`console.controls.Wishes`)
``GET /state``     the present without the pictures; ``GET /report``: the run's report, if there is one

Host, Origin and token are checked as on every control port (:mod:`wire.control`). A browser cannot send a token with
its event stream, so the page's address carries it once and a cookie afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.requests import Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException

from console.config import ConsoleConfig
from console.controls import Controls, Wishes
from console.desk import Desk
from console.hub import Hub, Mailbox
from console.watch import Watch
from wire.control import ControlServer
from wire.errors import InputError

PAGE = Path(__file__).resolve().parent / "page"
COOKIE = "eavesplit"
BEAT_S = 1.0
"""A client hears something at least so often: a page that hears nothing for two of these says so."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STATIC = {
    "page.js": "text/javascript",
    "clouds.js": "text/javascript",
    "curves.js": "text/javascript",
    "page.css": "text/css",
}
_KEYS = ("about", "status", "wire", "scores", "utility", "history")


class Console(ControlServer):
    """The whole console: :meth:`start` and :meth:`stop`.

    token: what a browser must bring where the address is not loopback. control_token: what the processes' control
    ports ask for; attacker_token: what the listener's asks for.
    """

    def __init__(
        self,
        config: ConsoleConfig,
        token: str | None = None,
        control_token: str | None = None,
        attacker_token: str | None = None,
    ) -> None:
        self._config = config
        self._page_token = token
        self.hub = Hub()
        self._desk = Desk(config, self.hub)
        self._watch = Watch(config, self._desk, self.hub, control_token, attacker_token)
        self._controls = Controls(self._watch.ports)
        super().__init__(
            "console",
            self._present,
            Wishes,
            self._turn,
            address=config.listen,
            token=token,
            hosts=config.hosts,
            published=config.published,
        )

    def start(self) -> int:
        """Listen and begin to follow the processes; the port. InputError when the address cannot be had."""
        port = super().start()
        self._desk.start()
        self._watch.start()
        return port

    def stop(self) -> None:
        """Close everything."""
        self._watch.stop()
        self._desk.stop()
        self.hub.close()
        super().stop()

    def _build(self, *arguments: Any, **named: Any) -> FastAPI:
        app = super()._build(*arguments, **named)
        app.add_api_route("/", self._index, methods=["GET"])
        app.add_api_route("/events", self._events, methods=["GET"])
        app.add_api_route("/plotly.js", self._plotly, methods=["GET"])
        app.add_api_route("/report", self._report, methods=["GET"])
        app.add_api_route("/page/{name}", self._static, methods=["GET"])
        return app

    async def _admit(self, request: Request) -> None:
        """A browser's cookie, or the token in the page's address, stands for the header it cannot send."""
        given = request.cookies.get(COOKIE) or (request.query_params.get("token") if request.url.path == "/" else None)
        if given is not None and "authorization" not in request.headers:
            headers = [*request.scope["headers"], (b"authorization", f"Bearer {given}".encode())]
            request = Request({**request.scope, "headers": headers})
        await super()._admit(request)

    async def _index(self, token: str | None = None) -> Response:
        if token is not None:  # out of the address, where it would be seen and kept
            answer: Response = RedirectResponse("/", 303)
            if self._page_token:
                answer.set_cookie(COOKIE, self._page_token, httponly=True, samesite="strict")
            return answer
        return FileResponse(
            PAGE / "index.html", headers={"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
        )

    async def _static(self, name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404, f"no file {name!r}; there are: {', '.join(_STATIC)}")
        return FileResponse(PAGE / name, media_type=_STATIC[name], headers={"Cache-Control": "no-cache"})

    async def _plotly(self) -> Response:
        path = Path(str(files("plotly") / "package_data" / "plotly.min.js"))
        return FileResponse(path, media_type="text/javascript", headers={"ETag": f'"{version("plotly")}"'})

    async def _report(self) -> Response:
        if self._config.report is None or not self._config.report.is_file():
            raise HTTPException(404, "this run has no report (yet)")
        return FileResponse(self._config.report, media_type="text/html")

    async def _events(self) -> Response:
        loop, more = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the server has ended under a follower's last words
                loop.call_soon_threadsafe(more.set)

        mailbox = self.hub.join(wake)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._stream(mailbox, more), media_type="text/event-stream", headers=headers)

    async def _stream(self, mailbox: Mailbox, more: asyncio.Event) -> AsyncIterator[bytes]:
        """A slow client holds up only this generator: what it cannot take is replaced in its mailbox, and counted."""
        beat = 0.0
        try:
            yield b"retry: 500\n\n"
            while not self.hub.closed:
                more.clear()
                item = mailbox.take()
                if item is not None:
                    yield b"event: %s\ndata: %s\n\n" % (item[0].encode(), item[1])
                if time.monotonic() - beat >= BEAT_S:
                    beat = time.monotonic()
                    yield b"event: beat\ndata: %s\n\n" % to_json({"replaced": mailbox.replaced})
                if item is None:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(more.wait(), BEAT_S)
        finally:
            self.hub.leave(mailbox)

    def _present(self) -> dict[str, Any]:
        return {key: from_json(data) for key in _KEYS if (data := self.hub.present(key)) is not None}

    def _turn(self, wishes: Wishes) -> dict[str, Any]:
        try:
            done = self._controls.pass_on(wishes)
            if wishes.shown is not None:
                done["shown"] = self._show(wishes.shown)
        finally:
            self._watch.refresh()
        return done

    def _show(self, attack: str) -> str:
        if attack not in self._desk.attacks:
            there = ", ".join(self._desk.attacks) or "none yet"
            raise InputError(f"attack {attack!r} does not run here; there are: {there}")
        self._desk.show(attack)
        return attack
