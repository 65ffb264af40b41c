"""``python -m attacker`` as a process: guard, sockets, kills. Its attack is defined in the launcher below."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from tests.asking import HTTP
from wire.arrays import unpack
from wire.mirror import UP, Kind, Record, encode
from wire.record import read, segments

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = """
import sys, time
from attacker.registry import ATTACKS
ATTACKS["toy"] = "__main__:Toy"
class Toy:
    name, modality = "toy", "toy"
    @property
    def needs(self):
        from attacker.attacks.base import Needs
        return Needs("wire", "none")
    def open(self, session, grants):
        return Inverter(float(grants.settings.get("slow_s", 0)), grants)
class Inverter:
    def __init__(self, slow_s, grants):
        self.slow_s, self.grants = slow_s, grants
    def observe(self, frames):
        from attacker.attacks.base import Reconstruction
        self.grants.work.mkdir(exist_ok=True)
        (self.grants.work / "kept").write_text(str(frames[0].frame))
        self.grants.progress(1, 4, "a quarter")
        time.sleep(self.slow_s)
        features = [(f, f.payloads("up")[0].tensors["x"].numpy()) for f in frames]
        return [Reconstruction(f.session, (f.frame,), "toy", {"x": x}) for f, x in features]
    def rewind(self, incarnation, step): ...
    def finish(self): return []
from attacker.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


