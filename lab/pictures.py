"""Still pictures of clouds, for the README and wherever a turning one is too heavy: from above and from behind."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lab.clouds import Box, within
from lab.runfolder import write_whole
from victims.view import Points
from wire.errors import InputError

EYE: Final = (-11.0, 0.0, 8.0)
"""Where the camera of the perspective stands: metres behind, left of and above the sensor."""

AIM: Final = (14.0, 0.0, -1.5)
"""What it looks at, in the sensor's frame."""

FIELD_OF_VIEW_DEG: Final = 62.0

_THEMES: Final = {"dark": ("#0d0f12", "#e8e6e1"), "light": ("#f6f5f2", "#1c1f24")}
_NEAR_M: Final = 1.0
_PANEL_IN: Final = 5.0  # width of one panel, inches
_HEIGHT_IN: Final = {"behind": 2.75, "above": 5.0}


def project(
    xyz: NDArray[np.float32], eye: tuple[float, float, float] = EYE, aim: tuple[float, float, float] = AIM
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pinhole projection of points (N, 3), z up: image plane (N, 2), right and up, and depth (N,) in metres.

    A point in the middle of the picture has (0, 0); one at half the field of view, 1. Points nearer than a metre, or
    behind the camera, have NaN. ValueError when the camera looks straight up or down.
    """
    forward = np.subtract(aim, eye)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    if np.linalg.norm(right) < 1e-6:
        raise ValueError(f"a camera at {eye} cannot look straight up or down to {aim}")
    right = right / np.linalg.norm(right)
    up = np.cross(right, forward)
    relative = xyz.astype(np.float64) - np.asarray(eye)
    depth = relative @ forward
    plane = np.stack([relative @ right, relative @ up], axis=1)
    ahead = np.where(depth >= _NEAR_M, depth, np.nan)
    return plane / (ahead[:, None] * np.tan(np.deg2rad(FIELD_OF_VIEW_DEG / 2))), depth


def side_by_side(
    path: Path,
    panels: Sequence[tuple[str, Points]],
    *,
    box: Box | None = None,
    views: Sequence[str] = ("behind", "above"),
    theme: str = "dark",
    dots_per_inch: int = 110,
) -> Path:
    """Write a PNG: a column for each (title, cloud), a row for each of ``views``; returns ``path``.

    box: what part is shown, the same for all; None: the first cloud's. Colours run over each cloud's own span, which
    clouds that are compared share. InputError for no panel, or a view or theme that does not exist.
    """
    if not panels:
        raise InputError(f"{path.name}: no cloud to draw")
    unknown = [v for v in views if v not in _HEIGHT_IN]
    if unknown or not views:
        raise InputError(f"{path.name}: view {', '.join(unknown) or 'none'}; accepted: {', '.join(_HEIGHT_IN)}")
    if theme not in _THEMES:
        raise InputError(f"{path.name}: theme {theme!r}; accepted: {', '.join(_THEMES)}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    page, ink = _THEMES[theme]
    heights = [_HEIGHT_IN[v] for v in views]
    figure = Figure(figsize=(_PANEL_IN * len(panels), sum(heights) + 0.5), dpi=dots_per_inch, facecolor=page)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(views), len(panels), squeeze=False, height_ratios=heights)
    figure.subplots_adjust(
        left=0.005, right=0.995, bottom=0.01, top=1 - 0.45 / (sum(heights) + 0.5), wspace=0.02, hspace=0.02
    )
    if box is None and len(panels[0][1].xyz):
        box = panels[0][1].xyz.min(axis=0), panels[0][1].xyz.max(axis=0)
    for column, (title, cloud) in enumerate(panels):
        axes[0][column].set_title(title, color=ink, fontsize=13, loc="left", pad=8)
        shown = within(cloud, box)
        for row, kind in enumerate(views):
            _draw(axes[row][column], shown, kind, box, page)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor=page)
    # 256 colours are enough for a height scale and make the file a third as large.
    small = io.BytesIO()
    Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE).save(
        small, format="PNG", optimize=True
    )
    return write_whole(path, small.getvalue())


def _draw(axes: Any, cloud: Points, kind: str, box: Box | None, page: str) -> None:
    axes.set_axis_off()
    axes.set_facecolor(page)
    axes.set_aspect("equal")
    low, high = cloud.span or (None, None)
    if kind == "above":
        if box is not None:  # x forward is up, y left is left
            axes.set_xlim(float(box[1][1]), float(box[0][1]))
            axes.set_ylim(float(box[0][0]), float(box[1][0]))
        order = np.argsort(cloud.xyz[:, 2])
        at: NDArray[Any]
        at, size = cloud.xyz[order][:, [1, 0]], np.full(len(order), np.clip(30_000 / max(len(order), 1), 0.7, 6.0))
    else:
        plane, depth = project(cloud.xyz)
        axes.set_xlim(-1, 1)
        axes.set_ylim(-0.72, 0.38)
        order = np.argsort(-depth)
        order = order[np.isfinite(plane[order]).all(axis=1)]
        at, size = plane[order], np.clip(28.0 / depth[order], 0.4, 6.0)
    axes.scatter(at[:, 0], at[:, 1], s=size, c=cloud.value[order], cmap="turbo", vmin=low, vmax=high, linewidths=0)
