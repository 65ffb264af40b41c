"""The model libraries' own progress bars and notices, held back while folders are read or written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and no notices of diffusers and transformers inside the block; errors still raise."""
    rooms = (diffusers_logging, transformers_logging)
    before = [(room.get_verbosity(), room.is_progress_bar_enabled()) for room in rooms]
    for room in rooms:
        room.set_verbosity_error()
        room.disable_progress_bar()
    try:
        yield
    finally:
        for room, (verbosity, bars) in zip(rooms, before, strict=True):
            room.set_verbosity(verbosity)
            if bars:
                room.enable_progress_bar()
