"""What commands of ``eavesplit`` have in common: options as they are declared, and what is made of their values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wire.errors import InputError

Data = Annotated[
    list[Path] | None, typer.Option("--data", help="A folder of your data (repeatable). Default: procedural.")
]
Frames = Annotated[int, typer.Option(min=0, help="At most so many frames a cell; 0: the study's own number.")]
Seed = Annotated[int, typer.Option(min=0, help="One seed for everything: same command, same seed, same bytes.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda: where attacks compute.")]
Profile = Annotated[str, typer.Option(help="quick (minutes, 2 cores), cpu (hours) or paper (GPU).")]
Resume = Annotated[Path | None, typer.Option(help="Go on with this run folder; finished frames are not repeated.")]
Victim = Annotated[str, typer.Option("--victim", help="The network to attack, where a study takes one.")]
Split = Annotated[list[str] | None, typer.Option("--split", help="Only this split point (repeatable).")]
Record = Annotated[str, typer.Option(help="What is kept: full, first (20 frames), features, heads, none; or auto.")]
RecordGb = Annotated[float, typer.Option("--record-gb", min=0.01, help="Bound on what is kept; the oldest goes first.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="A study's own setting, KEY=VALUE (repeatable).")]
Link = Annotated[str, typer.Option("--link", help="lan, wifi, 5g, lte, satellite, or rate_mbps=8,delay_ms=20.")]
Redis = Annotated[str, typer.Option("--redis", help="URL of a Redis server: worker processes invert through it.")]
Workers = Annotated[int, typer.Option("--workers", min=0, max=64, help="How many invert. Default: the study's number.")]
Tls = Annotated[bool, typer.Option("--tls", help="Encrypt edge to cloud: a wire listener sees sizes and times only.")]


def settings_of(
    profile: str,
    data: list[Path] | None,
    frames: int,
    seed: int,
    split: list[str] | None,
    device: str,
    record: str,
    record_gb: float,
    tls: bool,
    options: dict[str, Any],
    link: str = "",
    redis: str = "",
    workers: int = 0,
) -> Any:
    """The settings of a study. InputError for a value that no study accepts."""
    from lab.studies.base import Settings
    from lab.studies.links import parse_link

    for value, accepted, flag in (
        (profile, ("quick", "cpu", "paper"), "--profile"),
        (record, ("auto", "full", "first", "features", "heads", "none"), "--record"),
    ):
        if value not in accepted:
            raise InputError(f"{flag} {value!r}; accepted: {', '.join(accepted)}")
    for folder in data or []:
        if not folder.is_dir():
            raise InputError(f"--data {folder}: no such folder")
    return Settings(
        profile=profile,  # type: ignore[arg-type]
        data=tuple(data or ()),
        frames=frames,
        seed=seed,
        device=device_of(device),
        device_named=device != "auto",
        splits=tuple(split or ()),
        record=record,  # type: ignore[arg-type]
        record_gb=record_gb,
        tls=tls,
        link=parse_link(link),
        redis=redis_of(redis),
        workers=workers,
        options=options,
    )


def device_of(device: str) -> str:
    """``cpu`` or ``cuda``. InputError for another word, and for a GPU that is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device!r}; accepted: auto, cpu, cuda")
    if device == "cpu":
        return "cpu"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; accepted: cpu (see `eavesplit doctor`)")
    return "cuda" if torch.cuda.is_available() else "cpu"


def redis_of(url: str) -> str:
    """The URL as it may be written down; a password goes on in the environment of this command's processes."""
    import os

    from attacker.redis_address import URL_VARIABLE, parse

    if not url:
        return ""
    address = parse(url, "--redis")
    if address.password is not None:
        os.environ[URL_VARIABLE] = url
    return address.shown


def pairs_of(settings: list[str] | None) -> dict[str, Any]:
    """``KEY=VALUE`` as TOML has values; a bare word is a text. InputError for anything else."""
    import tomllib

    found: dict[str, Any] = {}
    for item in settings or []:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise InputError(f"--set {item!r}; accepted: KEY=VALUE")
        try:
            found[key] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            found[key] = value  # a bare word is a text
    return found
