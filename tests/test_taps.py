"""One training, heard at the link and in a curious cloud at once: the same frames at both, and the same pictures.

In the studies all rows stand in the cloud, those too that need the line alone; here is why that flatters none of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from attacker.attacks.base import CapturedFrame, Grants, SessionInfo
from attacker.decoding import decode_frame
from attacker.frames import RawFrame
from attacker.listener import Hear, MirrorListener
from attacker.registry import attack
from attacker.sessions import Ear, Sessions
from cloud.copies import CopyPusher
from defenses.none import NoDefense
from edge.driver import Done, Driver
from tests.test_toys import Served
from tests.victims.radiance.exchanging import SMALL
from tests.victims.radiance.test_split import ends
from victims.radiance.pictures import Pictures, stream
from victims.radiance.room import room
from wire.address import listen
from wire.client import EdgeClient, Offer
from wire.mirror import Record
from wire.payload import Payload
from wire.relay import LinkConfig, Relay
from wire.server import CloudServer

STEPS = 9
WAIT_S = 20.0


class Heard:
    """A mirror port that link and cloud dial both: frames by tap."""

    def __init__(self) -> None:
        self.frames: dict[str, list[CapturedFrame]] = {"wire": [], "cloud": []}
        self.infos: list[SessionInfo] = []
        self._sessions = Sessions()
        self.port = MirrorListener(listen(("127.0.0.1", 0), "mirror"), self._connected, lambda number: None)
        self.port.start()

    def _connected(self, number: int) -> Hear:
        ear = Ear(self._sessions, f"mirror-{number}")

        def hear(record: Record) -> None:
            for event in ear.feed(record):
                if isinstance(event, RawFrame):
                    self.frames[event.tap].append(decode_frame(event))

        return hear

    def until_closed(self) -> SessionInfo:
        """Wait for the goodbye at both taps."""
        deadline = time.monotonic() + WAIT_S
        while [session.closed for session in self._sessions] != [True, True]:
            assert time.monotonic() < deadline, list(self._sessions)
            time.sleep(0.02)
        one, other = (session.info for session in self._sessions)
        assert one == other
        return one


@pytest.fixture(scope="module")
def heard() -> tuple[SessionInfo, dict[str, list[CapturedFrame]]]:
    """Of a training of nine steps with one picture, after the fifth."""
    head, tail = ends(settings=SMALL)
    listener = Heard()
    copies = CopyPusher(f"127.0.0.1:{listener.port.port}")
    server = CloudServer(Served(tail), "127.0.0.1:0", on_copy=copies.push)
    link = Relay(LinkConfig(forward=f"127.0.0.1:{server.start()}", mirror=f"127.0.0.1:{listener.port.port}"))
    offer = Offer("splitnerf", "mid", b"w" * 32, b"c" * 32, tuple(sorted(tail.accepts)))
    client, done = EdgeClient(f"127.0.0.1:{link.start()['port']}", offer), list[Done]()
    try:
        client.open()
        driver = Driver(head, client, NoDefense({}, None), done.append, seed=1, in_flight=1, steps=SMALL.steps)
        wanted = Pictures(pictures=-1, curve_every=5, curve_views=1)
        for sample in stream(room(0, side=16, views=5), SMALL, wanted):
            if int(sample.meta["step"]) < STEPS:  # type: ignore[arg-type]
                driver.run(sample, 1)
        driver.finish()
        client.close()
        info = listener.until_closed()
    finally:
        client.close()
        link.stop(1)
        server.stop(1)
        copies.close(1)
        listener.port.stop(5)
    assert [frame.error for frame in done] == [None] * (STEPS + 1)
    return info, listener.frames


def contents(frame: CapturedFrame) -> dict[str, Payload]:
    """Its payloads by place and role. Acknowledgements of gradients come when they come, and a frame waits for none."""
    return {
        f"{part.direction} {part.turn}.{part.part} of {part.parts}, {part.payload.role}": part.payload
        for part in frame.parts
        if part.payload.role != "result"
    }


def test_both_taps_have_the_same_frames(heard: tuple[SessionInfo, dict[str, list[CapturedFrame]]]) -> None:
    _, frames = heard
    wire, cloud = frames["wire"], frames["cloud"]
    assert [frame.frame for frame in wire] == [frame.frame for frame in cloud] == list(range(STEPS + 1))
    for one, other in zip(map(contents, wire), map(contents, cloud), strict=True):
        assert list(one) == list(other)
        for place, mine in one.items():
            theirs = other[place]
            assert (mine.meta, mine.layout, sorted(mine.tensors)) == (
                theirs.meta,
                theirs.layout,
                sorted(theirs.tensors),
            )
            assert all(torch.equal(tensor, theirs.tensors[name]) for name, tensor in mine.tensors.items()), place
    # A step's rays, embeddings and gradients come in three parts each, of 32, 32 and 16 rays; so do a picture's 256
    # rays in eight, and nothing follows them.
    assert [len(contents(frame)) for frame in wire] == [9] * 5 + [16] + [9] * 4


@pytest.mark.parametrize("name", ["surrogate-fit", "surrogate-replay", "gradient-norms"])
def test_an_attack_of_the_line_makes_the_same_pictures_in_the_cloud(
    name: str, heard: tuple[SessionInfo, dict[str, list[CapturedFrame]]]
) -> None:
    info, frames = heard
    told = {key: value for key, value in SMALL.shared().items() if key != "seed"}
    own = {"gradient-norms": {"cells": 8}, "surrogate-fit": {"fit_levels": 2, "fit_rows_log2": 8}}.get(name, {})
    settings = {**{f"victim_{key}": v for key, v in told.items()}, "victim_seed": SMALL.seed, "views": 4, "seed": 1}

    def pictures(heard_: Sequence[CapturedFrame]) -> list[np.ndarray]:
        inverter = attack(name).open(info, Grants({}, settings={**settings, **own}))
        return [made.arrays["image"] for frame in heard_ for made in inverter.observe([frame])]

    (one,), (other,) = pictures(frames["wire"]), pictures(frames["cloud"])
    assert np.array_equal(one, other) and one.std() > 0
