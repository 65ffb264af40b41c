"""When a curious cloud hands on its model, and what the listener finds in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from attacker.snapshots import Snapshots as Kept
from cloud.config import CloudConfig
from cloud.service import Tails
from tests.victims.radiance.exchanging import exchange
from victims.radiance.networks import parts
from victims.radiance.pictures import held_out
from victims.radiance.settings import training
from victims.radiance.victim import SPLITNERF, scene
from wire.errors import DecodeError
from wire.payload import Payload
from wire.server import Opening, SessionHandler

SETTINGS = {"steps": 9, "rays": 8, "samples": 4, "levels": 2, "rows_log2": 6, "side": 12, "views": 5}
SESSION = bytes(range(16))


class Served:
    """A handler with the face of a tail."""

    accepts = frozenset({"rays", "gradients"})

    def __init__(self, handler: SessionHandler) -> None:
        self._handler = handler

    def reply(self, payload: Payload) -> Payload:
        return self._handler.reply(payload, 0, 0, 0, 1)


def served(tell: Callable[[bytes, bytes], None] | None) -> Served:
    cut = SPLITNERF.cut("mid", SETTINGS)
    tails = Tails(CloudConfig(victim="splitnerf", splits=["mid"], victim_settings=SETTINGS), tell)
    opening = Opening(
        SESSION, "splitnerf", "mid", cut.weights_sha256, cut.config_sha256, ("rays",), 0, (), {}, 1, 0, 0, 1, 1
    )
    return Served(tails.open(opening))


def test_the_model_is_told_once_before_pictures_and_kept_by_its_step(tmp_path: Path) -> None:
    told: list[bytes] = []
    cloud, kept = served(lambda session, model: told.append(model)), Kept(tmp_path, kept=2)
    head = SPLITNERF.cut("mid", SETTINGS).head()
    steps = list(SPLITNERF.samples("procedural", SETTINGS))
    place = scene("procedural", SETTINGS)

    def picture(done: int) -> None:
        exchange(head, cloud, held_out(place, 0, done))

    picture(0)
    picture(0)
    assert len(told) == 1  # two pictures of one model
    for sample in steps[:2]:
        exchange(head, cloud, sample)
    assert len(told) == 1  # training alone tells nothing
    picture(2)
    exchange(head, cloud, steps[2])
    picture(3)
    assert len(told) == 3
    paths = [kept.put(model) for model in told]
    assert paths[-1] == tmp_path / SESSION.hex() / "3.safetensors"
    # The newest two are there; what was told before any step is the fresh network.
    assert kept.get(SESSION.hex(), 0) is None and kept.get(SESSION.hex(), 2) == paths[1]
    fresh, _ = parts("mid", training(SETTINGS))
    found = load_file(Kept(tmp_path / "other").put(told[0]))
    assert sorted(found) == sorted(fresh.state_dict())
    assert all(torch.equal(found[name], value) for name, value in fresh.state_dict().items())
    assert not torch.equal(load_file(paths[2])["first.weight"], fresh.state_dict()["first.weight"])
    assert kept.get("../" + SESSION.hex(), 2) is None


def test_a_cloud_that_is_not_curious_tells_nothing() -> None:
    cloud = served(None)
    exchange(SPLITNERF.cut("mid", SETTINGS).head(), cloud, held_out(scene("procedural", SETTINGS), 0, 0))


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save

    kept = Kept(tmp_path)
    with pytest.raises(DecodeError, match=r"^a snapshot that is no safetensors: "):
        kept.put(b"PK\x03\x04 something else")
    for metadata in (None, {"session": "../../x", "step": "1"}, {"session": SESSION.hex(), "step": "-1"}):
        with pytest.raises(DecodeError, match=r"^a snapshot of session .*; accepted: 32 hex digits, a number$"):
            kept.put(save({"x": torch.zeros(1)}, metadata))
    assert not list(tmp_path.rglob("*.safetensors"))
