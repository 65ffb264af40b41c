"""What a cloud is told: which victim it serves and where it listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from wire.rolefile import Role


class CloudConfig(Role):
    """The role file of ``python -m cloud``."""

    listen: str = "127.0.0.1:0"
    victim: str
    splits: list[str] = Field(min_length=1)  # split points whose sessions are accepted
    victim_settings: dict[str, Any] = Field(default_factory=dict)
    control: str = "127.0.0.1:0"
    tls: Path | None = None
    mirror: str | None = None  # a curious cloud copies every transfer to this listener
    mirror_mb: int = Field(default=256, ge=1, le=1 << 16)  # of copies may wait for it, on disk
    snapshots: bool = False  # with mirror: the listener gets the model too, before each time pictures are rendered
    checkpoints: Path | None = None  # folder; of a training, as often as its edge asks for; None: none are kept
    threads: int = Field(default=1, ge=1, le=256)
    max_transfer_mb: int = Field(default=1024, ge=1, le=16384)
    grace_s: float = Field(default=5.0, ge=0)
