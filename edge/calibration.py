"""What a defense's strengths are measured in: the clean features of a few samples, once for each split point."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from defenses.base import Calibration
from defenses.registry import build
from edge.config import EdgeConfig
from victims.base import Head, Victim
from victims.readable import readable
from wire.payload import Payload


def calibrated(config: EdgeConfig, victim: Victim, split: str, head: Head) -> Calibration:
    """Measure the clean features once; a resumed run uses what was stored, or its strengths would shift."""
    path = _path(config, split)
    if path.is_file():
        return Calibration(**json.loads(path.read_text()))
    defense = build(config.defense.name, config.defense.settings, None)
    calibration = defense.calibrate(_clean(config, victim, head))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    values = {"rms": calibration.rms, "clip": calibration.clip, "frames": calibration.frames}
    temporary.write_text(json.dumps(values))
    os.replace(temporary, path)
    return calibration


def _path(config: EdgeConfig, split: str) -> Path:
    """``calibration.json`` belongs to the split point of the role file, which is all that most runs have."""
    name = "calibration.json" if split == config.split else f"calibration-{split}.json"
    return config.folder / name


def _clean(config: EdgeConfig, victim: Victim, head: Head) -> Iterator[Payload]:
    settings = {"seed": config.seed, **config.victim_settings, "frames": config.calibration_frames}
    for sample in islice(readable(victim.samples(config.source, settings)), config.calibration_frames):
        exchange = head.exchange(sample)
        yield from next(exchange)
        exchange.close()
