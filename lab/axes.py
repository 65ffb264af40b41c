"""What a sweep goes over: ``--over path=a,b,c`` read, checked, and multiplied out. No process is started here.

A path is a word of :class:`~lab.studies.base.Settings` (``seed``, ``split``, ``frames``, ``link`` ...), one figure of
the link (``link.delay_ms``, ``link.up.rate_mbps``), or an option of the study (``strength``, or ``options.strength``).
Which options a study has is found by watching what its ``cells`` asks for.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, get_args

from attacker.registry import attack
from defenses.registry import build
from lab.stream import Record
from lab.studies.base import Cell, Settings, Study
from lab.studies.links import KEYS, cells_of, link_settings, set_key
from victims.registry import victim
from wire.errors import InputError
from wire.profiles import names as link_names

MAX_TRIALS = 10_000
"""More is a slip of the pen: at a minute each, a week."""


@dataclass(frozen=True)
class Axis:
    """One ``--over``: a path and its values, in the order they were given."""

    path: str
    values: Sequence[Any]


@dataclass(frozen=True)
class Trial:
    """One point of the product. values: by path. cells: what it resolves to; empty when ``reason`` says why not."""

    values: Mapping[str, Any]
    settings: Settings
    cells: Sequence[Cell]
    reason: str = ""

    @property
    def id(self) -> str:
        """Twelve hex digits of the resolved settings: two points that come to the same work are one trial."""
        resolved = [cell.id for cell in self.cells] or [self.reason, *map(str, self.values.items())]
        return hashlib.sha256(json.dumps(resolved).encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """``strength=0.5, link=lte``."""
        return ", ".join(f"{path}={value}" for path, value in self.values.items())


def trials(study: Study, base: Settings, over: Sequence[str]) -> list[Trial]:
    """Every combination of the axes' values, the last axis fastest.

    InputError before anything starts for an unknown path (it lists those that exist), for a value that is wrong by
    itself (it lists those accepted), and for a path given twice. Values that are wrong only together make a trial with
    a ``reason``.
    """
    axes = [parse_axis(text) for text in over]
    if not axes:
        raise InputError("--over is missing; accepted: path=a,b,c with " + "; ".join(_listed(study, base)))
    paths = [_full(axis.path) for axis in axes]
    profiled = "link" in paths or bool(base.link and isinstance(base.link, str))
    for axis, path in zip(axes, paths, strict=True):
        if paths.count(path) > 1 or (path.startswith("link.") and profiled):
            raise InputError(f"--over {axis.path}: given twice; accepted: each path once, either link or its figures")
    count = 1
    for axis in axes:
        count *= len(axis.values)
    if count > MAX_TRIALS:
        raise InputError(f"--over makes {count} trials; accepted: at most {MAX_TRIALS}")
    for axis in axes:
        for value in axis.values:
            _check(study, base, axis.path, value)
    combined = product(*[axis.values for axis in axes])
    return [_trial(study, base, dict(zip([a.path for a in axes], values, strict=True))) for values in combined]


def parse_axis(text: str) -> Axis:
    """``strength=0,0.5,1`` or ``split=conv2.0,conv3.0``: numbers and booleans as TOML reads them, the rest as text."""
    path, equals, listed = text.partition("=")
    path = path.strip()
    if not equals or not path or not listed.strip():
        raise InputError(f"--over {text!r}; accepted: path=a,b,c")
    try:
        values = tomllib.loads(f"v = [{listed}]")["v"]
    except tomllib.TOMLDecodeError:
        values = [_value(item.strip()) for item in listed.split(",")]
    if "" in values or not values:
        raise InputError(f"--over {text!r}: a value is empty; accepted: path=a,b,c")
    once = [v for n, v in enumerate(values) if v not in values[:n]]
    return Axis(path, once)


def applied(settings: Settings, path: str, value: Any) -> Settings:
    """``settings`` with one path set; InputError for a value that the path does not take."""
    path = _full(path)
    if path.startswith("link."):
        table = json.loads(json.dumps(settings.link)) if isinstance(settings.link, Mapping) else {}
        set_key(table, path.removeprefix("link."), value)
        return replace(settings, link=link_settings(table))
    if path in _WORDS:
        return _WORDS[path].set(settings, value)
    return replace(settings, options={**settings.options, path.removeprefix("options."): value})


@dataclass(frozen=True)
class _Word:
    accepted: str
    fits: Callable[[Any], bool]
    set: Callable[[Settings, Any], Settings]


def _word(name: str, accepted: str, fits: Callable[[Any], bool]) -> _Word:
    return _Word(accepted, fits, lambda settings, value: replace(settings, **{name: value}))


def _one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value == v and type(value) is type(v) for v in values)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_WORDS: Mapping[str, _Word] = {
    "split": _Word(
        "a split point", lambda v: isinstance(v, str), lambda settings, value: replace(settings, splits=(value,))
    ),
    "link": _Word(", ".join(link_names()), lambda v: v in link_names(), lambda s, v: replace(s, link=v)),
    "seed": _word("seed", "a whole number from 0", _whole),
    "frames": _word("frames", "a whole number from 0", _whole),
    "profile": _word("profile", "quick, cpu, paper", _one_of("quick", "cpu", "paper")),
    "device": _Word("cpu, cuda", _one_of("cpu", "cuda"), lambda s, v: replace(s, device=v, device_named=True)),
    "tls": _word("tls", "true, false", _one_of(True, False)),
    "record": _word("record", ", ".join(get_args(Record)), _one_of(*get_args(Record))),
}


class _Watched(Mapping[str, Any]):
    """Options that remember what was asked for."""

    def __init__(self, options: Mapping[str, Any], asked: set[str]) -> None:
        self._options, self._asked = options, asked

    def __getitem__(self, key: str) -> Any:
        self._asked.add(key)
        return self._options[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)


def options_of(study: Study, base: Settings) -> list[str]:
    """The names of the options that a study's ``cells`` asks for."""
    asked: set[str] = set()
    with suppress(InputError):  # the base itself may be wrong (no weights for its split); what was asked for counts
        study.cells(replace(base, options=_Watched(base.options, asked)))
    return sorted(asked | set(base.options))


