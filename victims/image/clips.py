"""Clips: frames of a video in groups of consecutive ones, and groups made by panning over photographs."""

from __future__ import annotations

import csv
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np

from victims.base import Sample
from victims.image.pictures import fitted, panned
from wire.errors import InputError

INDEX: Final = "frames.csv"
"""A folder that holds it holds a video: its column ``file`` names the frames, in order."""

OVERSIZE: Final = 1.25
"""Side of the square that a photograph is brought to, over that of the window that moves across it."""

Clip = Callable[[], list[Sample]]
"""Reads the frames of one clip."""


class Clips(Iterator[Sample]):
    """The frames of all clips, one after the other, at most ``most`` (0: all). A clip with a picture that cannot be
    read raises InputError when it is reached, as a whole, and the next one follows: frame numbers stay multiples of the
    clips' length, and what cannot be read does not count.

    origin: where they come from, kind: what they are, for messages. Reads up to the first clip that can be read.
    InputError where there is none.
    """

    def __init__(self, clips: Iterable[Clip], most: int = 0, *, origin: Path, kind: str = "pictures") -> None:
        self._clips, self._ready, self._failed = iter(clips), deque[Sample](), deque[InputError]()
        self._left = most if most else math.inf
        while not self._ready:
            try:
                self._ready.extend(next(self._clips)())
            except StopIteration:
                break
            except InputError as error:
                self._failed.append(error)
        if len(self._failed) == 1 and not self._ready:
            raise self._failed[0]
        if self._failed and not self._ready:
            which = f"none of its {len(self._failed)} {kind} can be read; the first: {self._failed[0]}"
            raise InputError(f"{origin}: {which}")

    def __next__(self) -> Sample:
        if self._left <= 0:
            raise StopIteration
        if self._failed:
            raise self._failed.popleft()
        while not self._ready:
            self._ready.extend(next(self._clips)())
        self._left -= 1
        return self._ready.popleft()


def videos(folder: Path) -> list[Path]:
    """The folders in ``folder``, or below, that hold a video (:data:`INDEX`), by name."""
    return sorted(index.parent for index in folder.rglob(INDEX)) if folder.is_dir() else []


def video_clips(folder: Path, length: int) -> list[tuple[str, list[Path]]]:
    """Name and frames of every clip of ``length`` consecutive frames in the videos of ``folder``.

    Clips do not overlap; what is left at a video's end is left out. They come in turn: the first of every video, then
    the second of every one. InputError where no video is so long.
    """
    by_video = []
    for video in videos(folder):
        frames = _frames(video)
        starts = range(0, len(frames) - length + 1, length)
        by_video.append([(f"{video.name}/clip-{i:02d}", frames[s : s + length]) for i, s in enumerate(starts)])
    clips = [clip for turn in zip_longest(*by_video) for clip in turn if clip is not None]
    if not clips:
        raise InputError(f"{folder}: no video of {length} frames; accepted: folders with {INDEX} and its pictures")
    return clips


def pan_over(image: np.ndarray, side: int, length: int) -> list[np.ndarray]:
    """``length`` windows uint8 (side, side, 3) that move from left to right over ``image``.

    Its central square is resized to :data:`OVERSIZE` times the window first, so that all clips move at one speed.
    """
    return list(panned(fitted(image, round(OVERSIZE * side)), side, length))


def _frames(video: Path) -> list[Path]:
    try:
        with (video / INDEX).open(newline="") as rows:
            names = [row["file"] for row in csv.DictReader(rows)]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{video / INDEX}: not readable ({error}); accepted: a table with a column file") from error
    absent = [name for name in names if not name or not (video / name).is_file()]
    if absent:
        raise InputError(f"{video / INDEX}: names {absent[0]!r}, which is not there")
    return [video / name for name in names]
