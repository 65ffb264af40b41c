"""The processes' control ports as the console asks them: up or down, and threads that follow what is new."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from wire.errors import EavesplitError, InputError

WAIT_S = 2.0
"""How long a question for something new may stay open."""

RETRY_S = 0.5
ANSWER_S = 5.0


class PortDown(EavesplitError):
    """A process does not answer."""


class Port:
    """One process's control port. Thread-safe.

    address: ``HOST:PORT``. token: sent when its port asks for one. on_change: called when it goes down or comes back.
    """

    def __init__(
        self, name: str, address: str, token: str | None = None, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.name, self.up = name, False
        self.since = time.monotonic()
        self._on_change = on_change
        self._client = httpx.Client(
            base_url=f"http://{address}",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(ANSWER_S, read=WAIT_S + ANSWER_S),
            trust_env=False,  # a proxy of the user's has no business between two processes of a run
        )

    def get(self, path: str, **query: Any) -> httpx.Response:
        """The answer, whatever its status. PortDown when there is none."""
        return self._ask("GET", path, params=query)

    def json(self, path: str, **query: Any) -> Any:
        """The answer's JSON. PortDown where the process does not answer, or not as it should."""
        answer = self.get(path, **query)
        if answer.status_code != 200:
            raise PortDown(f"{self.name}: {path} answered {answer.status_code}: {_error(answer)}")
        return answer.json()

    def settings(self, **values: Any) -> dict[str, Any]:
        """``PATCH /settings``. InputError with the process's own line where it refuses; PortDown where it is down."""
        answer = self._ask("PATCH", "/settings", json=values)
        if answer.status_code != 200:
            raise InputError(f"{self.name}: {_error(answer)}")
        return dict(answer.json())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **more)
        except (httpx.TransportError, RuntimeError) as error:  # RuntimeError: closed while we ask
            self._mark(False)
            raise PortDown(f"{self.name} does not answer ({type(error).__name__})") from error
        self._mark(True)
        return answer

    def _mark(self, up: bool) -> None:
        if up != self.up:
            self.up, self.since = up, time.monotonic()
            self._on_change()


class Follower(threading.Thread):
    """Calls ``step`` again and again; one that finds its process down is tried again after a pause.

    on_down: called once each time that happens, so that what counts from one (a number, a position) starts again.
    Whatever else goes wrong costs one step: it is logged, told to on_trouble, and the next one is tried.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], None],
        stopping: threading.Event,
        *,
        on_down: Callable[[], None] = lambda: None,
        on_trouble: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__(name=f"follow-{name}", daemon=True)
        self._step, self._stopping = step, stopping
        self._on_down, self._on_trouble = on_down, on_trouble

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except PortDown:
                self._on_down()
                self._stopping.wait(RETRY_S)
            except Exception as error:  # one frame that cannot be pictured must not end the page
                logging.getLogger(__name__).exception("%s", self.name)
                self._on_trouble(f"{type(error).__name__}: {error}".splitlines()[0])
                self._stopping.wait(RETRY_S)


def _error(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200] or answer.reason_phrase
