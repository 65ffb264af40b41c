"""What a defense's strengths are measured in, where an edge has not measured it yet: for an oracle that answers under
the defense of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from defenses.registry import build
from victims.readable import readable
from victims.registry import victim


def calibration_of(
    name: str,
    split: str,
    victim_settings: Mapping[str, Any],
    defense: str,
    settings: Mapping[str, Any],
    *,
    source: str,
    samples: Mapping[str, Any],
    frames: int,
) -> dict[str, float] | None:
    """``rms`` and, where it was measured, ``clip`` of the clean features of ``frames`` samples; None without a defense.

    source, samples: as the victim's ``samples`` takes them. With an edge's own they come to what that edge measures:
    both pass over a sample that cannot be read.
    """
    if defense == "none":
        return None
    chosen = victim(name)
    head = chosen.cut(split, victim_settings).head()
    stream = islice(readable(chosen.samples(source, {**samples, "frames": frames})), frames)
    measured = build(defense, settings).calibrate(part for sample in stream for part in next(head.exchange(sample)))
    return {"rms": measured.rms} if measured.clip is None else {"rms": measured.rms, "clip": measured.clip}
