"""The file that tells one process its role: TOML, checked field by field, one clear line when something is off."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from wire.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


class Role(BaseModel):
    """Base of every role's settings: unknown keys are refused, values are never coerced in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse(model: type[Model], values: dict[str, Any], origin: str) -> Model:
    """``values`` as ``model``. InputError names key, value, what is accepted, and ``origin``."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        got = "" if first["type"] == "missing" else f" got {str(first['input'])[:80]!r}:"
        raise InputError(f"{origin}: {key}:{got} {first['msg']}") from error


def read(model: type[Model], path: Path) -> Model:
    """The role file at ``path``. InputError when it is missing, no TOML, or a value is not accepted."""
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}; expected a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path}: no valid TOML: {error}") from error
    return parse(model, values, str(path))
