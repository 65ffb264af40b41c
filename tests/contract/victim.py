"""The check-list of a victim: call :func:`check_victim` on one of your own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from victims.base import Cut, Outcome, Sample, Victim, validate
from wire.dtypes import to_bytes
from wire.payload import Meta, Payload


def check_victim(victim: Victim, split: str, settings: Mapping[str, Meta], sample: Sample) -> list[Outcome]:
    """Everything that the contract promises, on one inference sample; AssertionError says what does not hold.

    Returns the outcomes of two equal exchanges.
    """
    assert victim.name and victim.modality and split in victim.splits
    first, second = victim.cut(split, settings), victim.cut(split, settings)
    assert (first.victim, first.split) == (victim.name, split)
    assert first.weights_sha256 == second.weights_sha256 and len(first.weights_sha256) == 32, "digests must repeat"
    assert first.config_sha256 == second.config_sha256 and len(first.config_sha256) == 32
    before = sample.digest()
    sent, outcomes = zip(*(_exchange(cut, sample) for cut in (first, second)), strict=True)
    assert sent[0] == sent[1], "the same sample must leave the same bytes"
    assert sample.digest() == before, "an exchange must not change its sample"
    return list(outcomes)


def _exchange(cut: Cut, sample: Sample) -> tuple[list[bytes], Outcome]:
    head, tail = cut.head(), cut.tail()
    assert head.emits <= tail.accepts, "the tail must accept what the head emits"
    exchange, left = head.exchange(sample), []
    turn: Sequence[Payload] = next(exchange)
    while True:
        assert turn, "a turn has at least one part"
        for payload in turn:
            assert payload.layout in head.emits
            validate(payload)
            left += [to_bytes(tensor).tobytes() for tensor in payload.tensors.values()]
        try:
            turn = exchange.send(_replies(tail.reply(payload) for payload in turn))
        except StopIteration as end:
            outcome = end.value
            break
    assert isinstance(outcome, Outcome), "an exchange ends with an Outcome"
    return left, outcome


def _replies(payloads: Iterator[Payload]) -> Iterator[Payload]:
    for payload in payloads:
        validate(payload)
        yield payload
