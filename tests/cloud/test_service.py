"""Which sessions a cloud accepts, and by what name it refuses the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cloud.config import CloudConfig
from cloud.service import Tails, check_victim
from victims.registry import victim
from wire.client import EdgeClient, Offer
from wire.errors import FrameError, InputError, SessionRefused
from wire.payload import Payload
from wire.server import CloudServer

CONFIG = CloudConfig(victim="second", splits=["conv4.0"], victim_settings={"preset": "street", "weights": "shipped"})


@pytest.fixture(scope="module")
def served():  # type: ignore[no-untyped-def]
    tails = Tails(CONFIG)
    server = CloudServer(tails)
    cut = victim("second").cut("conv4.0", CONFIG.victim_settings)
    offer = Offer("second", "conv4.0", cut.weights_sha256, cut.config_sha256, ("sparse_voxels",))
    yield f"127.0.0.1:{server.start()}", offer
    server.stop(1)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"victim": "third"}, "UNKNOWN_VICTIM", "served: second"),
        ({"split": "conv_out"}, "BAD_SPLIT", "served: conv4.0"),
        ({"weights_sha256": b"x" * 32}, "DIGEST_MISMATCH", "weights of second/conv4.0"),
        ({"config_sha256": b"x" * 32}, "DIGEST_MISMATCH", "config of second/conv4.0"),
        ({"layouts": ("dense",)}, "BAD_LAYOUT", "this tail accepts: sparse_voxels"),
    ],
)
def test_what_differs_is_named(served, change, code, words) -> None:  # type: ignore[no-untyped-def]
    address, offer = served
    client = EdgeClient(address, replace(offer, session_id=bytes(16 * [len(words)]), **change))
    with pytest.raises(SessionRefused, match=words) as refused:
        client.open(20)
    assert refused.value.code == code


def test_a_bad_frame_is_refused_by_name_and_the_next_is_answered(served) -> None:  # type: ignore[no-untyped-def]
    address, offer = served
    client = EdgeClient(address, offer)
    client.open(20)
    meta = {"grid": (5, 64, 64), "stride": (8, 8, 8), "range": (0.0,) * 6, "voxel": (0.1, 0.05, 0.05)}
    coords = torch.tensor([[0, 1, 2, 3]], dtype=torch.int32)

    def ask(frame: int, features: torch.Tensor, layout: str = "sparse_voxels") -> Payload:
        payload = Payload("features", layout, {"coords": coords, "features": features}, meta)
        return next(client.send(frame, 0, [payload])).payload

    try:
        with pytest.raises(FrameError, match="not finite"):
            ask(0, torch.full((1, 64), float("nan")))
        with pytest.raises(FrameError, match="accepted"):
            ask(1, torch.zeros(1, 32))
        with pytest.raises(FrameError, match="not accepted by this tail"):
            ask(2, torch.zeros(1, 64), "dense")
        assert ask(3, torch.zeros(1, 64)).layout == "detections"
    finally:
        client.close()


def test_a_split_that_does_not_exist_is_answered_before_anything_listens() -> None:
    with pytest.raises(InputError, match="conv_out"):
        check_victim(CONFIG.model_copy(update={"splits": ["conv9"]}))
