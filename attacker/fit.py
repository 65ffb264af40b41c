"""``python -m attacker.fit --config fit.toml``: train an attack on what its knowledge card grants, and on nothing else.

Prints ``{"ready": "fit", "control": N}`` when the training begins and ``{"done": "fit", "made": PATH, "queries": N}``
when it ends. SIGTERM and Ctrl-C leave a training that the same command goes on with.

The guard goes up before torch, any attack or any thread exists, so imports that need it stand in functions.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attacker import guard
from attacker.advance import Advance
from attacker.config import FitConfig
from attacker.knowledge import KnowledgeCard
from wire.address import parse_address
from wire.errors import EavesplitError, InputError
from wire.rolefile import read

if TYPE_CHECKING:
    from victims.base import Sample

STOPPED = 130


class _Stop(BaseException):
    """A stop was asked for."""


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m attacker.fit", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="the role file (TOML)")
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        config = read(FitConfig, chosen.config)
        config.folder.mkdir(parents=True, exist_ok=True)
        card = config.card
        dial = [parse_address(config.oracle, "oracle")] if config.oracle else []
        return _fit(config, card.with_guard(guard.install(list(config.files), [config.folder], connect=dial)))
    except InputError as error:
        print(f"fit: {error}", file=sys.stderr)
        return 2
    except EavesplitError as error:
        print(f"fit: {error}", file=sys.stderr)
        return 1
    except _Stop:
        return STOPPED


def _stop(*_: object) -> None:
    raise _Stop


def _fit(config: FitConfig, card: KnowledgeCard) -> int:
    import torch

    from attacker.granting import entitled, grants_of
    from attacker.oracle import Oracle
    from wire.control import TOKEN_VARIABLE, ControlServer

    torch.set_num_threads(config.threads)
    attack = entitled((config.attack,), card)[config.attack.row]
    if attack.needs.queries and config.oracle is None:
        raise InputError(f"attack {config.attack.name} asks queries; accepted: oracle = HOST:PORT in the role file")
    oracle = Oracle(config.oracle) if config.oracle and card.queries else None
    grants = grants_of(config.attack, card, device=config.device, seed=config.seed, work=config.folder)
    settings = {"victim": config.victim, "split": config.split, **grants.settings}
    advance = Advance()
    control = ControlServer(
        "fit",
        lambda: {"advance": vars(advance), "queries": oracle.asked if oracle else 0, "knowledge": card.to_dict()},
        address=config.control,
        token=os.environ.get(TOKEN_VARIABLE),
        hosts=config.control_hosts,
    )
    port = control.start()
    print(json.dumps({"ready": "fit", "control": port}), flush=True)
    try:
        made = attack.fit(_samples(config), replace(grants, query=oracle, settings=settings), config.folder, advance)
    finally:
        control.stop()
        if oracle is not None:
            oracle.close()
    queries = oracle.asked if oracle else 0
    print(json.dumps({"done": "fit", "made": str(made), "queries": queries}), flush=True)
    return 0


def _samples(config: FitConfig) -> Iterator[Sample]:
    from victims.readable import readable
    from victims.registry import victim

    settings = {"frames": config.frames, "seed": config.seed, **config.data_settings}
    return readable(victim(config.victim).samples(config.data, settings))


if __name__ == "__main__":
    sys.exit(main())
