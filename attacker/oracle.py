"""Asks the query oracle: a second edge that answers with what would have left it (:mod:`wire.query`)."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Sequence

from attacker.attacks.base import QueriesSpent
from victims.base import LAYOUTS, Sample
from wire import query
from wire.address import format_address, parse_address
from wire.errors import DecodeError, InputError, RunError
from wire.payload import Payload

TOKEN_VARIABLE = "EAVESPLIT_ORACLE_TOKEN"
"""Environment variable with the token that a question carries; needed where the oracle listens beyond loopback."""

TIMEOUT_S = 120.0
"""An answer waits for the oracle's rate limit and for its head."""


class Oracle:
    """A :data:`attacker.attacks.base.Query` over one connection; for one thread at a time. asked: questions so far."""

    def __init__(self, address: str) -> None:
        self._address = parse_address(address, "oracle")
        self._connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT_S)
        self.asked = 0

    def __call__(self, sample: Sample) -> Sequence[Payload]:
        """The payloads for one sample, checked against layouts that are known here.

        InputError with the oracle's own line where it refuses (QueriesSpent: for good); RunError where it cannot be
        reached or talks nonsense.
        """
        status, body = self._post(query.ask(sample.arrays))
        self.asked += 1
        if status != http.HTTPStatus.OK:
            line = _line(body)
            kind = QueriesSpent if query.SPENT in line else InputError
            raise kind(f"oracle {format_address(self._address)}: {line}")
        try:
            parts = query.answered(body)
            for part in parts:
                if part.layout in LAYOUTS:  # as with what is captured: without the victim's code, tensors as they are
                    LAYOUTS[part.layout](part)
        except DecodeError as error:
            raise RunError(f"oracle {format_address(self._address)}: {error}") from error
        return parts

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _post(self, question: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/octet-stream"}
        token = os.environ.get(TOKEN_VARIABLE)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        for again in (True, False):
            try:
                self._connection.request("POST", query.PATH, question, headers)
                response = self._connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()  # an idle connection may have been closed over there: once more, on a new one
                if not again:
                    raise RunError(f"oracle {format_address(self._address)}: {error}") from error
        raise AssertionError("unreachable")


def _line(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{len(body)} bytes that are no error"
