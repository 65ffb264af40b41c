"""Processes die and connections are reset at random moments; every part is answered once, in order, intact."""

import random
import signal
import threading
import time
import zlib

import pytest
import torch

from wire.client import Disconnected, EdgeClient, Offer
from wire.dtypes import to_bytes
from wire.errors import FrameError, WireError
from wire.payload import Payload
from wire.peer import Pulse

PIECE = 64 << 10
OFFER = {"victim": "v", "split": "s", "weights_sha256": b"w" * 32, "config_sha256": b"c" * 32, "layouts": ("dense",)}


def payload(generator, nbytes):
    data = torch.randint(0, 256, (nbytes,), dtype=torch.uint8, generator=generator)
    return Payload("features", "dense", {"a": data, "b": data[::2]}, {"sleep": 0.01})


def crc(tensors):
    total = 0
    for tensor in tensors.values():
        total = zlib.crc32(to_bytes(tensor), total)
    return total


def stream(client, seed, stop, in_flight=3):
    """Exchanges of mixed sizes until ``stop`` is set; yields what each was answered, checked bit by bit."""
    generator, sizes = torch.Generator().manual_seed(seed), random.Random(seed)
    waiting, frame = [], 0
    while not stop.is_set() or waiting:
        while len(waiting) < in_flight and not stop.is_set():
            part = payload(generator, sizes.choice([10, 1000, PIECE, 2 * PIECE + 3, 9 * PIECE]))
            waiting.append((frame, part, client.send(frame, 0, [part])))
            frame += 1
        number, part, replies = waiting.pop(0)
        reply = next(replies)
        assert next(replies, None) is None
        assert reply.payload.meta["crc"] == crc(part.tensors) == crc(reply.payload.tensors)
        yield number, reply


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cloud_killed_at_random_moments(seed, echo_cloud):
    cloud, stop, pids = echo_cloud(), threading.Event(), set()
    client = EdgeClient(cloud.address, Offer(**OFFER, piece_bytes=PIECE), window_bytes=4 * PIECE, crc=True)
    client.open()

    def kill():
        moments = random.Random(seed)
        for _ in range(5):
            time.sleep(moments.uniform(0.02, 0.5))
            cloud.kill()
            time.sleep(moments.choice([0.0, 0.2]))
            cloud.start()
        time.sleep(0.2)
        stop.set()

    killer = threading.Thread(target=kill)
    killer.start()
    answered = []
    try:
        for number, reply in stream(client, seed, stop):
            answered.append(number)
            pids.add(reply.payload.meta["pid"])
    finally:
        stop.set()
        killer.join()
    counters = client.counters()
    client.close()
    assert answered == list(range(counters["transfers"]))
    assert counters["replies"] == counters["transfers"]
    assert counters["reconnects"] >= 3
    assert len(pids) >= 2
    assert (counters["unanswered"], counters["failed"], counters["lost"]) == (0, 0, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_connection_reset_in_the_middle_of_a_piece(seed, echo_cloud, cable):
    """The cloud lives on: nothing is computed twice, and what it had answered comes again."""
    cloud, stop = echo_cloud(), threading.Event()
    wire = cable(cloud.port)
    client = EdgeClient(wire.address, Offer(**OFFER, piece_bytes=PIECE), window_bytes=4 * PIECE, crc=True)
    client.open()

    def cut():
        moments = random.Random(seed)
        for _ in range(8):
            time.sleep(moments.uniform(0.02, 0.3))
            wire.cut()
        stop.set()

    cutter = threading.Thread(target=cut)
    cutter.start()
    answered, computed = [], []
    try:
        for number, reply in stream(client, seed, stop):
            answered.append(number)
            computed.append(reply.payload.meta["times"])
    finally:
        stop.set()
        cutter.join()
    counters = client.counters()
    client.close()
    assert answered == list(range(counters["transfers"]))
    assert set(computed) == {1}
    assert counters["reconnects"] >= 4


def test_live_frames_are_lost_and_counted_not_repeated(echo_cloud, cable):
    cloud = echo_cloud()
    wire = cable(cloud.port)
    client = EdgeClient(wire.address, Offer(**OFFER, piece_bytes=PIECE), resend=False)
    client.open()
    part = {"a": torch.ones(10)}
    replies = [
        client.send(n, 0, [Payload("features", "dense", part, {"sleep": s})]) for n, s in enumerate((2.0, 0.0, 0.0))
    ]
    while client.counters()["payload_up"] < 3 * 40:
        time.sleep(0.01)
    wire.cut()
    for frame, reply in enumerate(replies):
        with pytest.raises(FrameError, match=f"frame {frame}: LOST"):
            next(reply)
    assert next(client.send(3, 0, [Payload("features", "dense", part)])).payload.meta["times"] == 1
    assert client.counters()["lost"] == 3
    client.close()


def test_a_stopped_cloud_is_noticed_by_its_silence(echo_cloud):
    cloud, events = echo_cloud(), []
    pulse = Pulse(200_000_000, 1_000_000_000)
    client = EdgeClient(cloud.address, Offer(**OFFER), on_event=events.append, pulse=pulse)
    client.open()
    cloud.signal(signal.SIGSTOP)
    replies = client.send(0, 0, [Payload("features", "dense", {"a": torch.ones(4)})])
    start = time.monotonic()
    while not any(isinstance(event, Disconnected) for event in events) and time.monotonic() < start + 10:
        time.sleep(0.05)
    cloud.signal(signal.SIGCONT)
    assert next(replies).payload.tensors["a"].tolist() == [1.0] * 4
    assert "SILENCE" in next(event.reason for event in events if isinstance(event, Disconnected))
    client.close()


def test_a_cloud_that_does_not_come_back_is_given_up(echo_cloud):
    cloud = echo_cloud()
    client = EdgeClient(cloud.address, Offer(**OFFER), resume_s=0.5)
    client.open()
    cloud.kill()
    replies = client.send(0, 0, [Payload("features", "dense", {"a": torch.ones(4)})])
    with pytest.raises(WireError, match=rf"no cloud at {cloud.address} for 0.5 s"):
        next(replies)
    with pytest.raises(WireError, match="no cloud at"):
        client.send(1, 0, [Payload("features", "dense", {})])
    client.close()


def test_closing_while_disconnected_does_not_hang(echo_cloud):
    cloud = echo_cloud()
    client = EdgeClient(cloud.address, Offer(**OFFER))
    client.open()
    cloud.kill()
    replies = client.send(0, 0, [Payload("features", "dense", {"a": torch.ones(4)})])
    start = time.monotonic()
    client.close("gone home")
    assert time.monotonic() - start < 5
    with pytest.raises(WireError, match="closed: gone home"):
        next(replies)
