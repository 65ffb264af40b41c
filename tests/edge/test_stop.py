"""A stop ends an edge whose cloud is gone for good."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import tomli_w

from cloud.config import CloudConfig
from cloud.service import Tails
from wire.server import CloudServer

SETTINGS = {"preset": "street", "weights": "shipped", "view": "camera"}


def test_sigterm_ends_an_edge_that_waits_for_a_cloud_that_is_gone(tmp_path: Path) -> None:
    server = CloudServer(Tails(CloudConfig(victim="second", splits=["conv4.0"], victim_settings=SETTINGS)))
    config = {
        "address": f"127.0.0.1:{server.start()}",
        "victim": "second",
        "split": "conv4.0",
        "victim_settings": SETTINGS,
        "folder": str(tmp_path / "edge"),
    }
    (tmp_path / "edge.toml").write_text(tomli_w.dumps(config))
    root = Path(__file__).resolve().parents[2]
    edge = subprocess.Popen(
        [sys.executable, "-m", "edge", "--config", str(tmp_path / "edge.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert edge.stdout is not None
    assert json.loads(edge.stdout.readline())["ready"] == "edge"
    server.stop(0)
    time.sleep(1)
    edge.send_signal(signal.SIGTERM)
    out, err = edge.communicate(timeout=60)  # 20 s for what is in flight, then it gives up
    assert edge.returncode == 2 or '"done"' in out
    assert len(err.strip().splitlines()) <= 1
