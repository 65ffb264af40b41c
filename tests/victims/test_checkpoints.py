"""Checkpoints: when they are kept, that two ends always share one, and what a kill in the middle of writing leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from victims.base import State, Trained
from victims.checkpoints import Checkpoints, newest_common
from wire.errors import InputError

LAST = 12

DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "cut in its head": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 4),
}
"""What makes a checkpoint unreadable."""


class Counter:
    """Learns by counting; its weight is the sum of its steps."""

    def __init__(self) -> None:
        self.done, self.sum = 0, torch.zeros(1)

    def step(self) -> None:
        self.sum += self.done
        self.done += 1

    def state(self) -> State:
        return State({"sum": self.sum.clone()}, {"done": self.done})

    def load(self, state: State) -> None:
        self.sum, self.done = state.tensors["sum"].clone(), int(state.meta["done"])  # type: ignore[arg-type]


def test_the_newest_two_are_kept_and_the_last_step(tmp_path: Path) -> None:
    part, kept = Counter(), Checkpoints(tmp_path, 4, 10)
    assert isinstance(part, Trained)
    seen = []
    for _ in range(10):
        part.step()
        kept.keep(part, {"frame": part.done + 1})
        seen.append(kept.steps)
    assert seen == [(), (), (), (4,), (4,), (4,), (4,), (4, 8), (4, 8), (8, 10)]
    assert not kept.keep(part)  # nothing was learnt since
    fresh = Counter()
    assert Checkpoints(tmp_path, 4, 10).back_to(fresh, 8) == {"frame": 9}
    assert (fresh.done, float(fresh.sum)) == (8, 28.0)  # 0 + 1 + ... + 7
    assert kept.steps == (8,)  # what came after is void


def test_a_step_that_was_passed_over_is_made_up_for(tmp_path: Path) -> None:
    """A step that fails leaves its number out: what is due at 4 is kept at 5, at both ends."""
    part, kept = Counter(), Checkpoints(tmp_path, 4, 100)
    for done in (3, 5, 7, 8):
        part.done = done
        kept.keep(part)
    assert kept.steps == (5, 8)
    part.done = 9
    assert not Checkpoints(tmp_path / "none", 0, 9).keep(part)  # not even the last


@settings(max_examples=15, deadline=None)
@given(
    every=st.integers(1, 4),
    kills=st.lists(st.tuples(st.integers(0, 7), st.booleans(), st.sampled_from(["edge", "cloud"])), max_size=5),
)
def test_two_ends_share_a_step_that_is_at_most_two_checkpoints_back(
    every: int, kills: list[tuple[int, bool, str]]
) -> None:
    """Kills fall after some steps, or between the two ends' steps; both go back, and end where one that ran through
    does."""
    with TemporaryDirectory() as folder:
        stores = [Checkpoints(Path(folder) / name, every, LAST) for name in ("cloud", "edge")]
        ends = [Counter(), Counter()]
        for steps, torn, killed in [*kills, (99, False, "")]:
            for _ in range(min(steps, LAST - ends[1].done)):
                for end, store in zip(ends, stores, strict=True):  # the cloud steps, and keeps, before the edge
                    end.step()
                    store.keep(end)
            if torn and ends[0].done < LAST:
                ends[0].step()
                stores[0].keep(ends[0])
            if not killed:
                break
            reached = ends[1].done
            # The killed end knows what is on disk; the other one is in the same place after the rollback.
            number = ("cloud", "edge").index(killed)
            stores[number] = Checkpoints(Path(folder) / killed, every, LAST)
            common = newest_common(stores[0].steps, stores[1].steps)
            assert reached - every < common + every and common <= reached
            ends = [Counter(), Counter()]
            for end, store in zip(ends, stores, strict=True):
                store.back_to(end, common)
                assert end.done == common
        assert [(end.done, float(end.sum)) for end in ends] == [(LAST, 66.0)] * 2


def test_what_a_kill_left_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    part, kept = Counter(), Checkpoints(tmp_path, 1, 9)
    part.step()
    kept.keep(part)
    (tmp_path / "2.part").write_bytes((tmp_path / "1.safetensors").read_bytes()[:20])
    assert Checkpoints(tmp_path, 1, 9).steps == (1,)
    (tmp_path / "1.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"1\.safetensors: no checkpoint: "):
        kept.back_to(part, 1)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_is_passed_over_and_takes_no_readable_ones_place(damage: str, tmp_path: Path) -> None:
    part, kept = Counter(), Checkpoints(tmp_path, 4, 100)
    for _ in range(8):
        part.step()
        kept.keep(part)
    DAMAGES[damage](tmp_path / "8.safetensors")
    assert kept.steps == Checkpoints(tmp_path, 4, 100).steps == (4,)
    for _ in range(4):
        part.step()
        kept.keep(part)
    assert kept.steps == (4, 12)  # the newest two that can be read
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12.safetensors", "4.safetensors"]
    DAMAGES[damage](tmp_path / "12.safetensors")
    assert (kept.back_to(part, 4), part.done, float(part.sum)) == ({}, 4, 6.0)  # 0 + 1 + 2 + 3
    assert [path.name for path in tmp_path.iterdir()] == ["4.safetensors"]  # what comes after is void, read or not
    DAMAGES[damage](tmp_path / "4.safetensors")
    assert kept.steps == ()
