"""Split training of a radiance field over a real socket: driver, session and tail, as edge and cloud run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from defenses.base import Protected, Turn
from defenses.none import NoDefense
from edge.driver import Done, Driver
from tests.test_toys import connected
from tests.victims.radiance.exchanging import SMALL
from tests.victims.radiance.test_split import ends, equal, weights
from victims.base import Sample
from victims.radiance.networks import parts
from victims.radiance.pictures import Pictures, stream
from victims.radiance.room import room
from victims.radiance.unsplit import Unsplit
from wire.payload import Payload

STEPS = replace(SMALL, steps=20)


class Watching(NoDefense):
    """Remembers what it was told of each turn, and lets everything pass but what ``change`` makes of a turn."""

    roles = frozenset({"rays", "gradients"})

    def __init__(self, change: object = None) -> None:
        super().__init__({}, None)
        self.seen: list[tuple[int, int, int | None, str]] = []
        self._change = change

    def protect(self, parts: Sequence[Payload], turn: Turn) -> Protected:
        self.seen.append((turn.frame, turn.step, turn.steps, parts[0].role))
        return Protected(self._change(turn, list(parts)) if self._change else parts)  # type: ignore[operator]


def trained(head: object, tail: object, samples: Sequence[Sample], defense: Watching) -> list[Done]:
    done: list[Done] = []
    with connected(tail) as client:  # type: ignore[arg-type]
        driver = Driver(head, client, defense, done.append, seed=1, in_flight=1, steps=STEPS.steps)  # type: ignore[arg-type]
        for sample in samples:
            driver.run(sample, 1)
        driver.finish()
    return done


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return list(stream(room(0, side=16, views=5), STEPS, Pictures(pictures=-1, curve_every=8, curve_views=1)))


def test_twenty_steps_equal_unsplit_training_bit_for_bit(samples: list[Sample]) -> None:
    head, tail = ends(settings=STEPS)
    whole = Unsplit(*parts("mid", STEPS), STEPS)
    defense = Watching()
    done = trained(head, tail, samples, defense)
    assert [d.error for d in done] == [None] * 23
    for sample, d in zip(samples, done, strict=True):
        assert d.outcome is not None
        if "colours" in sample.arrays:
            assert float(d.outcome.arrays["loss"]) == np.float32(whole.step(sample))
        else:
            image, depth = whole.picture(sample)
            assert np.array_equal(d.outcome.arrays["image"], image.numpy())
            assert np.array_equal(d.outcome.arrays["depth"], depth.numpy())
    assert equal(weights(tail, head), weights(whole))
    # Frames count the stream; the step is the training's, and a picture's is the number of steps done.
    steps = [(d.frame, int(d.sample.meta["step"])) for d in done]  # type: ignore[arg-type]
    assert steps[7:10] == [(7, 7), (8, 8), (9, 8)] and steps[-1] == (22, 20)
    roles = [["rays"] if frame in (8, 17, 22) else ["rays", "gradients"] for frame, _ in steps]
    assert defense.seen == [(f, s, 20, role) for (f, s), told in zip(steps, roles, strict=True) for role in told]


def _first(parts: list[Payload], tensor: str, value: torch.Tensor) -> list[Payload]:
    return [replace(parts[0], tensors={**parts[0].tensors, tensor: value}), *parts[1:]]


def _broken(turn: Turn, parts: list[Payload]) -> list[Payload]:
    """One fault of its own on each of the steps 1 to 4."""
    gradients = parts[0].tensors.get("gradients")
    if gradients is not None and turn.step == 1:
        return [replace(p, meta={**p.meta, "step": 0}) for p in parts]
    if gradients is not None and turn.step == 2:
        return _first(parts, "gradients", gradients[:, :, :63].contiguous())
    if gradients is not None and turn.step == 3:
        return _first(parts, "gradients", torch.full_like(gradients, torch.nan))
    if gradients is None and turn.step == 4:
        return _first(parts, "pose", torch.full((3, 4), 0.5))
    return parts


def test_bad_input_is_named_and_leaves_the_weights_of_both_ends(samples: list[Sample]) -> None:
    head, tail = ends(settings=STEPS)
    steps = [s for s in samples if "colours" in s.arrays][:6]
    done = trained(head, tail, steps, Watching(_broken))
    said = [
        "gradients of step 0, part 0 of 3; accepted: step 1, part 0 of 3",
        "gradients of step 2, part 0: (32, 12, 63); accepted: (32, 12, 64)",
        "gradients: 24576 of 24576 values of gradients are not finite or beyond 1e+18",
    ]
    wanted = [None, *(f"frame {number}: BAD_LAYOUT: {line}" for number, line in enumerate(said, 1)), None]
    assert [d.error for d in done[:4] + done[5:]] == wanted
    assert str(done[4].error).startswith("frame 4: BAD_LAYOUT: rays: the pose is no rigid transform: its axes miss")
    # The session goes on; both ends are where the two good steps alone lead.
    other = ends(settings=STEPS)
    trained(*other, [steps[0], steps[5]], Watching())
    assert equal(weights(head, tail), weights(*other))


def test_steps_go_on_where_the_stream_is_taken_up(samples: list[Sample]) -> None:
    again = list(islice(stream(room(0, side=16, views=5), STEPS, Pictures(-1, 8, 1), first=9), 3))
    assert [s.digest() for s in again] == [s.digest() for s in samples[10:13]]
