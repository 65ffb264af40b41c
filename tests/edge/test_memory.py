"""What a training's step keeps on the edge: its gradients once and its pixels, and nothing else that grows with it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from defenses.base import Defense
from defenses.registry import build
from edge.driver import Done, Driver
from lab.bench_memory import peak_bytes
from tests.victims.radiance.exchanging import SMALL
from victims.radiance.batch import training_samples
from victims.radiance.head import RadianceHead
from victims.radiance.networks import parts
from victims.radiance.room import room
from wire.payload import Payload
from wire.reply import Reply

EMBEDDINGS = SMALL.samples * 64 * 4
"""Bytes of a ray's, and of its gradients."""


class Cloud:
    """A client whose cloud makes up its answers, each when it is asked for, and forgets what came."""

    def send(self, exchange: int, turn: int, sent: Sequence[Payload], stamps: object) -> Iterator[Reply]:
        count = len(sent)
        for part in range(count):
            meta = {"step": 0, "part": part, "parts": count}
            reply = Payload("result", "acknowledgement", {}, meta)
            rows = sent[part].tensors.get("pixels")
            if rows is not None:
                distances = torch.linspace(0.1, 1.0, SMALL.samples).repeat(len(rows), 1)
                tensors = {"embeddings": torch.rand(len(rows), SMALL.samples, 64), "distances": distances}
                reply = Payload("embeddings", "embeddings", tensors, meta)
            yield Reply(reply, None)  # type: ignore[arg-type]


class Joined:
    """A thread that runs in the one that joins it: the profiler counts what its own thread allocates."""

    def __init__(self, target: Callable[[], None], **_: object) -> None:
        self.start, self.join = lambda: None, target


def peak(defense: Defense, rays: int, monkeypatch: pytest.MonkeyPatch) -> int:
    settings = replace(SMALL, rays=rays)
    sample = next(iter(training_samples(room(0, side=16, views=5), settings)))
    head = RadianceHead(parts("mid", settings)[1], settings, 64)
    done = list[Done]()
    monkeypatch.setattr(threading, "Thread", Joined)
    driver = Driver(head, Cloud(), defense, done.append, seed=0, in_flight=1, steps=4)
    monkeypatch.undo()

    def step() -> None:
        driver.run(sample, 0)
        driver.finish()

    found = peak_bytes(step)
    assert [item.error for item in done] == [None] and done[0].payload_bytes > rays * EMBEDDINGS
    return found


@pytest.mark.parametrize(
    ("name", "settings", "held"),
    [
        ("none", {}, 1),
        ("gradient-norm-noise", {}, 1),
        ("gradient-norm-noise", {"clip": True}, 1),
        ("gradient-norm-noise", {"mode": "partial"}, 2),  # which looks at the embeddings, so that they are kept
        ("gradient-clip", {}, 1),
    ],
)
def test_a_step_keeps_its_gradients_once(
    name: str, settings: dict[str, object], held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ray is twelve samples: 3072 bytes of gradients, 48 of distances, norms and pixels a tenth of the rest."""
    defense = build(name, settings)  # type: ignore[arg-type]
    few, many = (peak(defense, rays, monkeypatch) for rays in (64, 256))
    assert held * EMBEDDINGS <= (many - few) / (256 - 64) < (held + 0.1) * EMBEDDINGS
