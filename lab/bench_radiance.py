"""``eavesplit bench radiance``: what it costs to train a radiance field across a socket.

Contenders, in processes of their own, take the same steps: ``unsplit`` (the whole network in one process), ``unsplit
again`` (the same, for the null comparison), ``split`` (edge to cloud directly), ``split, bfloat16`` (half the bytes),
``split + link + mirror`` (to a listener that drops all) and ``split + link + mirror + attacker`` (to a listener that
runs an attack beside them, on the same cores). All have one thread each. Split training computes on one side at a time,
so it can at best equal the unsplit one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from attacker.knowledge import KnowledgeCard
from lab.bench import Bench, Comparison, Ratio, check_rounds, process_cpu_s, ratio, rounds_of
from lab.bench_radiance_ends import SPLIT
from lab.bench_wire import judged
from lab.supervisor import Role
from victims.base import Progress
from victims.radiance.room import VIEWS
from victims.radiance.settings import training
from victims.radiance.victim import SPLITNERF, scene
from wire.errors import RunError

UNSPLIT, AGAIN, DIRECT, HALF = "unsplit", "unsplit again", "split", "split, bfloat16"
MIRRORED, ATTACKED = "split + link + mirror", "split + link + mirror + attacker"

ATTACK: Final = "surrogate-fit"
"""What the attacker runs: it needs nothing beside the capture."""

GATE_SPEED: Final = 0.7
"""Steps per second over the socket, edge to cloud directly, as a share of the unsplit network's."""

RAYS, SAMPLES, STEPS = 1024, 64, 3


def bench_radiance(
    rounds: int,
    progress: Progress,
    *,
    steps: int = STEPS,
    settings: Mapping[str, Any] | None = None,
    fields: Sequence[str] = (UNSPLIT, AGAIN, DIRECT, HALF, MIRRORED, ATTACKED),
) -> Bench:
    """Measure. steps: of each contender in each round. settings: the victim's, beside 1024 rays of 64 samples.

    fields: contenders, of which the first three must be among. InputError for too few rounds or a setting that is not
    accepted; RunError when an end does not come up.
    """
    check_rounds(rounds)
    victim = {"rays": RAYS, "samples": SAMPLES, "side": 32, **(settings or {})}
    victim["steps"] = max((rounds + 1) * steps, 1)
    training(victim)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Contender(name, Path(folder) / str(number), victim))
            for number, name in enumerate(fields)
        }
        measures = {name: _Run(contender, steps) for name, contender in contenders.items()}
        found = rounds_of(measures, rounds, progress, f"{victim['rays']} rays x {victim['samples']}")
    case = f"{victim['rays']} x {victim['samples']}"
    null = ratio(found, AGAIN, UNSPLIT, "wall_s")
    pairs = [(name, UNSPLIT) for name in fields if name not in (UNSPLIT, AGAIN)]
    pairs += [(name, DIRECT) for name in fields if name not in (UNSPLIT, AGAIN, DIRECT)]
    comparisons = [Comparison(case, a, b, "steps per second", ratio(found, b, a, "wall_s"), null) for a, b in pairs]
    busy = ratio(found, AGAIN, UNSPLIT, "cpu_s")
    comparisons += [Comparison(case, a, b, "CPU of both ends", ratio(found, a, b, "cpu_s"), busy) for a, b in pairs]
    facts = [line for name in fields for line in _facts(name, found[name], steps)]
    return Bench("radiance", comparisons, facts, [_gate(found, null)], {"victim": victim, "rounds": found})


