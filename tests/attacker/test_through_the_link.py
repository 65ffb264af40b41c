"""Edge client, relay process, cloud server and listener process on real sockets: what was sent is what was captured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from attacker.capture import replay
from attacker.decoding import decode_frame
from attacker.frames import RawFrame
from attacker.sessions import Sessions
from tests.asking import HTTP
from wire.client import EdgeClient, Offer
from wire.payload import Payload
from wire.record import read
from wire.server import CloudServer

ROOT = Path(__file__).resolve().parents[2]
FLOATS = 200_000


def features(frame: int) -> Payload:
    values = torch.rand(FLOATS, generator=torch.Generator().manual_seed(frame))
    return Payload("features", "toy", {"a": values}, {"frame": frame})


class Echo:
    def reply(self, payload: Payload, exchange: int, turn: int, part: int, parts: int) -> Payload:
        return Payload("result", "toy", {"sum": payload.tensors["a"].sum().reshape(1)}, {})

    def close(self) -> None: ...


class Service:
    def open(self, opening: object) -> Echo:
        return Echo()


def launch(*arguments: str) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", *arguments], stdout=subprocess.PIPE, env=environment, cwd=ROOT)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def settled(port: int, highest: int) -> dict[str, Any]:
    """The listener's state once it has heard of frame ``highest`` and nothing has come for half a second."""
    deadline, before = time.monotonic() + 30, None
    while True:
        state: dict[str, Any] = HTTP.get(f"http://127.0.0.1:{port}/state").json()
        if state == before and state["sessions"] and state["sessions"][0]["highest"] == highest:
            return state
        assert time.monotonic() < deadline, state
        before = state
        time.sleep(0.5)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("killed", [False, True])
def test_what_was_sent_is_captured_or_missed(
    tmp_path: Path, processes: list[subprocess.Popen[bytes]], killed: bool
) -> None:
    cloud = CloudServer(Service(), "127.0.0.1:0")
    cloud_port = cloud.start()
    config = tmp_path / "attacker.toml"

    def listener(port: int) -> dict[str, int]:
        config.write_text(f'mirror = "127.0.0.1:{port}"\nfolder = "{tmp_path / "run"}"\nmode = "lossless"\n')
        process, ready = launch("attacker", "--config", str(config))
        processes.append(process)
        return ready

    ready = listener(0)
    relay, link = launch(
        "wire.relay", "--forward", f"127.0.0.1:{cloud_port}", "--mirror", f"127.0.0.1:{ready['mirror']}",
        "--spool", str(tmp_path / "ring"), "--spool-mb", "16",
    )  # fmt: skip
    processes.append(relay)
    offer = Offer(victim="toy", split="s", weights_sha256=b"w" * 32, config_sha256=b"c" * 32, layouts=("toy",))
    client = EdgeClient(f"127.0.0.1:{link['port']}", offer)
    client.open()
    sent = 30
    for frame in range(sent):
        if killed and frame == 12:
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait()
        if killed and frame == 16:
            ready = listener(ready["mirror"])
            time.sleep(1.5)  # the link dials again with a backoff of up to a second
        assert next(client.send(frame, 0, [features(frame)])).payload.tensors["sum"].item() == pytest.approx(
            features(frame).tensors["a"].sum().item()
        )
    client.close()
    state = settled(ready["control"], highest=sent - 1)
    assert state["captured"] + state["missed"] == sent
    assert state["sessions"][0]["victim"] == "toy"
    assert state["missed"] == 0 if not killed else state["missed"] <= 12
    processes[-1 if killed else 0].send_signal(signal.SIGTERM)
    assert processes[-1 if killed else 0].wait(20) == 0
    cloud.stop()

    folder = tmp_path / "run" / "capture"
    numbers = [r.json()["frame"] for r in read(folder) if r.topic == "frame"]
    assert len(numbers) == len(set(numbers)) == state["captured"]
    for event in replay(folder, Sessions()):
        if isinstance(event, RawFrame):
            (payload,) = decode_frame(event).payloads("up", "features")
            assert payload.meta["frame"] == event.frame
            assert torch.equal(payload.tensors["a"], features(event.frame).tensors["a"])