def _full(path: str) -> str:
    """The path with its table: what is no word and no figure of the link is an option of the study."""
    path = path.removeprefix("settings.")
    return path if path in _WORDS or path.startswith(("link.", "options.")) else f"options.{path}"


def _listed(study: Study, base: Settings) -> list[str]:
    options = options_of(study, base)
    return [
        f"settings {', '.join(_WORDS)}",
        f"of the link {', '.join(f'link.{key}' for key in KEYS)}",
        f"options of {study.name} {', '.join(options) or '(none)'}",
    ]


def _check(study: Study, base: Settings, path: str, value: Any) -> None:
    """Refuse a path that does not exist, and a value that is wrong by itself."""
    full, where = _full(path), f"--over {path}={value}"
    word = _WORDS.get(full)
    table, _, key = full.partition(".")
    if word is None and key not in (KEYS if table == "link" else options_of(study, base)):
        raise InputError(f"--over {path}: no such path; there are: " + "; ".join(_listed(study, base)))
    if word is not None and not word.fits(value):
        raise InputError(f"{where}; accepted: {word.accepted}")
    if full == "split" and (splits := _splits(study, base)) and value not in splits:
        raise InputError(f"{where}; accepted: {', '.join(splits)}")
    try:
        checked(cells_of(study, applied(base, path, value)))
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:  # a study that takes a number and was given a word
        raise InputError(f"{where}: {study.name} cannot take it: {error}") from error


def _splits(study: Study, base: Settings) -> list[str]:
    """The split points of the study's victims; none when its own settings already name what does not exist."""
    try:
        return list(dict.fromkeys(s for cell in study.cells(base) for s in victim(cell.stream.victim).splits))
    except InputError:
        return []


def checked(cells: Sequence[Cell]) -> Sequence[Cell]:
    """The cells, once every name and every defense's settings in them are known to exist. InputError says which not."""
    for cell in cells:
        stream = cell.stream
        splits = victim(stream.victim).splits
        if stream.split not in splits:
            raise InputError(f"split {stream.split!r} is none of {stream.victim}; there are: {', '.join(splits)}")
        build(stream.defense, stream.defense_settings)
        for choice in stream.attacks:
            attack(choice.name)
    return cells


def _trial(study: Study, base: Settings, values: Mapping[str, Any]) -> Trial:
    settings = base
    for path, value in values.items():
        settings = applied(settings, path, value)
    try:
        return Trial(values, settings, checked(cells_of(study, settings)))
    except InputError as error:
        return Trial(values, settings, (), str(error))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a text
