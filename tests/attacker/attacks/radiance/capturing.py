"""Exchanges without a socket, as a listener captures them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attacker.attacks.base import CapturedFrame, CapturedPart
from victims.base import Head, Sample, Tail
from wire.payload import Payload

SESSION = "5e" * 16


def captured(head: Head, tail: Tail, sample: Sample, number: int) -> CapturedFrame:
    """One exchange, as a listener hears it."""
    running, parts, turn = head.exchange(sample), list[CapturedPart](), 0
    sent = next(running)
    while True:
        parts += [CapturedPart("up", turn, i, len(sent), payload, 1, 2) for i, payload in enumerate(sent)]
        try:
            sent = running.send(_replies(tail, sent, turn, parts))
            turn += 1
        except StopIteration:
            return CapturedFrame(SESSION, 0, number, parts)


def _replies(tail: Tail, sent: Iterable[Payload], turn: int, heard: list[CapturedPart]) -> Iterator[Payload]:
    payloads = list(sent)
    for part, payload in enumerate(payloads):
        reply = tail.reply(payload)
        heard.append(CapturedPart("down", turn, part, len(payloads), reply, 1, 2))
        yield reply
