"""The paper's attack from the wire, by a listener that knows how the cloud began and replays all that it does."""

from __future__ import annotations

from attacker.attacks.base import Grants, Inverter, Needs, SessionInfo
from attacker.attacks.radiance.heard import HeardStep, View
from attacker.attacks.radiance.online import OnlineInverter, Pictured
from attacker.attacks.radiance.opening import Opened, opened
from attacker.attacks.radiance.posing import picture
from attacker.attacks.radiance.replayed_field import ReplayedField
from attacker.attacks.radiance.settings import SurrogateSettings
from attacker.attacks.radiance.together import joined, parted
from attacker.attacks.stateless import Untrained
from victims.base import State
from wire.errors import InputError


class Replaying:
    """A :class:`attacker.attacks.radiance.online.Listening`: a learner, and a replayed tail for its poses.

    It ends at the first step that it cannot follow: every later frame is refused with the line that names the step.
    """

    def __init__(self, opening: Opened[SurrogateSettings]) -> None:
        self._opening = opening
        self._learner = opening.learner()
        self._field = ReplayedField(opening.split, opening.victim)
        self._ended: str | None = None

    def learn(self, heard: HeardStep) -> None:
        """The cloud's update, and one step of the attack. InputError where the replay has ended."""
        self._check()
        try:
            self._field.follow(heard)
        except InputError as error:
            self._ended = str(error)
            self._check()
        self._learner.learn(heard)

    def picture(self, asked: View) -> Pictured:
        """With the replayed half. InputError where the replay has ended, or stands at another step."""
        self._check()
        if asked.step != self._field.done:
            self._ended = f"step {self._field.done} was not heard, and a picture after {asked.step} steps is asked for"
            self._check()
        opening = self._opening
        render = opening.render(self._learner.part)
        image, depth = picture(self._field, render, asked, opening.victim.samples)
        return Pictured({"image": image, "depth": depth}, {**self._learner.told.meta(), "drift": self._field.drift})

    def state(self) -> State:
        """The learner's and the tail's."""
        return joined(learner=self._learner.state(), field=self._field.state())

    def load(self, state: State) -> None:
        """The learner's and the tail's."""
        both = parted(state)
        self._learner.load(both["learner"])
        self._field.load(both["field"])
        self._ended = None

    def _check(self) -> None:
        if self._ended is not None:
            raise InputError(f"attack {self._opening.attack} has ended: {self._ended}")


class SurrogateReplay(Untrained):
    """The surrogate attack without the cloud's help; it needs to know the cloud's initial weights and optimiser."""

    name = "surrogate-replay"
    modality = "radiance"
    settings = SurrogateSettings
    needs = Needs("wire", "white", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError, one line, where settings or files do not do."""
        opening = opened(SurrogateSettings, session, grants, self.name)
        return OnlineInverter(self.name, lambda: Replaying(opening), opening.shelf, opening.settings.keep_every)
