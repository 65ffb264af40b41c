"""A contact sheet: originals and what the attacks made of them, by depth and method, as one picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wire.errors import InputError

TILE: Final = 96
"""Pixels of a tile's longer side: a picture of 32 is shown three times as large."""

PHOTO: Final = 256
"""The same for pictures larger than :data:`TILE`."""

COLUMNS: Final = 8
"""Pictures side by side, evenly spaced over the stream."""

_GAP: Final = 6
_LABEL: Final = 190
_CAPTION: Final = 16
_BLOCK: Final = 34
_PAGE: Final = "#fbfaf8"
_INK: Final = "#1c1f24"
_SOFT: Final = "#5c636e"
_EMPTY: Final = "#e6e3dd"

Picture = NDArray[np.uint8]
"""(H, W, 3), RGB."""


@dataclass(frozen=True)
class Row:
    """Pictures of one method. pictures: (H, W, 3) each, None where there is none. small: a line below the label.

    captions: what stands under each picture; none at all where it is empty.
    """

    label: str
    pictures: Sequence[Picture | None]
    small: str = ""
    captions: Sequence[str] = ()


Blocks = Mapping[str, Sequence[Row]]
"""Heading (a depth) -> its rows."""


def contact_sheet(blocks: Blocks) -> bytes:
    """The sheet as PNG. Rows may be of different lengths. InputError where there is nothing to show."""
    from PIL import Image, ImageDraw, ImageFont

    columns = max((len(row.pictures) for rows in blocks.values() for row in rows), default=0)
    if not columns:
        raise InputError("contact sheet: no picture to show")
    tiles = {title: _tile_size(rows) for title, rows in blocks.items()}
    width = max(across for across, _ in tiles.values())
    heights = [_BLOCK + sum(_height(row, tiles[title][1]) for row in rows) for title, rows in blocks.items()]
    sheet = Image.new("RGB", (_LABEL + columns * (width + _GAP) + _GAP, sum(heights) + _GAP), _PAGE)
    draw = ImageDraw.Draw(sheet)
    head, text, small = (ImageFont.load_default(size) for size in (17, 14, 11))
    top = 0
    for title, rows in blocks.items():
        high = tiles[title][1]
        draw.text((_GAP * 2, top + 10), title, fill=_INK, font=head)
        top += _BLOCK
        for row in rows:
            draw.text((_GAP * 2, top + high // 2 - 16), row.label, fill=_INK, font=text)
            draw.text((_GAP * 2, top + high // 2 + 3), row.small, fill=_SOFT, font=small)
            for number, picture in enumerate(row.pictures):
                left = _LABEL + number * (width + _GAP)
                if picture is None:
                    draw.rectangle((left, top, left + width - 1, top + high - 1), fill=_EMPTY)
                else:
                    sheet.paste(_tile(picture), (left, top))
                if number < len(row.captions):
                    draw.text((left + 1, top + high + 1), row.captions[number], fill=_SOFT, font=small)
            top += _height(row, high)
    made = io.BytesIO()
    sheet.save(made, format="PNG", optimize=True)
    return made.getvalue()


def _height(row: Row, tile: int) -> int:
    return tile + _GAP + (_CAPTION if row.captions else 0)


def _tile_size(rows: Sequence[Row]) -> tuple[int, int]:
    """Width and height that every picture of a block fits into."""
    sizes = [_shown(picture) for row in rows for picture in row.pictures if picture is not None] or [(TILE, TILE)]
    return max(width for width, _ in sizes), max(height for _, height in sizes)


def _shown(picture: Picture) -> tuple[int, int]:
    """Width and height of a picture on the sheet: its own shape."""
    height, width = picture.shape[:2]
    scale = (TILE if max(height, width) <= TILE else PHOTO) / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _tile(picture: Picture) -> Any:
    """Small pictures by whole pixels, so that nothing is smoothed that the attack did not smooth."""
    from PIL import Image

    enlarged = max(picture.shape[:2]) <= TILE
    how = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
    return Image.fromarray(np.ascontiguousarray(picture)).resize(_shown(picture), how)
