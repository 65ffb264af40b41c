"""A whole stream whose listener inverts in worker processes, one of them killed."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from attacker.knowledge import KnowledgeCard
from lab.cli_options import redis_of
from lab.recorded import reconstructions
from lab.stream import AttackChoice, Stream, StreamSettings
from lab.studies.base import Settings
from lab.studies.links import cells_of
from lab.studies.registry import study
from wire.errors import InputError


def test_a_killed_worker_is_started_again_and_every_frame_recorded_once(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [tool("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    settings = StreamSettings(
        victim="second",
        split="conv4.0",
        victim_settings={"preset": "street", "weights": "shipped", "view": "camera", "frames_per_street": 2},
        attacks=[AttackChoice("coordinates")],
        knowledge=KnowledgeCard(),
        frames=6,
        rate_hz=2.0,
        workers=2,
        redis=f"redis://127.0.0.1:{port}",
    )
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL) as server:
        try:
            with Stream(settings, tmp_path / "run") as stream:
                killer = threading.Thread(target=_kill, args=(stream,), daemon=True)
                killer.start()
                result = stream.run()
        finally:
            server.terminate()
    assert result.restarts["worker-0"] == 1
    assert (result.attacker["captured"], result.attacker["inverted"], result.attacker["failed"]) == (6, 6, 0)
    assert result.attacker["redis"]["up"] is True
    made = Counter(r.frame for r in reconstructions(tmp_path / "run" / "reconstructions"))
    assert made == dict.fromkeys(range(6), 1)
    assert {name for name in result.usage if name.startswith("worker")} == {"worker-0", "worker-1"}


def _kill(stream: Stream) -> None:
    while stream.roles["attacker"].state().get("inverted", 0) < 1:
        time.sleep(0.05)
    stream.roles["worker-0"].kill()


def test_who_inverts_is_no_part_of_what_a_cell_is() -> None:
    demo = study("demo-lidar")
    plain = cells_of(demo, Settings())
    hired = cells_of(demo, Settings(redis="redis://host:7000", workers=3))
    assert [cell.id for cell in plain] == [cell.id for cell in hired]
    assert {(cell.stream.redis, cell.stream.workers) for cell in hired} == {("redis://host:7000", 3)}
    assert {cell.stream.redis for cell in plain} == {None}


def test_a_password_goes_into_the_environment_and_not_into_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EAVESPLIT_REDIS_URL", raising=False)
    assert redis_of("redis://host") == "redis://host:6379/0"
    assert "EAVESPLIT_REDIS_URL" not in os.environ
    monkeypatch.setenv("EAVESPLIT_REDIS_URL", "")  # so that it is put back
    assert redis_of("redis://:word@host:7000/1") == "redis://host:7000/1"
    assert os.environ["EAVESPLIT_REDIS_URL"] == "redis://:word@host:7000/1"
    with pytest.raises(InputError, match="--redis: scheme 'http'"):
        redis_of("http://host")
