"""No defense: the baseline of every table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from defenses.base import Calibration, Protected, Turn
from defenses.calibrate import calibrate_rms
from defenses.settings import Settings
from wire.errors import InputError
from wire.payload import Meta, Payload

if TYPE_CHECKING:
    from victims.base import Sample


class NoDefense:
    """Lets everything pass: the very payloads that came, no copy. Has no settings and needs no calibration itself."""

    name = "none"
    roles: frozenset[str] = frozenset()

    def __init__(self, settings: Mapping[str, Meta], calibration: Calibration | None = None) -> None:
        Settings(self.name, settings).done()

    def calibrate(self, clean: Iterable[Payload]) -> Calibration:
        """The RMS of clean features all the same: a running edge may swap to a defense that counts in it.

        0 over 0 frames where the stream holds nothing to measure, which such a defense then refuses.
        """
        try:
            return calibrate_rms(clean, frozenset({"features"}))
        except InputError:
            return Calibration(rms=0.0)

    def prepare(self, sample: Sample, turn: Turn) -> Sample:
        """The sample as it is."""
        return sample

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        """The parts as they are."""
        return Protected(parts)

    def mechanism(self) -> None:
        """None: nothing is promised."""
        return