class Contender:
    """One training and all that stands around it. name: one of the module's."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._name, self._folder = name, folder
        self._settings = {**settings, "precision": "bfloat16" if name == HALF else "float32"}
        self._roles: list[Role] = []
        self.client: subprocess.Popen[str] | None = None
        self._drops: subprocess.Popen[str] | None = None

    def __enter__(self) -> Contender:
        try:
            arguments = [] if self._name in (UNSPLIT, AGAIN) else [f"127.0.0.1:{self._cloud()}"]
            command = [sys.executable, "-m", "lab.bench_radiance_ends", json.dumps(self._settings), *arguments]
            self.client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._line(self.client)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    @property
    def pids(self) -> list[int]:
        """Of the two ends; of the one where nothing is split."""
        ends = [self.client.pid] if self.client is not None else []
        return ends + [role.pid for role in self._roles if role.name == "cloud"]

    def run(self, steps: int) -> dict[str, float]:
        """Take so many steps: ``wall_s``, ``bytes_up``, ``bytes_down``."""
        if self.client is None or self.client.stdin is None:
            raise RunError(f"{self._name}: not started")
        self.client.stdin.write(f"{steps}\n")
        self.client.stdin.flush()
        return dict(json.loads(self._line(self.client)))

    def _cloud(self) -> int:
        """The port that the edge dials: the cloud's, or a link's before it."""
        victim = {"victim": SPLITNERF.name, "splits": [SPLIT], "victim_settings": self._settings}
        cloud = self._role("cloud", "cloud", {"listen": "127.0.0.1:0", "control": "127.0.0.1:0", **victim})
        port = int(cloud.ready["port"])
        if self._name not in (MIRRORED, ATTACKED):
            return port
        mirror = self._attacker() if self._name == ATTACKED else self._sink()
        spool = {"spool": self._folder / "spool.ring", "spool_mb": 256}
        ends = {"listen": "127.0.0.1:0", "forward": f"127.0.0.1:{port}", "mirror": f"127.0.0.1:{mirror}"}
        return int(self._role("link", "wire.relay", {**ends, "control": "127.0.0.1:0", **spool}).ready["port"])

    def _attacker(self) -> int:
        public = {f"victim_{key}": value for key, value in training(self._settings).shared().items()}
        views = len(scene("procedural", {**self._settings, "views": VIEWS}).training)
        attack = {"name": ATTACK, "settings": {**public, "views": views, "share": 0.25}}
        told = {"attacks": [attack], "knowledge": KnowledgeCard("wire", "none").to_dict(), "record": "none"}
        ports = {"mirror": "127.0.0.1:0", "control": "127.0.0.1:0"}
        role = self._role("attacker", "attacker", {**ports, "folder": self._folder / "heard", "mode": "live", **told})
        return int(role.ready["mirror"])

    def _sink(self) -> int:
        command = [sys.executable, "-m", "lab.bench_ends", "sink"]
        self._drops = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return int(self._line(self._drops))

    def _role(self, name: str, module: str, config: dict[str, Any]) -> Role:
        role = Role(name, module, config, self._folder, restart=False)
        self._roles.append(role)
        role.start()
        role.wait_ready()
        return role

    def _line(self, process: subprocess.Popen[str]) -> str:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise RunError(f"bench radiance: an end of {self._name} is gone")
        return line

    def _stop(self) -> None:
        for process in (self.client, self._drops):
            if process is not None:
                process.kill()
                process.communicate()
        for role in reversed(self._roles):
            role.stop()


class _Run:
    """One contender, as :data:`lab.bench.Measure`."""

    def __init__(self, contender: Contender, steps: int) -> None:
        self._contender, self._steps = contender, steps

    def __call__(self) -> Mapping[str, float]:
        pids = self._contender.pids
        before = sum(process_cpu_s(pid) for pid in pids)
        found = self._contender.run(self._steps)
        return {**found, "cpu_s": sum(process_cpu_s(pid) for pid in pids) - before}


def _facts(name: str, rows: Sequence[Mapping[str, float]], steps: int) -> list[tuple[str, str]]:
    told = [(f"{name}: steps per second", _spread([steps / row["wall_s"] for row in rows], 2))]
    told.append((f"{name}: CPU of both ends a step (s)", _spread([row["cpu_s"] / steps for row in rows], 2)))
    if rows[0]["bytes_up"]:
        up, down = (median(row[key] for row in rows) / steps / 1e6 for key in ("bytes_up", "bytes_down"))
        told.append((f"{name}: bytes a step", f"{up:.2f} MB up, {down:.2f} MB down"))
    return told


def _spread(values: Sequence[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _gate(found: Mapping[str, Sequence[Mapping[str, float]]], null: Ratio) -> str:
    speed = ratio(found, UNSPLIT, DIRECT, "wall_s")
    rule = f"steps per second, edge to cloud directly: at least {GATE_SPEED} of the unsplit network's"
    return f"{rule}: {judged(speed.median >= GATE_SPEED, null, f'{speed.median:.2f}')}"
