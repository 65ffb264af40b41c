"""``python -m lab.bench_radiance_ends``: one training that ``eavesplit bench radiance`` measures.

Arguments: the victim's settings as JSON, and ``HOST:PORT`` of a cloud, or nothing for the whole network in one process.
Prints ``ready``, then answers each line ``STEPS`` of standard input with a line of JSON: ``wall_s``, and ``bytes_up``
and ``bytes_down`` as handed to gRPC.
"""

from __future__ import annotations

from wire.malloc import tune

tune()  # before gRPC and torch grow the heap

import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator, Mapping  # noqa: E402
from contextlib import suppress  # noqa: E402
from itertools import count, islice  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

from victims.base import Sample  # noqa: E402
from victims.radiance.networks import parts  # noqa: E402
from victims.radiance.settings import training  # noqa: E402
from victims.radiance.unsplit import Unsplit  # noqa: E402
from victims.radiance.victim import SPLITNERF  # noqa: E402
from wire.client import EdgeClient, Offer  # noqa: E402

SPLIT = "mid"

Steps = Callable[[int], Mapping[str, float]]
"""Takes so many steps; what they cost."""


def whole(settings: Mapping[str, Any]) -> Steps:
    """The network in one piece."""
    chosen = training(settings)
    field, samples = Unsplit(*parts(SPLIT, chosen), chosen), _samples(settings)

    def steps(number: int) -> Mapping[str, float]:
        begin = time.monotonic()
        for sample in islice(samples, number):
            field.step(sample)
        return {"wall_s": time.monotonic() - begin, "bytes_up": 0.0, "bytes_down": 0.0}

    return steps


def split(settings: Mapping[str, Any], address: str) -> Steps:
    """The edge's half, over the client that edges have. FrameError for a step that fails."""
    cut, samples = SPLITNERF.cut(SPLIT, settings), _samples(settings)
    head, frames = cut.head(), count()
    client = EdgeClient(
        address, Offer(SPLITNERF.name, SPLIT, cut.weights_sha256, cut.config_sha256, tuple(sorted(head.emits)))
    )
    client.open()

    def steps(number: int) -> Mapping[str, float]:
        before, begin = client.counters(), time.monotonic()
        for frame, sample in zip(islice(frames, number), samples, strict=False):
            exchange = head.exchange(sample)
            with suppress(StopIteration):
                parts = next(exchange)
                for turn in count():
                    parts = exchange.send(reply.payload for reply in client.send(frame, turn, parts))
        wall, after = time.monotonic() - begin, client.counters()
        return {"wall_s": wall, **{key: float(after[key] - before[key]) for key in ("bytes_up", "bytes_down")}}

    return steps


def _samples(settings: Mapping[str, Any]) -> Iterator[Sample]:
    return iter(SPLITNERF.samples("procedural", settings))


def main(arguments: list[str]) -> int:
    """Take steps until standard input closes."""
    torch.set_num_threads(1)
    settings = json.loads(arguments[0])
    steps = split(settings, arguments[1]) if len(arguments) > 1 else whole(settings)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(steps(int(line))), flush=True)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # gRPC's threads and an open session would hold the interpreter; nothing here is worth keeping
