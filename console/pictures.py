"""Pictures as the page takes them: clouds thinned and quantised, images as PNG, text as text."""

from __future__ import annotations

import base64
import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from victims.view import Image, Picture, Points

MAX_SIDE: Final = 1024
"""Pixels of an image's longer side; larger ones are drawn smaller, for the page has no more room."""

CELLS: Final = 250
"""Cells to the longer side of a cloud, for drawing it evenly: 10 cm of 25 m."""

Span = tuple[float, float]


class Palette:
    """Remembers, for each panel, over which values its colours ran first.

    A picture without a span of its own is coloured over the values of the first one. If every frame had new colours,
    noise that makes all values larger would leave the picture as it was.
    """

    def __init__(self) -> None:
        self._spans: dict[tuple[str, str], Span] = {}

    def span(self, panel: str, picture: Points) -> Span:
        """What the colours of this cloud run over."""
        if picture.span is not None:
            return picture.span
        if not len(picture.value):
            return self._spans.get((panel, picture.value_name), (0.0, 1.0))
        low, high = (float(v) for v in np.quantile(picture.value, [0.01, 0.99]))
        return self._spans.setdefault((panel, picture.value_name), (low, max(high, low + 1e-6)))

    def forget(self) -> None:
        """A new session: other features, other values."""
        self._spans.clear()


def packed(picture: Picture, span: Span | None, limit: int, rng: np.random.Generator) -> dict[str, Any]:
    """The picture as JSON.

    Points: ``xyz`` uint16 (N, 3) little-endian in base64, metres after ``low + step * value`` (below 2 mm for 100 m);
    ``value`` uint8 over ``span``; ``shown`` of ``total`` points, drawn by ``rng`` where there are more than ``limit``.
    Image: a data URL. Text: the text.
    """
    if isinstance(picture, Image):
        return {"kind": "image", "url": _png(picture.pixels)}
    if not isinstance(picture, Points):
        return {"kind": "text", "text": picture.text}
    keep = spread(picture.xyz, limit, rng)
    xyz, value = picture.xyz[keep], picture.value[keep]
    low = xyz.min(axis=0) if len(xyz) else np.zeros(3, np.float32)
    high = xyz.max(axis=0) if len(xyz) else np.ones(3, np.float32)
    step = np.maximum((high - low).astype(np.float64) / 65535, 1e-9)
    first, last = span or (0.0, 1.0)
    return {
        "kind": "points",
        "shown": len(xyz),
        "total": len(picture.xyz),
        "low": [float(v) for v in low],
        "step": [float(v) for v in step],
        "xyz": _base64(np.round((xyz - low) / step).astype("<u2")),
        "value": _base64(np.round(np.clip((value - first) / (last - first), 0, 1) * 255).astype(np.uint8)),
        "value_name": picture.value_name,
        "span": [first, last],
    }


def spread(xyz: NDArray[np.float32], limit: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Indices, rising, of at most ``limit`` points (all, where there are no more), evenly over what the cloud fills.

    A scan has most of its points on the ground beside the sensor; a plain draw would leave few for everything else. So
    one point of each cell (:data:`CELLS` to the cloud's longer side) comes first, the rest where there is room.
    """
    if len(xyz) <= limit:
        return np.arange(len(xyz))
    order = rng.permutation(len(xyz))
    low = xyz.min(axis=0)
    size = max(float((xyz.max(axis=0) - low).max()) / CELLS, 1e-9)
    cells = ((xyz[order] - low) / size).astype(np.int64)
    _, first = np.unique((cells[:, 0] * (CELLS + 1) + cells[:, 1]) * (CELLS + 1) + cells[:, 2], return_index=True)
    chosen = np.zeros(len(xyz), bool)
    chosen[first] = True
    ranked = np.concatenate([order[chosen], order[~chosen]])  # either part is in random order
    return np.sort(ranked[:limit])


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image as Pillow

    image = Pillow.fromarray(pixels)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
