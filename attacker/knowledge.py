"""What a listener was given beside the capture, as a card: in the run's configuration, and in every report.

The lab and the attacker both ask the card before anything starts, so an attack never runs on more than its table says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, get_args

from attacker.guard import GuardReport, Layer
from wire.errors import InputError

if TYPE_CHECKING:  # torch stands behind both, and the guard goes up before torch
    from attacker.attacks.base import Needs
    from wire.payload import Meta

VANTAGES = ("wire", "cloud")
VICTIMS = ("none", "black", "white")
DEFENSES = ("unaware", "aware")
"""Each in rising order: who holds a later one holds the earlier ones too."""

_LADDERS = {"vantage": VANTAGES, "victim": VICTIMS, "defense": DEFENSES}


@dataclass(frozen=True)
class KnowledgeCard:
    """One listener's knowledge.

    vantage: ``wire`` (reads the line) or ``cloud`` (also what the cloud copies to it).
    victim: ``white`` (architecture and weights), ``black`` (``queries`` of them, counted), ``none``.
    defense: ``unaware``, or ``aware`` of ``defense_name`` and ``defense_settings``.
    data: which public data the attack was trained on; "" for an attack that learns nothing.
    leaks: what else was given away (a picture, a prompt). guard: what enforced the card, once known.
    Raises InputError for a value outside these lists, or a card that contradicts itself.
    """

    vantage: str = "wire"
    victim: str = "none"
    defense: str = "unaware"
    data: str = ""
    leaks: tuple[str, ...] = ()
    queries: int = 0
    defense_name: str = ""
    defense_settings: Mapping[str, Meta] = field(default_factory=dict)
    guard: GuardReport | None = None

    def __post_init__(self) -> None:
        for name, ladder in _LADDERS.items():
            if getattr(self, name) not in ladder:
                raise InputError(f"knowledge: {name} is {getattr(self, name)!r}; accepted: {', '.join(ladder)}")
        for name in ("data", "defense_name"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"knowledge: {name} is {getattr(self, name)!r}; accepted: a text")
        if not isinstance(self.leaks, tuple) or not all(isinstance(leak, str) for leak in self.leaks):
            raise InputError(f"knowledge: leaks is {self.leaks!r}; accepted: a list of texts")
        if type(self.queries) is not int or self.queries < 0:
            raise InputError(f"knowledge: queries is {self.queries!r}; accepted: a whole number from 0")
        if self.queries and self.victim == "none":
            raise InputError(f"knowledge: {self.queries} queries but victim none; accepted with queries: black, white")
        if self.defense == "unaware" and (self.defense_name or self.defense_settings):
            raise InputError(f"knowledge: defense unaware but {self.defense_name or 'settings'} given; say aware")

    def entitles(self, needs: Needs, split: str | None = None) -> list[str]:
        """Why an attack with these needs may not run on this card: one line for each refusal, empty if it may.

        split: the session's split point, where it is known; an attack trained for others is refused by name.
        """
        refusals = []
        for name, ladder in _LADDERS.items():
            wanted, held = getattr(needs, name), getattr(self, name)
            if ladder.index(wanted) > ladder.index(held):
                refusals.append(f"{name}: the attack needs {wanted}, the card grants {held}")
        if needs.queries > self.queries:
            refusals.append(f"queries: the attack needs {needs.queries}, the card grants {self.queries}")
        if split is not None and needs.splits is not None and split not in needs.splits:
            known = ", ".join(sorted(needs.splits)) or "none"
            refusals.append(f"split: the attack is trained for {known}, the session is cut at {split}")
        return refusals

    def with_guard(self, report: GuardReport) -> KnowledgeCard:
        """The same card, with what enforces it."""
        return dataclasses.replace(self, guard=report)

    def to_dict(self) -> dict[str, Any]:
        """A table that TOML and JSON can hold; fields at their defaults are written too, an absent guard is not."""
        table = dataclasses.asdict(dataclasses.replace(self, defense_settings={}, guard=None))
        table["leaks"] = list(self.leaks)
        table["defense_settings"] = {
            k: list(v) if isinstance(v, tuple) else v for k, v in self.defense_settings.items()
        }
        del table["guard"]
        if self.guard is not None:
            guard = dataclasses.asdict(self.guard)
            table["guard"] = {key: list(value) if isinstance(value, tuple) else value for key, value in guard.items()}
        return table

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], source: str = "knowledge") -> Self:
        """Read what :meth:`to_dict` wrote; missing fields take their defaults. ``source`` names the file in errors.

        Raises InputError for unknown fields and unacceptable values.
        """
        values = _known(cls, table, source)
        if isinstance(values.get("leaks"), list):
            values["leaks"] = tuple(values["leaks"])
        settings = values.get("defense_settings", {})
        if not isinstance(settings, Mapping):
            raise InputError(f"{source}: defense_settings is {settings!r}; accepted: a table")
        values["defense_settings"] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
        if "guard" in values:
            values["guard"] = _guard(values["guard"], f"{source}: guard")
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def text(self) -> str:
        """The card for a report: one line a fact, ``name: value``."""
        aware = ", ".join([self.defense_name, *(f"{key} {value}" for key, value in self.defense_settings.items())])
        lines = [
            f"vantage: {self.vantage}",
            f"victim: {self.victim}" + (f", {self.queries} queries" if self.queries else ""),
            f"defense: {self.defense}" + (f" ({aware})" if self.defense_name else ""),
            f"trained on: {self.data or 'nothing'}",
            f"leaks: {', '.join(self.leaks) or 'none'}",
        ]
        if self.guard is None:
            lines.append("enforced by: nothing in this process")
        else:
            lines.append(
                f"enforced by: Landlock {self.guard.landlock}; audit hook {'on' if self.guard.audit_hook else 'off'}"
            )
            lines.append(f"refused: {', '.join(self.guard.refuses) or 'nothing'}")
        return "\n".join(lines)


def _known(kind: type, table: Mapping[str, Any], source: str) -> dict[str, Any]:
    names = [entry.name for entry in dataclasses.fields(kind)]
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise InputError(f"{source}: field {unknown[0]!r} is unknown; accepted: {', '.join(names)}")
    return dict(table)


def _guard(table: Any, source: str) -> GuardReport:
    if not isinstance(table, Mapping):
        raise InputError(f"{source}: {table!r}; accepted: a table")
    known = _known(GuardReport, table, source)
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    for name in ("files", "processes", "connect"):
        if values.get(name) not in get_args(Layer):
            raise InputError(f"{source}: {name} is {values.get(name)!r}; accepted: {', '.join(get_args(Layer))}")
    try:
        return GuardReport(**values)
    except TypeError as error:
        raise InputError(f"{source}: {error}") from None
