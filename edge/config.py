"""What an edge is told: its victim, its source, its defense and where the cable begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from defenses.calibrate import CALIBRATION_FRAMES
from wire.rolefile import Role


class DefenseChoice(Role):
    """A defense by name with its settings."""

    name: str = "none"
    settings: dict[str, Any] = Field(default_factory=dict)


class EdgeConfig(Role):
    """The role file of ``python -m edge``."""

    address: str  # the link, host:port
    victim: str
    split: str
    splits: list[str] = Field(default_factory=list)  # split points that it may be moved to while it runs
    victim_settings: dict[str, Any] = Field(default_factory=dict)
    source: str = "procedural"
    frames: int = Field(default=0, ge=0)  # 0: until the source ends
    loop: bool = False
    mode: Literal["live", "lossless"] = "lossless"
    rate_hz: float | None = Field(default=None, gt=0, le=1000)  # None: as fast as it goes
    seed: int = Field(default=0, ge=0)
    session: int = Field(default=0, ge=0)  # number of the session in its run: part of every random stream's seed
    defense: DefenseChoice = DefenseChoice()
    calibration_frames: int = Field(default=CALIBRATION_FRAMES, ge=1, le=1000)
    folder: Path
    # none: no truth and no answers; first: of a training, those of its first steps and of its pictures, and every loss
    record: Literal["full", "first", "features", "heads", "none"] = "full"
    record_steps: int = Field(default=20, ge=0)
    record_gb: float = Field(default=2.0, gt=0)
    checkpoint_every: int = Field(default=100, ge=0)  # steps of a training, at both ends; 0: none are kept
    in_flight: int = Field(default=2, ge=1, le=64)
    control: str = "127.0.0.1:0"
    tls: Path | None = None  # folder with the certificates
    threads: int = Field(default=1, ge=1, le=256)
    start_timeout_s: float = Field(default=60.0, gt=0)


class EdgeSettings(BaseModel):
    """What can be changed while an edge runs (``PATCH /settings``)."""

    model_config = {"extra": "forbid"}

    defense: DefenseChoice | None = None
    paused: bool | None = None
    rate_hz: float | None = Field(default=None, gt=0, le=1000)
    step: bool | None = None  # when paused: let one frame through
    split: str | None = None  # go on in a new session at this split point, as soon as it is open
