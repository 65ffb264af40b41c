"""The paper's attack from the cloud, and its floor: the same surrogate that has learnt nothing."""

from __future__ import annotations

from attacker.attacks.base import Grants, Inverter, Needs, SessionInfo
from attacker.attacks.radiance.heard import HeardStep, View
from attacker.attacks.radiance.learner import SurrogateLearner
from attacker.attacks.radiance.online import OnlineInverter, Pictured
from attacker.attacks.radiance.opening import Opened, opened
from attacker.attacks.radiance.posing import picture
from attacker.attacks.radiance.settings import SurrogateSettings
from attacker.attacks.radiance.snapshot_field import Snapshots
from attacker.attacks.stateless import Untrained
from victims.base import State


class FromTheCloud:
    """A :class:`attacker.attacks.radiance.online.Listening`: a learner, and snapshots of the cloud for its poses."""

    def __init__(self, opening: Opened[SurrogateSettings], snapshots: Snapshots) -> None:
        self._learner, self._snapshots, self._opening = opening.learner(), snapshots, opening

    def learn(self, heard: HeardStep) -> None:
        """One step of the attack."""
        self._learner.learn(heard)

    def picture(self, asked: View) -> Pictured:
        """With the cloud's half at the step at which the picture is asked for."""
        return pictured(self._opening, self._learner, self._snapshots, asked)

    def state(self) -> State:
        """The learner's."""
        return self._learner.state()

    def load(self, state: State) -> None:
        """The learner's."""
        self._learner.load(state)


class Untouched(FromTheCloud):
    """The same that learns nothing."""

    def learn(self, heard: HeardStep) -> None:
        """Nothing."""


def pictured(
    opening: Opened[SurrogateSettings], learner: SurrogateLearner, snapshots: Snapshots, asked: View
) -> Pictured:
    """The surrogate's picture, with what the learning has come to."""
    field = snapshots.at(asked.step)
    image, depth = picture(field, opening.render(learner.part), asked, opening.victim.samples)
    return Pictured({"image": image, "depth": depth}, learner.told.meta())


class Surrogate(Untrained):
    """S2NeRF's surrogate model attack: an honest-but-curious cloud."""

    name = "surrogate"
    modality = "radiance"
    settings = SurrogateSettings
    needs = Needs("cloud", "none", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError, one line, where settings or files do not do."""
        opening = opened(SurrogateSettings, session, grants, self.name)
        snapshots = Snapshots(opening)
        return OnlineInverter(
            self.name, lambda: FromTheCloud(opening, snapshots), opening.shelf, opening.settings.keep_every
        )


class UntrainedSurrogate(Untrained):
    """The floor: what the cloud's own features show through a surrogate of the same seed, before it learns."""

    name = "untrained-surrogate"
    modality = "radiance"
    settings = SurrogateSettings
    needs = Needs("cloud", "none", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError, one line, where settings or files do not do."""
        opening = opened(SurrogateSettings, session, grants, self.name)
        snapshots = Snapshots(opening)
        return OnlineInverter(self.name, lambda: Untouched(opening, snapshots), None, 1)
