"""An attacker and worker processes with a real redis-server between them: kills, an empty server, bad input."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from tests.asking import HTTP
from wire.arrays import unpack
from wire.mirror import encode
from wire.record import read

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = """
import os, sys, time
from attacker.registry import ATTACKS
ATTACKS["toy"], ATTACKS["ordered"], ATTACKS["deadly"] = "__main__:Toy", "__main__:Ordered", "__main__:Deadly"

class Toy:
    name, modality = "toy", "toy"
    order = "any"
    @property
    def needs(self):
        from attacker.attacks.base import Needs
        return Needs("wire", "none", order=self.order)
    def open(self, session, grants):
        return self.Inverter(float(grants.settings.get("slow_s", 0)))
    class Inverter:
        def __init__(self, slow_s):
            self.slow_s, self.seen = slow_s, []
        def observe(self, frames):
            from attacker.attacks.base import Reconstruction
            hangs = frames[-1].frame >= int(os.environ.get("TOY_HANGS_FROM", 1 << 30))
            time.sleep(600 if hangs else self.slow_s)
            return [Reconstruction(f.session, (f.frame,), "toy", self.arrays(f), {"pid": os.getpid()}) for f in frames]
        def arrays(self, frame):
            return {"x": frame.payloads("up")[0].tensors["x"].numpy()}
        def rewind(self, incarnation, step): ...
        def finish(self): return []

class Ordered(Toy):
    name, order = "ordered", "in_order"
    class Inverter(Toy.Inverter):
        def arrays(self, frame):
            import numpy as np
            self.seen.append((frame.frame, frame.gap_before))
            return {"seen": np.array(self.seen)}

class Deadly(Toy):
    name = "deadly"
    class Inverter(Toy.Inverter):
        def arrays(self, frame):
            if frame.frame == 3:
                os.kill(os.getpid(), 9)
            return super().arrays(frame)

if sys.argv[1] == "attacker":
    from attacker.__main__ import main
else:
    from attacker.work import main
sys.exit(main(sys.argv[2:]))
"""


class Running:
    """One process, its ready line read when it is first asked for."""

    def __init__(self, kind: str, config: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, kind, "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment},
            cwd=ROOT,
        )
        self._ready: dict[str, Any] | None = None

    @property
    def ready(self) -> dict[str, Any]:
        if self._ready is None:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            self._ready = json.loads(line) if line else {}
        return self._ready

    def state(self) -> dict[str, Any]:
        return dict(HTTP.get(f"http://127.0.0.1:{self.ready['control']}/state", timeout=20).json())

    def until(self, true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while not true(state := self.state()):
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        return state

    def dial(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ready["mirror"]))

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        return self.leave()

    def leave(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors.decode()


class Cast:
    """Starts attackers and workers that share a server and the same attacks."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.running: list[Running] = []
        self.attacks: list[dict[str, Any]] = [{"name": "toy"}]

    def _start(self, kind: str, values: dict[str, Any], environment: dict[str, str]) -> Running:
        config = self.folder / f"{kind}-{len(self.running)}.toml"
        config.write_text(tomli_w.dumps({"redis": self.url, "attacks": self.attacks, **values}))
        self.running.append(Running(kind, config, environment))
        return self.running[-1]

    def attacker(self, environment: dict[str, str] | None = None, **settings: Any) -> Running:
        values = {"mirror": "127.0.0.1:0", "folder": str(self.folder / "run"), "mode": "lossless", "claim_s": 1.0}
        return self._start("attacker", {**values, **settings}, environment or {})

    def worker(self, environment: dict[str, str] | None = None, **settings: Any) -> Running:
        return self._start("worker", settings, environment or {})

    def made(self) -> list[dict[str, Any]]:
        """The records of reconstructions, in the order they were written."""
        records = [r for r in read(self.folder / "run" / "reconstructions") if r.topic == "reconstruction"]
        return [{**unpack(r.data)[1], "arrays": unpack(r.data)[0]} for r in records]

    def failures(self) -> list[dict[str, Any]]:
        return [r.json() for r in read(self.folder / "run" / "reconstructions") if r.topic == "failure"]

    def frames(self) -> list[int]:
        return [record["frames"][0] for record in self.made()]


@pytest.fixture
def cast(redis_server, tmp_path: Path) -> Iterator[Cast]:
    started = Cast(tmp_path, redis_server.url)
    yield started
    for each in started.running:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def push(mirror: socket.socket, traffic, frames: range, *, end: bool = False) -> None:
    closing = traffic.closing(len(frames)) if end else []
    for record in traffic.session_records(traffic.opening() + traffic.inference(frames, size=64) + closing):
        mirror.sendall(encode(record))


