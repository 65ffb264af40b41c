"""Runs exchanges without a socket, as edge and cloud do: every payload is validated at both ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from victims.base import Head, Outcome, Sample, Tail, validate
from victims.radiance.settings import Training
from wire.payload import Payload

SMALL = Training(
    steps=40, rays=80, samples=12, levels=4, rows_log2=10, base=4, finest=64, chunk_points=384, seed=3, edge_seed=5
)
"""Three parts a step: 32, 32 and 16 rays."""

Tamper = Callable[[int, Sequence[Payload]], Sequence[Payload]]


def exchange(head: Head, tail: Tail, sample: Sample, tamper: Tamper | None = None) -> tuple[Outcome, list[Payload]]:
    """One exchange to its end; what came of it, and all that left the edge. tamper: changes turn 0, 1 on their way."""
    running, left, number = head.exchange(sample), list[Payload](), 0
    turn = next(running)
    while True:
        sent = turn if tamper is None else tamper(number, turn)
        left += turn
        try:
            turn, number = running.send(_replies(tail, sent)), number + 1
        except StopIteration as end:
            return end.value, left


def _replies(tail: Tail, payloads: Sequence[Payload]) -> Iterator[Payload]:
    for payload in payloads:
        validate(payload)
        reply = tail.reply(payload)
        validate(reply)
        yield reply
