"""The listener's control port: its state, its settings, and its reconstructions for lab and console.

Beyond ``GET /state`` and ``PATCH /settings`` (:mod:`wire.control`):

``GET /reconstructions?after=N&wait_s=S``   JSON list of what is newer than number N (meta and number); waits up to S s
``GET /reconstructions/latest?attack=NAME`` the newest, as :func:`wire.arrays.pack` bytes; 404 before the first
``GET /reconstructions/N``                  the one with this number, while it is among the newest kept
``GET /payloads/latest?after=N&wait_s=S``   what left the edge in the newest captured frame (header ``X-Number``: its
                                            count); 204 while there is none after count N
"""

from __future__ import annotations

import os
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from attacker.newest import packed_payload
from attacker.process import Attacker
from attacker.reconstructions import Kept
from wire.control import TOKEN_VARIABLE, ControlServer
from wire.errors import InputError

MAX_WAIT_S = 30.0


class AttackerSettings(BaseModel):
    """What ``PATCH /settings`` may change. attacks: those that get frames from now on; paused: nothing is inverted."""

    model_config = ConfigDict(extra="forbid")

    paused: bool | None = None
    attacks: list[str] | None = None


class AttackerControl(ControlServer):
    """Serves one :class:`Attacker`."""

    def __init__(self, attacker: Attacker, address: str, hosts: tuple[str, ...] = ()) -> None:
        self._attacker = attacker
        token = os.environ.get(TOKEN_VARIABLE)
        super().__init__(
            "attacker",
            attacker.state,
            AttackerSettings,
            self._apply_settings,
            address=address,
            token=token,
            hosts=hosts,
        )

    def _build(self, *arguments: Any, **named: Any) -> FastAPI:
        app = super()._build(*arguments, **named)
        app.add_api_route("/reconstructions", self._newer, methods=["GET"])
        app.add_api_route("/reconstructions/latest", self._latest, methods=["GET"])
        app.add_api_route("/reconstructions/{number}", self._one, methods=["GET"])
        app.add_api_route("/payloads/latest", self._payload, methods=["GET"])
        return app

    def stop(self) -> None:
        """Answer who still waits for a payload, then close the port."""
        self._attacker.newest.close()
        super().stop()

    def _apply_settings(self, settings: AttackerSettings) -> dict[str, Any]:
        queue = self._attacker.queue
        if settings.attacks is not None:
            unknown = sorted(set(settings.attacks) - set(self._attacker.attacks))
            if unknown:
                there = ", ".join(sorted(self._attacker.attacks)) or "none"
                raise InputError(f"attack {unknown[0]!r} does not run here; there are: {there}")
            queue.select(frozenset(settings.attacks))
        if settings.paused is not None:
            queue.pause(settings.paused)
        next_frames = {s.info.session: s.frames.highest + 1 for s in self._attacker.sessions}
        return {"paused": queue.paused, "attacks": queue.selected, "from_frame": next_frames}

    def _newer(
        self,
        after: Annotated[int, Query(ge=0)] = 0,
        wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0.0,
    ) -> Response:
        found = self._attacker.store.after(after, wait_s)
        listed = [{"number": kept.number, "bytes": len(kept.data), "meta": kept.meta} for kept in found]
        return Response(to_json(listed, inf_nan_mode="null"), media_type="application/json")

    def _latest(self, attack: str | None = None) -> Response:
        return _packed(self._attacker.store.latest(attack), "none yet")

    def _payload(
        self,
        after: Annotated[int, Query(ge=0)] = 0,
        wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0.0,
    ) -> Response:
        found = self._attacker.newest.after(after, wait_s)
        data = packed_payload(found[1]) if found else None
        if found is None or data is None:
            return Response(status_code=204)
        return Response(data, media_type="application/octet-stream", headers={"X-Number": str(found[0])})

    def _one(self, number: int) -> Response:
        return _packed(self._attacker.store.get(number), f"reconstruction {number} is not kept (any more)")


def _packed(kept: Kept | None, missing: str) -> Response:
    if kept is None:
        raise HTTPException(404, missing)
    return Response(kept.data, media_type="application/octet-stream", headers={"X-Number": str(kept.number)})