def test_two_workers_one_killed_each_frame_once(traffic, cast: Cast, redis_server) -> None:
    redis_server.client().config_set("requirepass", "s3cret")
    with_password = {"EAVESPLIT_REDIS_URL": f"redis://:s3cret@127.0.0.1:{redis_server.port}"}
    cast.attacks = [{"name": "toy", "settings": {"slow_s": 0.05}}]
    attacker = cast.attacker(with_password)
    first, second = cast.worker(with_password), cast.worker({**with_password, "TOY_HANGS_FROM": "6"})
    assert (first.ready["ready"], second.ready["ready"]) == ("worker", "worker")
    with attacker.dial() as mirror:
        push(mirror, traffic, range(80))
        attacker.until(lambda s: s["inverted"] >= 10)
        second.until(lambda s: s["in_hand"])
        second.end(signal.SIGKILL)
        state = attacker.until(lambda s: s["inverted"] == 80)
    assert (state["captured"], state["failed"], state["dropped"]) == (80, 0, 0)
    assert state["redis"]["reclaimed"] >= 1
    assert (state["redis"]["up"], state["why"]) == (True, None)
    said = first.state()
    for process in (state, said):  # nothing but Redis can be dialled
        assert process["knowledge"]["guard"]["addresses"] == [f"127.0.0.1:{redis_server.port}"]
        assert "s3cret" not in json.dumps(process)
    assert attacker.end() == (0, "")
    assert first.end() == (0, "")
    made = cast.made()
    assert Counter(cast.frames()) == dict.fromkeys(range(80), 1)
    for record in made:
        np.testing.assert_array_equal(record["arrays"]["x"], traffic.dense(record["frames"][0], 64).tensors["x"])
        assert {"decode_ms", "wait_ms", "invert_ms"} <= set(record)
        assert record["invert_ms"] >= 50


def test_a_killed_attacker_puts_in_again_what_it_had_captured(traffic, cast: Cast, redis_server) -> None:
    """Killed with works in Redis, and Redis emptied too: the next attacker has nothing but its capture."""
    cast.attacks = [{"name": "toy", "settings": {"slow_s": 0.02}}, {"name": "ordered"}]
    attacker, worker = cast.attacker(redis_frames=4), cast.worker()
    with attacker.dial() as mirror:
        push(mirror, traffic, range(30))
        attacker.until(lambda s: s["captured"] >= 12 and s["inverted"] >= 6)
        attacker.end(signal.SIGKILL)
    captured = [r.json()["frame"] for r in read(cast.folder / "run" / "capture") if r.topic == "frame"]
    redis_server.kill()
    redis_server.start()
    again = cast.attacker()
    state = again.until(lambda s: s["restored"] == len(captured) and not s["queue"]["depth"])
    again.until(lambda s: not any(a["waiting"] or a["working"] for a in s["attacks"].values()))
    assert state["captured"] == len(captured) >= 12
    assert again.end() == (0, "")
    assert worker.end() == (0, "")
    by_attack = Counter((record["attack"], record["frames"][0]) for record in cast.made())
    assert set(by_attack) == {(name, frame) for name in ("toy", "ordered") for frame in captured}
    assert set(by_attack.values()) == {1}


@pytest.mark.soak
def test_what_kills_its_workers_is_failed_and_the_others_go_on(traffic, cast: Cast) -> None:
    cast.attacks = [{"name": "deadly"}]
    attacker = cast.attacker(claim_s=0.5, deliveries=2)
    workers = [cast.worker() for _ in range(3)]
    assert all(worker.ready for worker in workers)
    with attacker.dial() as mirror:
        push(mirror, traffic, range(8))
        state = attacker.until(lambda s: s["inverted"] + s["failed"] == 8)
    assert (state["inverted"], state["failed"]) == (7, 1)
    assert sorted(worker.process.poll() is None for worker in workers) == [False, False, True]
    assert attacker.end() == (0, "")
    assert sorted(cast.frames()) == [0, 1, 2, 4, 5, 6, 7]
    (failure,) = cast.failures()
    assert failure["frames"] == [3]
    assert failure["reason"] == "WorkerLost: 2 workers were given this work and none has answered"


@pytest.mark.parametrize("kind", ["attacker", "worker"])
def test_without_a_server_one_line_and_exit_code_2(cast: Cast, redis_server, kind: str) -> None:
    redis_server.kill()
    started = cast.attacker() if kind == "attacker" else cast.worker()
    code, errors = started.leave()
    port = redis_server.port
    assert (code, errors) == (
        2,
        f"{kind}: Redis at redis://127.0.0.1:{port}/0 cannot be reached (Connection refused): "
        f"start it with `redis-server --port {port}`, or correct the address\n",
    )


@pytest.mark.soak
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))])
def test_kills_of_everybody_and_each_frame_is_recorded_once(traffic, cast: Cast, redis_server, seed: int) -> None:
    """Workers and Redis killed again and again in the middle of 400 frames, for an attack of each kind."""
    chance = np.random.default_rng(seed)
    cast.attacks = [{"name": "toy", "settings": {"slow_s": 0.02}}, {"name": "ordered", "settings": {"slow_s": 0.01}}]
    attacker, workers = cast.attacker(queue_frames=500), [cast.worker() for _ in range(2)]
    with attacker.dial() as mirror:
        push(mirror, traffic, range(400))
        attacker.until(lambda s: s["inverted"] >= 10)
        for _ in range(8):
            time.sleep(chance.uniform(0.2, 2.0))
            if chance.random() < 0.4:
                redis_server.kill()
                time.sleep(chance.uniform(0, 1))
                redis_server.start()
            else:
                number = int(chance.integers(2))
                workers[number].end(signal.SIGKILL)
                workers[number] = cast.worker()
                assert workers[number].ready
        state = attacker.until(lambda s: s["inverted"] == 800)
    assert state["failed"] == 0
    assert attacker.end()[0] == 0
    by_attack = Counter((record["attack"], record["frames"][0]) for record in cast.made())
    assert by_attack == {(name, frame): 1 for name in ("toy", "ordered") for frame in range(400)}
    ordered = [record["frames"][0] for record in cast.made() if record["attack"] == "ordered"]
    assert ordered == sorted(ordered)
