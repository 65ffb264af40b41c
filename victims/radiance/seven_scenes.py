"""Folders of the 7-Scenes data set (Shotton et al. 2013): colour, depth and pose of each frame.

``TrainSplit.txt`` and ``TestSplit.txt`` name sequences (``sequence1`` is the folder ``seq-01``); a folder of frames
alone is read as one sequence, of which every eighth frame is held out. Poses are camera to world with the axes of
OpenCV (y down, looking along z), depth is along the camera's axis, in millimetres, 65535 where unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from victims.radiance.bounds import around_cameras, around_depths, chosen
from victims.radiance.camera import Camera, fault, rigid
from victims.radiance.layouts import CENTRE, FOCAL
from victims.radiance.photographs import read_depth, read_photograph
from victims.radiance.scene import PosedPicture, Scene, every, thinned, views
from wire.errors import InputError
from wire.payload import Meta

INTRINSICS: Final = "camera-intrinsics.txt"
"""A 3x3 matrix beside the frames or their folder, as other tools write it; the data set itself has none."""

PUBLISHED: Final = (585.0, 320.0, 240.0, (480, 640))
"""Focal length and principal point that the data set's authors give, for pictures of 640 x 480."""

UNKNOWN: Final = 65535
HOLD_OUT: Final = 8
MOST: Final = 120
"""Frames that are taken, evenly from all; a sequence has 1000, nearly alike."""

_TO_OPENGL: Final = np.diag([1.0, -1.0, -1.0])


def is_seven_scenes(path: Path) -> bool:
    """Whether ``path`` is such a folder: split files, or frames with poses."""
    return (path / "TrainSplit.txt").is_file() or any(path.glob("frame-*.pose.txt"))


def read_seven_scenes(path: Path, settings: Mapping[str, Meta], longest: int) -> Scene:
    """The scene of a folder. settings: ``box``; ``views``, at most so many frames of each split (default 120).

    InputError: a sequence or a frame's part that is absent, a pose that is no rigid transform, pictures of a size that
    the published intrinsics are not for.
    """
    most = views(settings, MOST)
    if (path / "TrainSplit.txt").is_file():
        train, test = (_frames(path, f"{name}Split.txt", most) for name in ("Train", "Test"))
        held = frozenset(range(len(train), len(train) + len(test)))
    else:
        train, test = thinned(sorted(path.glob("frame-*.pose.txt")), most), []
        held = every(len(train), HOLD_OUT)
    pictures = [_picture(pose, path).resized(longest) for pose in (*train, *test)]
    box = chosen(settings.get("box"))
    if box is None:
        known = any(picture.depth is not None for picture in pictures)
        box = around_depths(pictures) if known else around_cameras([picture.camera for picture in pictures])
    return Scene(path.name, pictures, held, box, metric=True, origin=str(path))


def _frames(path: Path, name: str, most: int) -> list[Path]:
    """The pose files of every sequence that a split file names."""
    file, poses = path / name, []
    if not file.is_file():
        raise InputError(f"{file}: no such file; accepted: TrainSplit.txt and TestSplit.txt side by side")
    for line in file.read_text("utf-8", "replace").split():
        match = re.fullmatch(r"sequence(\d{1,6})", line)
        if match is None:
            raise InputError(f"{file}: {line!r}; accepted: lines like sequence1")
        folder = path / f"seq-{int(match[1]):02d}"
        found = sorted(folder.glob("frame-*.pose.txt"))
        if not found:
            raise InputError(f"{file}: lists {line}, but {folder} holds no frames")
        poses += found
    return thinned(poses, most)


def _picture(pose: Path, root: Path) -> PosedPicture:
    stem = pose.name.removesuffix(".pose.txt")
    matrix = _matrix(pose, 4)
    wrong = fault(matrix)
    if wrong:
        raise InputError(f"{pose}: the pose is no rigid transform: {wrong}")
    image = read_photograph(pose.with_name(f"{stem}.color.png"), pose)
    size = (image.shape[0], image.shape[1])
    placed = rigid(matrix)
    placed[:, :3] = placed[:, :3] @ _TO_OPENGL
    camera = _camera(placed, size, pose)
    name = stem if pose.parent == root else f"{pose.parent.name}/{stem}"
    return PosedPicture(name, image, camera, _distance(pose.with_name(f"{stem}.depth.png"), camera))


def _camera(pose: np.ndarray, size: tuple[int, int], origin: Path) -> Camera:
    file = next((f for f in (origin.parent / INTRINSICS, origin.parent.parent / INTRINSICS) if f.is_file()), None)
    if file is not None:
        (fx, _, cx), (_, fy, cy), _ = _matrix(file, 3).tolist()
        bounds = ((fx, FOCAL), (fy, FOCAL), (cx, CENTRE), (cy, CENTRE))
        if not all(low <= value <= high for value, (low, high) in bounds):
            raise InputError(
                f"{file}: focal lengths {fx:g}, {fy:g}, centre {cx:g}, {cy:g}; accepted: from {FOCAL[0]:g} to "
                f"{FOCAL[1]:g}, centre from {CENTRE[0]:g} to {CENTRE[1]:g}"
            )
        return Camera(pose, (fx, fy), (cx, cy), size)
    focal, x, y, published = PUBLISHED
    if size != published:
        raise InputError(
            f"{origin}: no intrinsics for a picture of {size[1]}x{size[0]}; accepted: a file {INTRINSICS}, "
            "or pictures of 640x480"
        )
    return Camera(pose, (focal, focal), (x, y), size)


def _distance(file: Path, camera: Camera) -> np.ndarray | None:
    """Depth along the axis as the distance along each pixel's ray, metres; None where there is no file."""
    if not file.is_file():
        return None
    depth = read_depth(file)
    if depth.shape != camera.size:
        raise InputError(f"{file}: {depth.shape[1]}x{depth.shape[0]}; the picture is {camera.size[1]}x{camera.size[0]}")
    rows, columns = np.mgrid[: camera.size[0], : camera.size[1]]
    x, y = (columns + 0.5 - camera.centre[0]) / camera.focal[0], (rows + 0.5 - camera.centre[1]) / camera.focal[1]
    metres = np.where(depth == UNKNOWN, 0, depth) / 1000
    return np.asarray(metres * np.sqrt(1 + x * x + y * y), np.float32)


def _matrix(file: Path, side: int) -> np.ndarray:
    try:
        read = np.array(file.read_text("utf-8", "replace").split(), np.float64)
    except OSError as error:
        raise InputError(f"{file}: not readable ({error.strerror})") from error
    except ValueError:
        raise InputError(f"{file}: no matrix of numbers") from None
    if read.size != side * side:
        raise InputError(f"{file}: {read.size} numbers; accepted: a {side}x{side} matrix")
    return read.reshape(side, side)
