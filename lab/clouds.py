"""Pictures as a page can carry them: clouds thinned, quantised and base64-coded; images as PNG."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from victims.view import Image, Picture, Points

SHOWN_POINTS: Final = 15_000
"""A browser turns two such clouds smoothly on a laptop without a graphics card."""

ERROR_SPAN_M: Final = 0.3
"""Distances to the truth are coloured from 0 to this, twice the distance of the headline metric; beyond looks alike."""


Box = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Lowest and highest corner, each (3,), metres."""


def box_of(picture: Picture) -> Box | None:
    """The box that holds a cloud; None where there is none."""
    if not isinstance(picture, Points) or not len(picture.xyz):
        return None
    return picture.xyz.min(axis=0), picture.xyz.max(axis=0)


def within(picture: Points, box: Box | None) -> Points:
    """The points inside the box, its borders included; all of them without one."""
    if box is None:
        return picture
    return _select(picture, np.flatnonzero(((picture.xyz >= box[0]) & (picture.xyz <= box[1])).all(axis=1)))


def thin(picture: Points, limit: int, rng: np.random.Generator) -> Points:
    """At most ``limit`` of the points, drawn without replacement and kept in order; itself when there are no more."""
    if len(picture.xyz) <= limit:
        return picture
    return _select(picture, np.sort(rng.choice(len(picture.xyz), limit, replace=False)))


def packed(
    picture: Picture,
    rng: np.random.Generator,
    limit: int = SHOWN_POINTS,
    box: Box | None = None,
    truth: Picture | None = None,
) -> dict[str, Any]:
    """The picture as JSON.

    Points: ``xyz`` uint16 (N, 3) little-endian, base64, to be scaled by ``low`` and ``step`` (metres; below 2 mm for
    100 m); ``value`` uint8 over ``span``; ``shown`` of the ``inside`` that lie in ``box``, of ``total``; with ``truth``
    also ``error``, uint8 over 0..:data:`ERROR_SPAN_M`, the distance to the nearest of *all* its points. Image: a data
    URL. Text: the text.
    """
    if isinstance(picture, Image):
        return {"kind": "image", "url": _png(picture.pixels)}
    if not isinstance(picture, Points):
        return {"kind": "text", "text": picture.text}
    inside = within(picture, box)
    shown = thin(inside, limit, rng)
    low, high = box_of(shown) or (np.zeros(3, np.float32), np.ones(3, np.float32))
    step = np.maximum((high - low).astype(np.float64) / 65535, 1e-9)
    span = picture.span or _own_span(picture.value)
    result: dict[str, Any] = {
        "kind": "points",
        "shown": len(shown.xyz),
        "inside": len(inside.xyz),
        "total": len(picture.xyz),
        "low": [float(v) for v in low],
        "step": [float(v) for v in step],
        "xyz": _base64(np.round((shown.xyz - low) / step).astype("<u2")),
        "value": _base64(_bytes(shown.value, *span)),
        "value_name": picture.value_name,
        "span": list(span),
    }
    if isinstance(truth, Points) and len(truth.xyz) and len(shown.xyz):
        distance, _ = cKDTree(truth.xyz).query(shown.xyz, distance_upper_bound=ERROR_SPAN_M)
        result["error"] = _base64(_bytes(np.minimum(distance, ERROR_SPAN_M), 0.0, ERROR_SPAN_M))
    return result


def _select(picture: Points, keep: NDArray[np.intp]) -> Points:
    return Points(picture.xyz[keep], picture.value[keep], picture.value_name, picture.span)


def _own_span(value: NDArray[np.float32]) -> tuple[float, float]:
    if not len(value):
        return 0.0, 1.0
    low, high = np.quantile(value, [0.01, 0.99])
    return float(low), float(max(high, low + 1e-6))


def _bytes(value: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    return np.round(np.clip((value - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
