"""How the white-box attacks are set, by how much of the network stands before the cut.

Found on JPEG test pictures behind the published ResNet-20, which no study streams: eight pictures, up to five settings
an attack, the same effort for all rivals. Deeper features say less, so more is left to total variation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from victims.image.victim import ImageVictim
from wire.payload import Meta

WAVES: Final = "direct-waves"
POLISHED: Final = "diffusion-polished"
VARIANTS: Final[Mapping[str, str]] = {WAVES: "direct", POLISHED: "diffusion"}
"""Row -> the attack that it is, with settings of its own."""

RATES: Final[Mapping[str, float]] = {"direct": 0.02, "decoder": 0.15, "diffusion": 0.2}
"""Adam's, by attack."""

SMOOTHING: Final[Mapping[str, tuple[float, float, float]]] = {
    "direct": (0.1, 0.3, 1.0),
    WAVES: (0.1, 0.3, 2.0),
    "decoder": (0.1, 0.1, 1.0),
    "diffusion": (0.1, 0.1, 3.0),
}
"""Weight of total variation, by row or attack: up to the end of the first stage, between, from the end of the last."""


def tuned(row: str, depth: int) -> dict[str, Meta]:
    """Settings of a row at a depth of :func:`depth_of`, in the default settings of its profile."""
    attack = VARIANTS.get(row, row)
    return {"lr": RATES[attack], "tv": SMOOTHING.get(row, SMOOTHING[attack])[depth]}


def basis(row: str) -> dict[str, Meta]:
    """What makes :data:`WAVES` another attack than ``direct``, whatever the profile."""
    return {"basis": "waves"} if row == WAVES else {}


def depth_of(found: ImageVictim, layer: str, ends: Sequence[str]) -> int:
    """0: up to the end of the first stage; 2: from the end of the last one on; 1: between."""
    order = {point: number for number, point in enumerate(found.points)}
    place = order.get(layer, 0)
    if place >= order[ends[-1]]:
        return 2
    return 0 if place <= order[ends[0]] else 1
