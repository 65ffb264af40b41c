"""Pictures from files of a user: decoded within bounds, or refused in one line that says why."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from wire.errors import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
LEAST_SIDE = 8
MOST_PIXELS = 40_000_000
MOST_BYTES = 64 << 20

_ACCEPTED = "accepted: RGB or gray pictures of 8 bits"
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what makes the picture upright."""
_PNG, _PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24  # the bit depth's place in a PNG file's header


def decode(data: bytes, origin: str) -> np.ndarray:
    """The picture in a file's bytes, upright, uint8 (H, W, 3). origin: its name, for messages.

    InputError: no picture, cut short, sides below 8 pixels, more than 40 megapixels (checked before any pixel is
    decoded), more than 8 bits, with transparency, CMYK.
    """
    if len(data) > MOST_BYTES:
        raise InputError(f"{origin}: {len(data):,} bytes; accepted: at most {MOST_BYTES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels: our bound is lower; of damaged notes of a camera
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                _check(picture, data, origin)
                return np.asarray(_upright(picture).convert("RGB"), np.uint8).copy()
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{origin}: no picture; accepted: {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise InputError(f"{origin}: more pixels than {MOST_PIXELS:,}, which are accepted at most") from error
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, TypeError and others here
        raise InputError(f"{origin}: cut short or broken ({' '.join(str(error).split())})") from error


def _upright(picture: Image.Image) -> Image.Image:
    """As ``ImageOps.exif_transpose``, which also writes all notes of the camera anew and fails where one is odd."""
    turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation))
    return picture if turn is None else picture.transpose(turn)


def _check(picture: Image.Image, data: bytes, origin: str) -> None:
    width, height = picture.size
    if min(width, height) < LEAST_SIDE:
        raise InputError(f"{origin}: {width}x{height} pixels; accepted: sides of at least {LEAST_SIDE}")
    if width * height > MOST_PIXELS:
        raise InputError(f"{origin}: {width}x{height} pixels; accepted: at most {MOST_PIXELS:,} in all")
    if picture.mode.startswith(("I", "F")) or (data.startswith(_PNG) and data[_PNG_DEPTH] > 8):
        raise InputError(f"{origin}: more than 8 bits a channel; {_ACCEPTED}")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        raise InputError(f"{origin}: transparent ({picture.mode}); {_ACCEPTED}, without transparency")
    if picture.mode not in ("RGB", "L", "P", "1"):
        raise InputError(f"{origin}: {picture.mode}; {_ACCEPTED}")


def read_picture(path: Path) -> np.ndarray:
    """:func:`decode` of a file."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes; accepted: at most {MOST_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from error
    return decode(data, str(path))


def find_pictures(folder: Path) -> list[Path]:
    """The picture files in ``folder`` and below, by name. InputError where there are none."""
    if folder.is_file():
        return [folder]
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"{folder}: holds no pictures; accepted: a folder with {', '.join(sorted(SUFFIXES))} files")
    return found


def fitted(image: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """The largest central part of ``image`` uint8 (H, W, 3) with the shape of ``size``, resized to it (Lanczos).

    size: height and width, or the side of a square. A picture that has it already comes back as it is.
    """
    wanted = (size, size) if isinstance(size, int) else size
    height, width = image.shape[:2]
    if (height, width) == wanted:
        return image
    high = min(height, max(1, round(width * wanted[0] / wanted[1])))
    wide = min(width, max(1, round(height * wanted[1] / wanted[0])))
    top, left = (height - high) // 2, (width - wide) // 2
    return _resized(image[top : top + high, left : left + wide], wanted)


def squeezed(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The whole of ``image`` uint8 (H, W, 3) at height and width ``size`` (Lanczos): nothing is cut off."""
    return image if image.shape[:2] == size else _resized(image, size)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS), np.uint8).copy()


def panned(image: np.ndarray, side: int, frames: int) -> Iterator[np.ndarray]:
    """Windows (side, side, 3) that move over a larger photograph from its left to its right edge: a clip made of one.

    InputError where the picture is smaller than a window.
    """
    height, width = image.shape[:2]
    if min(height, width) < side:
        raise InputError(f"a clip of {side}x{side} windows over a picture of {width}x{height}; accepted: a larger one")
    top = (height - side) // 2
    for left in np.linspace(0, width - side, frames).round().astype(int):
        yield image[top : top + side, left : left + side].copy()
