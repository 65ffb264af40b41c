"""Values of a study's own settings (``--set KEY=VALUE``), and what is said of wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wire.errors import InputError


def whole(options: Mapping[str, Any], key: str, least: int = 1) -> int:
    """A whole number among the options."""
    value = options[key]
    if type(value) is not int or value < least:
        raise InputError(f"--set {key}={value}; accepted: a whole number from {least}")
    return value


def listed(value: Any, key: str) -> list[str]:
    """``a,b,c`` among the options."""
    found = [str(item).strip() for item in (value if isinstance(value, list) else str(value).split(","))]
    if not found or not all(found):
        raise InputError(f"--set {key}={value}: has an empty name; accepted: a,b,c")
    return list(dict.fromkeys(found))
