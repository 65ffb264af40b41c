"""What a training picture is said to show: its class, and the colour of its background.

The background is the 3-pixel frame around the picture; its colour is the one of :data:`COLOURS` nearest (in 8-bit RGB)
to the frame's median, channel by channel. So a caption's foreground and background words can both be checked.
"""

from __future__ import annotations

import numpy as np

from victims.image.cifar import CLASSES

FRAME = 3

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (16, 16, 16),
    "dark gray": (64, 64, 64),
    "gray": (120, 120, 120),
    "light gray": (180, 180, 180),
    "white": (240, 240, 240),
    "dark brown": (64, 48, 32),
    "brown": (112, 84, 56),
    "tan": (160, 136, 104),
    "beige": (215, 200, 175),
    "dark green": (44, 64, 32),
    "green": (88, 112, 56),
    "light green": (150, 170, 110),
    "dark blue": (24, 44, 84),
    "blue": (56, 100, 160),
    "light blue": (120, 165, 205),
    "pale blue": (190, 215, 238),
    "yellow": (210, 185, 70),
    "orange": (205, 115, 45),
    "red": (160, 45, 40),
    "pink": (220, 150, 150),
    "purple": (110, 70, 130),
}

TEMPLATES = (
    "a photo of {article} {class}, {colour} background",
    "a photo of {article} {class}",
    "a photo, {colour} background",
    "",
)
SHARES = (0.70, 0.15, 0.10, 0.05)
"""How often each template is drawn in training; shorter ones make half a description a legal prompt."""


def frame_median(images: np.ndarray) -> np.ndarray:
    """Median colour of the frame, channel by channel, float64 (N, 3) in 0..255. images: uint8 (N, H, W, 3)."""
    frame = np.ones(images.shape[1:3], bool)
    frame[FRAME:-FRAME, FRAME:-FRAME] = False
    median: np.ndarray = np.median(images[:, frame], axis=1)
    return median


def background(images: np.ndarray) -> np.ndarray:
    """Index into :data:`COLOURS` of each picture's background, int64 (N,). images: uint8 (N, H, W, 3)."""
    palette = np.array(list(COLOURS.values()), np.float64)
    nearest: np.ndarray = np.square(frame_median(images)[:, None] - palette).sum(-1).argmin(1)
    return nearest


def caption(label: int, colour: int, template: int = 0) -> str:
    """The caption of a picture of class ``label`` before background ``colour``."""
    name = CLASSES[label]
    article = "an" if name[0] in "aeiou" else "a"
    return TEMPLATES[template].format_map({"article": article, "class": name, "colour": list(COLOURS)[colour]})


def all_captions() -> list[str]:
    """Every caption that exists; the one of (label, colour, template) is at index :func:`position`."""
    return [
        caption(label, colour, template)
        for label in range(len(CLASSES))
        for colour in range(len(COLOURS))
        for template in range(len(TEMPLATES))
    ]


def position(labels: np.ndarray, colours: np.ndarray, templates: np.ndarray) -> np.ndarray:
    """Indices into :func:`all_captions`."""
    places: np.ndarray = (labels * len(COLOURS) + colours) * len(TEMPLATES) + templates
    return places
