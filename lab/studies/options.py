"""Values of a study's own settings (``--set KEY=VALUE``), and what is said of wrong ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from wire.errors import InputError

FLAGS: Final[Mapping[str, bool]] = {"true": True, "false": False, "yes": True, "no": False}


def whole(options: Mapping[str, Any], key: str, least: int = 1) -> int:
    """A whole number among the options."""
    value = options[key]
    if type(value) is not int or value < least:
        raise InputError(f"--set {key}={value}; accepted: a whole number from {least}")
    return value


def number(options: Mapping[str, Any], key: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A number among the options, from ``low`` to ``high``."""
    value = options[key]
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not low <= found <= high:  # nan is outside
        bounds = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
        raise InputError(f"--set {key}={value}; accepted: a number{bounds}")
    return found


def flag(options: Mapping[str, Any], key: str, default: bool) -> bool:
    """true or false among the options, or how people put it."""
    value = options.get(key, default)
    found = FLAGS.get(str(value).lower())
    if found is None:
        raise InputError(f"--set {key}={value}; accepted: {', '.join(FLAGS)}")
    return found


def listed(value: Any, key: str) -> list[str]:
    """``a,b,c`` among the options."""
    found = [str(item).strip() for item in (value if isinstance(value, list) else str(value).split(","))]
    if not found or not all(found):
        raise InputError(f"--set {key}={value}: has an empty name; accepted: a,b,c")
    return list(dict.fromkeys(found))
