"""The floor that needs no network: every transmitted site becomes a point at its window's centre.

What the site list alone gives away, whatever the channels hold: a defense that only perturbs values cannot go below it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attacker.attacks.base import CapturedFrame, Grants, Inverter, Needs, Reconstruction, SessionInfo
from attacker.attacks.lidar.transmitted import transmitted
from attacker.attacks.stateless import Stateless, Untrained


class _Inverter(Stateless):
    def __init__(self, attack: str) -> None:
        self._attack = attack

    def observe(self, frames: Sequence[CapturedFrame]) -> Sequence[Reconstruction]:
        out = []
        for frame in frames:
            heard = transmitted(frame)
            points = heard.levels[heard.depth].centres(heard.coords)
            out.append(
                Reconstruction(frame.session, (frame.frame,), self._attack, {"points": points}, {"sites": len(points)})
            )
        return out


class Coordinates(Untrained):
    """Active sites at the centres of their windows."""

    name = "coordinates"
    modality = "lidar"
    needs = Needs("wire", "none")

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter for any LiDAR split point."""
        return _Inverter(self.name)
