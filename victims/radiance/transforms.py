"""Scenes in ``transforms.json``: COLMAP's form (instant-ngp, nerfstudio) and Blender's (NeRF's synthetic scenes)."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Final
from unicodedata import category

import numpy as np

from victims.radiance.bounds import around_cameras, box_of, chosen
from victims.radiance.camera import Camera, fault, rigid
from victims.radiance.layouts import CENTRE, FOCAL
from victims.radiance.photographs import read_photograph
from victims.radiance.scene import PosedPicture, Scene, every, thinned, views
from wire.errors import InputError
from wire.payload import Meta

HOLD_OUT: Final = 8
"""Every eighth picture is held out, where the files do not say which."""

MOST_NAME: Final = 1024
"""Characters of a picture's name."""

_PARTS: Final = {"transforms_train.json": False, "transforms_test.json": True}
_DISTORTION: Final = ("k1", "k2", "k3", "k4", "p1", "p2")
_NO_NAME: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""What would make two lines of one message, or no name of a file: control characters, halves of pairs, line ends."""
_SUFFIXES: Final = ("", ".png", ".jpg", ".jpeg")


def is_transforms(path: Path) -> bool:
    """Whether ``path`` is such a file, or a folder with one."""
    return path.suffix == ".json" or any((path / name).is_file() for name in ("transforms.json", *_PARTS))


def read_transforms(path: Path, settings: Mapping[str, Meta], longest: int) -> Scene:
    """The scene of a ``transforms.json``, or of a folder with one, or with Blender's ``transforms_train.json`` and
    ``transforms_test.json``.

    longest: pictures are reduced to so many pixels on their longer side (0: as they are). settings: ``box``;
    ``views``, at most so many pictures of each file, evenly from all (default: all). Our own ``scene_hint``
    (``aabb_min``, ``aabb_max``, ``near``) and ``units`` are used where they are there. InputError, in one line: no
    rigid pose, no intrinsics, distorted pictures, a picture that is listed but absent or of another size, a number that
    cannot cross.
    """
    whole = path if path.suffix == ".json" else path / "transforms.json"
    files = {whole: None} if whole.is_file() else {path / name: held for name, held in _PARTS.items()}
    most = views(settings, sys.maxsize)
    pictures: list[PosedPicture] = []
    held: set[int] = set()
    first: Mapping[str, Any] = {}
    for file, out in files.items():
        read = _parsed(file)
        first = first or read
        frames = thinned(list(enumerate(_frames(file, read))), most)
        found = [_picture(file, read, frame, number) for number, frame in frames]
        if out is not False:
            held.update(range(len(pictures), len(pictures) + len(found)) if out else every(len(found), HOLD_OUT))
        pictures += found
    hint = first.get("scene_hint")
    hint = hint if isinstance(hint, Mapping) else {}
    box = chosen(settings.get("box"))
    if box is None and "aabb_min" in hint and "aabb_max" in hint:
        box = box_of([*_values(whole, hint, "aabb_min"), *_values(whole, hint, "aabb_max")], str(whole))
    return Scene(
        path.parent.name if path.suffix == ".json" else path.name,
        [picture.resized(longest) for picture in pictures],
        frozenset(held),
        box or around_cameras([picture.camera for picture in pictures]),
        near=_number(whole, hint, "near") or 0.0,
        metric=first.get("units") == "metres",
        origin=str(whole if whole.is_file() else path),
    )


def _parsed(file: Path) -> Mapping[str, Any]:
    try:
        read = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; accepted: transforms.json, or transforms_train and _test") from None
    except OSError as error:
        raise InputError(f"{file}: not readable ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: no JSON ({error})") from error
    if not isinstance(read, dict):
        raise InputError(f"{file}: {type(read).__name__}; accepted: an object with frames")
    return read


def _frames(file: Path, read: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    frames = read.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f"{file}: frames is no list of objects, or empty")
    return sorted(frames, key=lambda frame: str(frame.get("file_path")))


def _picture(file: Path, read: Mapping[str, Any], frame: Mapping[str, Any], number: int) -> PosedPicture:
    listed = frame.get("file_path")
    if not isinstance(listed, str) or not 0 < len(listed) <= MOST_NAME or {*map(category, listed)} & _NO_NAME:
        raise InputError(
            f"{file}: frame {number} has file_path {shortened(listed)}; accepted: the name of a picture, at most "
            f"{MOST_NAME} characters without control characters"
        )
    where = f"{file}: {listed}"
    try:
        matrix = np.array(frame.get("transform_matrix"), np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: transform_matrix is no matrix of numbers") from None
    wrong = fault(matrix)
    if wrong:
        raise InputError(f"{where}: the pose is no rigid transform: {wrong}")
    image = read_photograph(_found(file, listed), file)
    camera = _camera(where, {**read, **frame}, rigid(matrix), (image.shape[0], image.shape[1]))
    return PosedPicture(Path(listed).stem, image, camera)


def _found(file: Path, listed: str) -> Path:
    """The file of a listed picture, whose name may lack its ending."""
    names = [file.parent / f"{listed}{suffix}" for suffix in _SUFFIXES]
    try:
        return next((name for name in names if name.is_file()), names[0])
    except OSError as error:  # the name is too long for a file, or its folder closed
        raise InputError(f"{file}: lists {shortened(listed)}, not readable ({error.strerror})") from error


def _camera(where: str, given: Mapping[str, Any], pose: np.ndarray, size: tuple[int, int]) -> Camera:
    """The intrinsics of a frame, or of the whole file."""
    bent = [key for key in _DISTORTION if _number(where, given, key)]
    if bent:
        raise InputError(
            f"{where}: distorted ({bent[0]} is {shortened(given[bent[0]])}); "
            "accepted: pinhole pictures (colmap image_undistorter)"
        )
    for key, actual in (("w", size[1]), ("h", size[0])):
        said = _number(where, given, key)
        if said is not None and said != actual:
            raise InputError(f"{where}: {key} is {said:g}, but the picture has {actual} pixels")
    across = _focal(where, given, "x", size[1])
    along = _focal(where, given, "y", size[0])
    if across is None and along is None:
        raise InputError(f"{where}: no intrinsics; accepted: fl_x (and fl_y), or camera_angle_x")
    x, y = across or along or 0.0, along or across or 0.0
    centre = _number(where, given, "cx", CENTRE), _number(where, given, "cy", CENTRE)
    middle = (
        size[1] / 2 if centre[0] is None else centre[0],
        size[0] / 2 if centre[1] is None else centre[1],
    )
    return Camera(pose, (x, y), middle, size)


def _focal(where: str, given: Mapping[str, Any], axis: str, pixels: int) -> float | None:
    focal, angle = _number(where, given, f"fl_{axis}", FOCAL), _number(where, given, f"camera_angle_{axis}")
    if focal is None and angle is not None:
        if not 0 < angle < math.pi:
            raise InputError(f"{where}: camera_angle_{axis} is {angle:g}; accepted: radians between 0 and pi")
        focal = pixels / 2 / math.tan(angle / 2)
        if not FOCAL[0] <= focal <= FOCAL[1]:
            raise InputError(
                f"{where}: camera_angle_{axis} is {angle:g}, a focal length of {focal:g} pixels; "
                f"accepted: {FOCAL[0]:g} to {FOCAL[1]:g}"
            )
    return focal


def _number(
    where: object, given: Mapping[str, Any], key: str, bounds: tuple[float, float] | None = None
) -> float | None:
    """The number under ``key``, None where there is none. bounds: the least and the most that is accepted."""
    value = given.get(key)
    if value is None:
        return None
    number = _finite(value)
    if number is None or (bounds is not None and not bounds[0] <= number <= bounds[1]):
        accepted = "a finite number" if bounds is None else f"a number from {bounds[0]:g} to {bounds[1]:g}"
        raise InputError(f"{where}: {key} is {shortened(value)}; accepted: {accepted}")
    return number


def _finite(value: object) -> float | None:
    """``value`` as a float; None for what is no number, or none that a float holds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of JSON has as many digits as its author likes
        return None
    return number if math.isfinite(number) else None


def _values(where: object, given: Mapping[str, Any], key: str) -> list[float]:
    value = given[key]
    numbers = [_finite(v) for v in value] if isinstance(value, list) else [None]
    found = [number for number in numbers if number is not None]
    if len(found) < len(numbers):
        raise InputError(f"{where}: {key} is {shortened(value)}; accepted: a list of numbers")
    return found
