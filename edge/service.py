"""The edge's control port: its state, its settings, and the truth, which only lab and console may ask for.

Beyond ``GET /state`` and ``PATCH /settings`` (:mod:`wire.control`):

``GET /frames?after=N&wait_s=S``   JSON list of the frames finished after number N, oldest first: stage times, age
``GET /truth``                     the newest sample with its labels and the answer, as :func:`wire.arrays.pack` bytes
``GET /truth/N``                   the one of frame N, while it is among the newest kept; 404 after
``GET /outcomes/N``                its answer alone
``GET /samples/latest?after=N&wait_s=S``  the newest sample that a head has begun on, with its labels (header
                                   ``X-Age-Ms``: since its capture); 204 while there is none after frame N
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Response
from pydantic_core import to_json

from edge.ring import Finished, Ring
from wire.control import ControlServer

MAX_WAIT_S = 30.0


class EdgeControl(ControlServer):
    """Serves one edge; ``ring`` holds the newest frames."""

    def __init__(self, ring: Ring, *arguments: Any, **named: Any) -> None:
        self._ring = ring
        super().__init__("edge", *arguments, **named)

    def _build(self, *arguments: Any, **named: Any) -> FastAPI:
        app = super()._build(*arguments, **named)
        app.add_api_route("/frames", self._frames, methods=["GET"])
        app.add_api_route("/truth", self._newest, methods=["GET"])
        app.add_api_route("/truth/{frame}", self._truth, methods=["GET"])
        app.add_api_route("/outcomes/{frame}", self._outcome, methods=["GET"])
        app.add_api_route("/samples/latest", self._sample, methods=["GET"])
        return app

    def stop(self) -> None:
        """Answer who still waits, then close the port."""
        self._ring.close()
        super().stop()

    def _frames(
        self,
        after: Annotated[int, Query(ge=-1)] = -1,
        wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0.0,
    ) -> Response:
        rows = [finished.told() for finished in self._ring.after(after, wait_s)]
        return Response(to_json(rows, inf_nan_mode="null"), media_type="application/json")

    def _newest(self) -> Response:
        return _packed(self._ring.newest(), "no frame is finished yet")

    def _truth(self, frame: int) -> Response:
        return _packed(self._ring.get(frame), f"the truth of frame {frame} is not kept (any more)")

    def _outcome(self, frame: int) -> Response:
        finished = self._ring.get(frame)
        if finished is None:
            raise HTTPException(404, f"the answer of frame {frame} is not kept (any more)")
        return Response(finished.packed_outcome(), media_type="application/octet-stream")

    def _sample(
        self,
        after: Annotated[int, Query(ge=-1)] = -1,
        wait_s: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0.0,
    ) -> Response:
        taken = self._ring.taken(after, wait_s)
        if taken is None:
            return Response(status_code=204)
        headers = {"X-Age-Ms": f"{taken.age_ms:.3f}"}
        return Response(taken.packed(), media_type="application/octet-stream", headers=headers)


def _packed(finished: Finished | None, missing: str) -> Response:
    if finished is None:
        raise HTTPException(404, missing)
    return Response(finished.packed(), media_type="application/octet-stream")
