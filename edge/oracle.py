"""``python -m edge.oracle --config oracle.toml``: the query oracle, a second edge with the same weights and defense and
no truth. It answers whoever asks, here the attacker of a black-box study, with what would have left the edge.

Off unless it is started; every answer is counted, across restarts too, and answers come no faster than ``rate_hz``.
Prints one line of JSON when it listens: ``{"ready": "oracle", "port": N, "control": M}``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from defenses.base import Calibration, Turn
from defenses.registry import build
from edge.config import DefenseChoice
from victims.base import Sample
from victims.registry import victim
from wire import query, seeds
from wire.control import TOKEN_VARIABLE, ControlServer
from wire.errors import DecodeError, EavesplitError, InputError
from wire.rolefile import Role, read

ASK_TOKEN_VARIABLE = "EAVESPLIT_ORACLE_TOKEN"
"""Environment variable with the token that a question must carry where the oracle listens beyond loopback."""

COUNT_FILE = "answered"


class OracleConfig(Role):
    """The role file of ``python -m edge.oracle``.

    listen: where questions are answered; hosts: names under which it may be called there. queries: how many it answers
    in its whole life. calibration: ``rms`` and ``clip`` of the edge whose defense it copies; a defense whose strength
    is measured in them needs it. session: part of every random stream's seed, and another than the edge's, whose noise
    it must not repeat. folder: keeps the count.
    """

    listen: str = "127.0.0.1:0"
    hosts: tuple[str, ...] = ()
    victim: str
    split: str
    victim_settings: dict[str, Any] = Field(default_factory=dict)
    defense: DefenseChoice = DefenseChoice()
    calibration: Calibration | None = None
    queries: int = Field(ge=1, le=10_000_000)
    rate_hz: float = Field(default=200.0, gt=0, le=100_000)
    seed: int = Field(default=0, ge=0)
    session: int = Field(default=1, ge=1)
    folder: Path
    control: str = "127.0.0.1:0"
    threads: int = Field(default=1, ge=1, le=256)


class Oracle:
    """Answers questions (:meth:`reply`), from any thread, one at a time."""

    def __init__(self, config: OracleConfig) -> None:
        torch.set_num_threads(config.threads)
        self._config = config
        self._defense = build(config.defense.name, config.defense.settings, config.calibration)
        self._head = victim(config.victim).cut(config.split, config.victim_settings).head()
        self._count = _Count(config.folder / COUNT_FILE)
        self._lock = threading.Lock()
        self._next_s = time.monotonic()

    def reply(self, question: bytes) -> bytes:
        """What would leave the edge for the sample asked about. Waits for its turn at ``rate_hz``.

        InputError where the question is none, the victim refuses the sample, or all queries are spent.
        """
        try:
            sample = Sample("query", query.asked(question))
        except DecodeError as error:
            raise InputError(str(error)) from error
        with self._lock:
            number = self._count.value
            if number >= self._config.queries:
                raise InputError(f"{number} {query.SPENT} {self._config.queries}")
            wait = self._next_s - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self._next_s = max(self._next_s, time.monotonic() - wait) + 1 / self._config.rate_hz
            turn = Turn(number, 0, None, 0, seeds.generator(self._config.seed, "defense", self._config.session, number))
            exchange = self._head.exchange(self._defense.prepare(sample, turn))
            try:
                parts = next(exchange)
            except (ValueError, KeyError) as error:
                raise InputError(str(error)) from error
            finally:
                exchange.close()
            said = query.answer(self._defense.protect(parts, turn).parts)
            self._count.add()
            return said

    def state(self) -> Mapping[str, Any]:
        """What ``GET /state`` shows."""
        config = self._config
        return {
            "answered": self._count.value,
            "queries": config.queries,
            "rate_hz": config.rate_hz,
            "victim": config.victim,
            "split": config.split,
            "defense": config.defense.model_dump(),
        }


class _Count:
    """A number that survives the process: appended to, a byte an answer, so that no answer costs a rename."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.value = path.stat().st_size if path.exists() else 0
        self._file = path.open("ab", buffering=0)

    def add(self) -> None:
        self._file.write(b".")
        self.value += 1


def main(argv: list[str] | None = None) -> int:
    """Answer until SIGTERM or Ctrl-C. Exit code 2 for bad input, with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m edge.oracle", description="Answer queries as an edge would.")
    parser.add_argument("--config", type=Path, required=True, help="role file (TOML)")
    arguments = parser.parse_args(argv)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    try:
        config = read(OracleConfig, arguments.config)
        oracle = Oracle(config)
        control = ControlServer("oracle", oracle.state, address=config.control, token=os.environ.get(TOKEN_VARIABLE))
        server = ControlServer(
            "oracle",
            lambda: {"answered": oracle.state()["answered"]},
            address=config.listen,
            token=os.environ.get(ASK_TOKEN_VARIABLE),
            hosts=config.hosts,
            uploads={query.PATH: oracle.reply},
            upload_bytes=query.MAX_QUERY_BYTES,
        )
        port = server.start()
        print(json.dumps({"ready": "oracle", "port": port, "control": control.start()}), flush=True)
    except EavesplitError as error:
        print(f"oracle: {error}", file=sys.stderr)
        return 2
    stop.wait()
    server.stop()
    control.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
