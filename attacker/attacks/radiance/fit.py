"""The paper's attack from the wire, by a listener that knows nothing of the cloud's half and fits one of its own."""

from __future__ import annotations

from dataclasses import dataclass

from attacker.attacks.base import Grants, Inverter, Needs, SessionInfo
from attacker.attacks.image.choices import number
from attacker.attacks.radiance.fitted_field import FittedField, Shape
from attacker.attacks.radiance.heard import HeardStep, View
from attacker.attacks.radiance.online import OnlineInverter, Pictured
from attacker.attacks.radiance.opening import Opened, opened
from attacker.attacks.radiance.posing import picture
from attacker.attacks.radiance.settings import SurrogateSettings
from attacker.attacks.radiance.together import joined, parted
from attacker.attacks.stateless import Untrained
from victims.base import State
from victims.radiance.networks import embedding_width


@dataclass(frozen=True)
class FitSettings(SurrogateSettings):
    """fit_levels, fit_rows_log2, fit_base, fit_finest: of the listener's own hash grid, which need not be the cloud's.
    fit_rate: of Adam."""

    fit_levels: int = number(8, 1, 32)
    fit_rows_log2: int = number(15, 4, 22)
    fit_base: int = number(16, 2, 1024)
    fit_finest: int = number(512, 2, 65_536)
    fit_rate: float = number(1e-2, 1e-6, 1)


class Fitting:
    """A :class:`attacker.attacks.radiance.online.Listening`: a learner, and a fitted field for its poses."""

    def __init__(self, opening: Opened[FitSettings]) -> None:
        chosen = opening.settings
        self._opening = opening
        self._learner = opening.learner()
        self._field = FittedField(
            Shape(chosen.fit_levels, chosen.fit_rows_log2, chosen.fit_base, chosen.fit_finest),
            embedding_width(opening.split, opening.victim),
            chosen.fit_rate,
            opening.seed,
        )

    def learn(self, heard: HeardStep) -> None:
        """One step of the fit, on the rays that the attack learns from too, and one of the attack."""
        self._field.fit(self._learner.rays(heard))
        self._learner.learn(heard)

    def picture(self, asked: View) -> Pictured:
        """With the fitted field."""
        opening = self._opening
        render = opening.render(self._learner.part)
        image, depth = picture(self._field, render, asked, opening.victim.samples)
        return Pictured({"image": image, "depth": depth}, {**self._learner.told.meta(), "fit_error": self._field.error})

    def state(self) -> State:
        """The learner's and the field's."""
        return joined(learner=self._learner.state(), field=self._field.state())

    def load(self, state: State) -> None:
        """The learner's and the field's."""
        both = parted(state)
        self._learner.load(both["learner"])
        self._field.load(both["field"])


class SurrogateFit(Untrained):
    """The surrogate attack of a listener that has the line and nothing else."""

    name = "surrogate-fit"
    modality = "radiance"
    settings = FitSettings
    needs = Needs("wire", "none", order="in_order", learns=True)

    def open(self, session: SessionInfo, grants: Grants) -> Inverter:
        """An inverter of a session. InputError, one line, where settings or files do not do."""
        opening = opened(FitSettings, session, grants, self.name)
        return OnlineInverter(self.name, lambda: Fitting(opening), opening.shelf, opening.settings.keep_every)
