"""``inversion-direct``: a network from features to pixels (equation 5)."""

from __future__ import annotations

from attacker.attacks.base import Grants, Needs
from attacker.attacks.image.inversion_networks.attack import InversionByNetwork
from attacker.attacks.image.inversion_networks.rendering import Pixels, Renderer
from attacker.attacks.image.inversion_networks.settings import InversionSettings


class InversionDirect(InversionByNetwork):
    """No prior but the queries."""

    name = "inversion-direct"
    needs = Needs("wire", "black", batch=64, queries=1)

    def renderer(self, settings: InversionSettings, grants: Grants, side: int) -> Renderer:
        """Pixels."""
        return Pixels(side)
