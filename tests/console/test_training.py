"""The page of a training: its steps are not shown, the views between them are, and their step comes along."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from console.config import ConsoleConfig
from console.desk import Desk
from console.hub import Hub
from console.watch import _sample
from edge.ring import Taken
from tests.victims.radiance.exchanging import SMALL
from victims.radiance.victim import SPLITNERF
from wire.payload import Meta, Payload

SETTINGS: dict[str, Meta] = {**asdict(SMALL), "steps": 3, "curve_every": 2, "curve_views": 1, "side": 12, "views": 4}


class Heard(Hub):
    """Keeps what is published."""

    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[str, Any]] = []

    def publish(self, kind: str, data: Any) -> None:
        self.published.append((kind, data))
        super().publish(kind, data)


def test_only_views_that_are_asked_for_are_shown_and_scored() -> None:
    hub = Heard()
    addresses = {"edge": "127.0.0.1:1", "attacker": "127.0.0.1:1"}
    config = ConsoleConfig(
        **addresses, victim="splitnerf", modality="radiance", split="mid", settings={**SETTINGS, "counts_from": 0}
    )
    desk = Desk(config, hub)
    desk.start()
    samples = list(SPLITNERF.samples("procedural", SETTINGS))
    names = [sample.name for sample in samples]
    (asked,) = (number for number, sample in enumerate(samples) if "colours" not in sample.arrays)
    for number, sample in enumerate(samples):
        frame, told = _sample(Taken(number, sample, time.monotonic_ns()).packed())
        assert (frame, told.name, told.meta["step"]) == (number, names[number], sample.meta["step"])
        desk.taken(frame, told, 0.0)
    shown = [data["frame"] for kind, data in hub.published if kind == "truth"]
    assert shown == [asked]
    image = np.full((12, 12, 3), 0.5, np.float32)
    desk.rebuilt("aa", asked, "surrogate", {"image": image}, {})
    until = time.monotonic() + 60
    while not (found := [data for kind, data in hub.published if kind == "scores"]) and time.monotonic() < until:
        time.sleep(0.05)
    desk.stop()
    told = found[0]["surrogate"]
    assert told["frame"] == asked
    assert told["values"]["psnr"] == pytest.approx(
        10 * np.log10(255**2 / np.mean((samples[asked].truth["image"].astype(float) - 128) ** 2))
    )


def test_gradients_stand_for_what_crosses_and_the_floor_and_the_owner_stand_beside() -> None:
    hub = Heard()
    addresses = {"edge": "127.0.0.1:1", "attacker": "127.0.0.1:1"}
    config = ConsoleConfig(
        **addresses, victim="splitnerf", modality="radiance", split="mid", settings=SETTINGS, shown="surrogate"
    )
    desk = Desk(config, hub)
    desk.attacks = ["surrogate", "gradient-norms", "untrained-surrogate"]
    samples = list(SPLITNERF.samples("procedural", SETTINGS))
    (asked,) = (number for number, sample in enumerate(samples) if "colours" not in sample.arrays)
    desk.taken(asked, samples[asked], 0.0)
    rays = Payload("rays", "rays", {"pixels": torch.arange(144)}, {"size": (12, 12)})
    desk.captured("aa", asked, rays, 1000)
    grey = {level: {"image": np.full((12, 12, 3), level, np.uint8)} for level in (10, 20, 30, 40)}
    desk.finished({"frame": asked, "segment": 0}, grey[10])
    desk.rebuilt("aa", asked, "untrained-surrogate", grey[20], {})
    desk.rebuilt("aa", asked, "gradient-norms", grey[30], {})
    desk.rebuilt("aa", asked, "surrogate", grey[40], {})
    last = dict(hub.published)
    assert {last[panel]["frame"] for panel in ("wire", "truth", "payload", "reconstruction")} == {asked}
    assert {item["frame"] for item in last["beside"]["items"]} == {asked}
    assert level(last["payload"]["picture"]) == 30
    assert level(last["reconstruction"]["picture"]) == 40
    assert {i["name"]: level(i["picture"]) for i in last["beside"]["items"]} == {"owner": 10, "untrained-surrogate": 20}


def level(picture: dict[str, str]) -> int:
    """The grey of a picture as the page gets it."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture["url"].partition(",")[2]))))
    (found,) = np.unique(pixels)
    return int(found)
