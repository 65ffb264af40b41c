"""Picture files of posed scenes: as the image modality reads them, and with transparency (Blender) put on white."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from victims.image.pictures import MOST_BYTES, MOST_PIXELS, decode
from wire.errors import InputError


def read_photograph(path: Path, listed_in: Path) -> NDArray[np.uint8]:
    """uint8 (H, W, 3). InputError for a file that is listed but absent, and for one that is no picture."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: {path.stat().st_size:,} bytes; accepted: at most {MOST_BYTES:,}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{listed_in}: lists {path.name}, but there is no file {path}") from None
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from error
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP")) as picture:
            if picture.mode == "RGBA" and picture.width * picture.height <= MOST_PIXELS:
                return _on_white(picture)
    except (OSError, ValueError, SyntaxError):
        pass  # no such file, or a broken one: the other reader says what is wrong
    return decode(data, str(path))


def _on_white(picture: Image.Image) -> NDArray[np.uint8]:
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"), np.uint8).copy()


def read_depth(path: Path) -> NDArray[np.uint16]:
    """The values of a 16-bit gray PNG (H, W). InputError for anything else."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            if not picture.mode.startswith("I"):
                raise InputError(f"{path}: {picture.mode}; accepted: 16-bit gray")
            return np.asarray(picture).astype(np.uint16)
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: no depth picture ({error})") from error