class Running:
    """One process, its ready line read."""

    def __init__(self, config: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.ready: dict[str, Any] = json.loads(line) if line else {}

    def state(self) -> dict[str, Any]:
        answer: dict[str, Any] = HTTP.get(f"http://127.0.0.1:{self.ready['control']}/state").json()
        return answer

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.ready['control']}{path}"

    def until(self, true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while not true(state := self.state()):
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        return state

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ready["mirror"]))

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.leave()

    def leave(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors.decode()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def launch(**settings: Any) -> Running:
        values = {"mirror": "127.0.0.1:0", "folder": str(tmp_path / "run"), "attacks": [{"name": "toy"}], **settings}
        config = tmp_path / "attacker.toml"
        config.write_text(tomli_w.dumps({key: value for key, value in values.items() if value is not None}))
        running.append(Running(config))
        return running[-1]

    yield launch
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def push(sink: socket.socket, records: Sequence[Record]) -> None:
    for record in records:
        sink.sendall(encode(record))


def inverted(folder: Path) -> list[int]:
    return [
        int(unpack(r.data)[1]["frames"][0]) for r in read(folder / "reconstructions") if r.topic == "reconstruction"
    ]


def test_hears_inverts_serves_and_stops(traffic, start: Callable[..., Running], tmp_path: Path) -> None:
    attacker = start(mode="lossless", queue_frames=2)
    with attacker.dial() as mirror:
        push(mirror, traffic.session_records(traffic.opening() + traffic.inference(range(9), size=64)))
        state = attacker.until(lambda s: s["inverted"] == 9)
        assert (state["captured"], state["missed"], state["dropped"]) == (9, 0, 0)
        assert state["queue"]["peak"] <= 2
        assert state["sessions"][0]["victim"] == "toy"
        assert state["lag_ms"] is not None
        listed = HTTP.get(attacker.url("/reconstructions?after=4")).json()
        assert [item["number"] for item in listed] == [5, 6, 7, 8, 9]
        latest = HTTP.get(attacker.url("/reconstructions/latest"))
        arrays, meta = unpack(latest.content)
        assert meta["frames"] == (8,)
        np.testing.assert_array_equal(arrays["x"], traffic.dense(8, 64).tensors["x"].numpy())
        assert unpack(HTTP.get(attacker.url("/reconstructions/5")).content)[1]["frames"] == (4,)
        assert HTTP.get(attacker.url("/reconstructions/99")).status_code == 404
        assert HTTP.get(attacker.url("/reconstructions?after=9&wait_s=0.2")).json() == []
    assert attacker.end(signal.SIGTERM) == (0, "")
    assert inverted(tmp_path / "run") == list(range(9))


def test_settings_pause_and_select(traffic, start: Callable[..., Running]) -> None:
    attacker = start(mode="live", queue_frames=3)
    answer = HTTP.patch(attacker.url("/settings"), json={"paused": True})
    assert answer.json()["paused"] is True
    refused = HTTP.patch(attacker.url("/settings"), json={"attacks": ["nothing"]})
    assert refused.status_code == 422
    assert "there are: toy" in refused.json()["error"]
    with attacker.dial() as mirror:
        push(mirror, traffic.session_records(traffic.opening() + traffic.inference(range(9), size=64)))
        state = attacker.until(lambda s: s["captured"] == 9 and s["dropped"] + s["queue"]["depth"] == 9)
        assert (state["inverted"], state["dropped"], state["queue"]["depth"]) == (0, 6, 3)
        HTTP.patch(attacker.url("/settings"), json={"paused": False})
        attacker.until(lambda s: s["inverted"] == 3)
        listed = HTTP.get(attacker.url("/reconstructions")).json()
    assert [item["meta"]["frames"] for item in listed] == [[8], [7], [6]]
    assert attacker.end(signal.SIGINT) == (0, "")


def test_sigterm_works_off_a_lossless_queue(traffic, start: Callable[..., Running], tmp_path: Path) -> None:
    attacker = start(mode="lossless", queue_frames=50, attacks=[{"name": "toy", "settings": {"slow_s": 0.05}}])
    with attacker.dial() as mirror:
        push(mirror, traffic.session_records(traffic.opening() + traffic.inference(range(20), size=16)))
        attacker.until(lambda s: s["captured"] == 20)
        assert attacker.end(signal.SIGTERM) == (0, "")
    assert inverted(tmp_path / "run") == list(range(20))


def test_a_queue_that_outlasts_the_grace_is_told_by_the_exit_code(traffic, start: Callable[..., Running]) -> None:
    attacker = start(mode="lossless", grace_s=0.2, attacks=[{"name": "toy", "settings": {"slow_s": 5.0}}])
    with attacker.dial() as mirror:
        push(mirror, traffic.session_records(traffic.opening() + traffic.inference(range(3), size=16)))
        attacker.until(lambda s: s["captured"] == 3)
        assert attacker.end(signal.SIGTERM)[0] == 4


def test_a_long_inversion_tells_how_far_it_is_and_keeps_what_it_needs(
    traffic, start: Callable[..., Running], tmp_path: Path
) -> None:
    attacker = start(attacks=[{"name": "toy", "label": "slow", "settings": {"slow_s": 600.0}}])
    with attacker.dial() as mirror:
        push(mirror, traffic.session_records(traffic.opening() + traffic.inference(range(1), size=16)))
        told = attacker.until(lambda s: s["attacks"]["slow"]["advance"]["calls"] == 1)["attacks"]["slow"]
    assert (told["working"], told["advance"]) == (1, {"share": 0.25, "note": "a quarter", "calls": 1})
    assert (tmp_path / "run" / "work" / "slow" / "kept").read_text() == "0"


@pytest.mark.parametrize("seed", range(3))
def test_killed_in_mid_stream_and_started_again(
    traffic, start: Callable[..., Running], tmp_path: Path, seed: int
) -> None:
    """SIGKILL while records come; the next process gets the pins, a gap and the rest: captured + missed = sent."""
    sent = 40
    records = traffic.session_records(traffic.opening() + traffic.inference(range(sent), size=2000))
    attacker = start(mode="lossless")
    half = len(records) * (seed + 2) // 6
    with attacker.dial() as mirror:
        push(mirror, records[: half // 2])
        attacker.until(lambda s: s["captured"] > seed)
        push(mirror, records[half // 2 : half])
        attacker.end(signal.SIGKILL)
    before = [r.json()["frame"] for r in read(tmp_path / "run" / "capture") if r.topic == "frame"]
    again = start(mode="lossless")
    resumed = half + 10 * seed  # what passed meanwhile is lost
    pinned = [r for r in records[:half] if r.kind is Kind.OPEN or r.offset < 20_000]
    with again.dial() as mirror:
        push(mirror, pinned + records[resumed:])
        state = again.until(lambda s: s["sessions"] and s["sessions"][0]["highest"] == sent - 1)
        state = again.until(lambda s: s["captured"] + s["missed"] == sent and s["queue"]["depth"] == 0)
        # The kill may fall between a frame's last transfer and the line that says it is whole.
        assert state["restored"] - len(before) in (0, 1)
        assert again.end(signal.SIGTERM) == (0, "")
    captured = [r.json()["frame"] for r in read(tmp_path / "run" / "capture") if r.topic == "frame"]
    assert len(captured) == len(set(captured)) == state["captured"]
    assert captured[: len(before)] == before
    assert state["captured"] >= len(before) + (sent * (len(records) - resumed)) // len(records) - 3
    # every captured frame was inverted, by one process or the other
    assert sorted(set(inverted(tmp_path / "run"))) == sorted(captured)
    assert len(segments(tmp_path / "run" / "capture")) == 2


def test_a_capture_is_attacked_without_sockets_and_once(traffic, start: Callable[..., Running], tmp_path: Path) -> None:
    listener = start(mode="lossless", attacks=[])
    with listener.dial() as mirror:
        push(mirror, traffic.session_records(traffic.opening() + traffic.inference(range(6), size=32)))
        listener.until(lambda s: s["captured"] == 6)
    assert listener.end(signal.SIGTERM) == (0, "")
    capture = tmp_path / "run" / "capture"
    for _ in range(2):
        offline = start(mirror=None, capture=str(capture), folder=str(tmp_path / "offline"))
        assert offline.ready["mirror"] is None
        assert offline.leave() == (0, "")
        assert inverted(tmp_path / "offline") == list(range(6))
    path = segments(capture)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = start(mirror=None, capture=str(capture), folder=str(tmp_path / "cut"))
    code, errors = cut.leave()
    assert code == 3
    assert "0000.mcap" in errors
    assert 0 < len(inverted(tmp_path / "cut")) < 6


def test_tls_is_said_and_counted(start: Callable[..., Running], tmp_path: Path) -> None:
    attacker = start()
    with attacker.dial() as mirror:
        push(mirror, [Record(Kind.OPEN, 0, UP, 1, 0), Record(Kind.DATA, 0, UP, 2, 0, b"\x16\x03\x01" + bytes(500))])
        state = attacker.until(lambda s: s["encrypted_bytes"] == 503)
    assert state["captured"] == 0
    assert state["why"] == "the stream is TLS: sizes and times only"
    assert attacker.end(signal.SIGTERM) == (0, "")
    (size,) = [r.json() for r in read(tmp_path / "run" / "capture") if r.topic == "sizes"]
    assert (size["bytes"], size["direction"]) == (503, "up")


def test_rubbish_on_the_mirror_port_is_hung_up_on(traffic, start: Callable[..., Running]) -> None:
    attacker = start()
    with attacker.dial() as rubbish:
        rubbish.sendall(b"GET / HTTP/1.1\r\n\r\n" + bytes(100))
        assert rubbish.recv(1) == b""
    with attacker.dial() as mirror:
        push(mirror, traffic.session_records(traffic.opening() + traffic.inference(range(2), size=8)))
        attacker.until(lambda s: s["captured"] == 2)
    assert attacker.end(signal.SIGTERM) == (0, "")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"attacks": [{"name": "nothing"}]}, "attack 'nothing' does not exist; there are:"),
        ({"mirror": "here"}, "mirror: 'here'"),
        ({"attacks": [{"name": "toy", "files": {"weights": "/nowhere/w.safetensors"}}]}, "/nowhere/w.safetensors"),
    ],
)
def test_bad_settings_are_one_line_and_exit_2(
    start: Callable[..., Running], settings: dict[str, Any], said: str
) -> None:
    code, errors = start(**settings).leave()
    assert code == 2
    assert said in errors
    assert errors.count("\n") == 1
