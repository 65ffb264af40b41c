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
    keep = np.arange(len(picture.xyz))
    if len(keep) > limit:
        keep = np.sort(rng.choice(len(keep), limit, replace=False))
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


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image as Pillow

    image = Pillow.fromarray(pixels)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
