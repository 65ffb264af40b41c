"""The link that a user asked for, put under every cell of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from lab.studies.base import Cell, Settings, Study
from wire.control import one_line
from wire.errors import InputError
from wire.profiles import profile
from wire.relay import LinkPatch

_FIGURES = ("rate_mbps", "delay_ms", "jitter_ms")
KEYS = (*_FIGURES, *(f"{direction}.{figure}" for direction in ("up", "down") for figure in _FIGURES))
"""What a link can be given beside a profile's name."""


def cells_of(study: Study, settings: Settings) -> Sequence[Cell]:
    """The study's cells for these settings, over ``settings.link`` and inverted by ``settings.workers`` where given.

    InputError for a link that does not exist, and for a study that chooses its links itself.
    """
    cells = [_hired(cell, settings) for cell in study.cells(settings)]
    if not settings.link:
        return cells
    link = link_settings(settings.link)
    for cell in cells:
        if cell.stream.link:
            raise InputError(f"--link: {study.name} chooses its links itself (cell {cell.title!r})")
    return [replace(cell, stream=replace(cell.stream, link=link)) for cell in cells]


def _hired(cell: Cell, settings: Settings) -> Cell:
    workers = settings.workers or cell.stream.workers
    return replace(cell, stream=replace(cell.stream, redis=settings.redis or None, workers=workers))


def link_settings(link: str | Mapping[str, Any]) -> dict[str, Any]:
    """The link's role-file keys: of a profile's name, or the table itself once it is checked."""
    if isinstance(link, str):
        return dict(profile(link).role())
    try:
        LinkPatch.model_validate(dict(link))
    except ValidationError as error:
        raise InputError(f"link: {one_line(error)}") from None
    return dict(link)


def parse_link(text: str) -> str | dict[str, Any]:
    """What ``--link`` gives: a profile's name, or ``rate_mbps=8,delay_ms=20`` (``up.rate_mbps=2`` for one direction).

    InputError lists the profiles or the keys that exist.
    """
    if "=" not in text:
        if text:
            profile(text)
        return text
    table: dict[str, Any] = {}
    for item in text.split(","):
        key, _, value = item.partition("=")
        try:
            set_key(table, key.strip(), float(value))
        except ValueError:
            raise InputError(f"--link {item!r}; accepted: a profile, or KEY=NUMBER with {', '.join(KEYS)}") from None
    return link_settings(table)


def spelled(link: str | Mapping[str, Any]) -> str:
    """The inverse of :func:`parse_link`."""
    if isinstance(link, str):
        return link
    items = []
    for key, value in link.items():
        inner = value if isinstance(value, Mapping) else {"": value}
        items += [f"{key}.{name}={v}" if name else f"{key}={v}" for name, v in inner.items()]
    return ",".join(items)


def set_key(table: dict[str, Any], key: str, value: Any) -> None:
    """Set ``delay_ms`` or ``up.delay_ms`` in a link's table. InputError lists the keys."""
    if key not in KEYS:
        raise InputError(f"link key {key!r} does not exist; there are: {', '.join(KEYS)}")
    direction, dot, inner = key.partition(".")
    if dot:
        table.setdefault(direction, {})[inner] = value
    else:
        table[key] = value
