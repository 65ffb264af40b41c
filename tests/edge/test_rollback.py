"""A cloud that dies in the middle of a training, with checkpoints that cannot be read: both ends in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from cloud.config import CloudConfig
from cloud.service import Handler, Tails
from edge.config import EdgeConfig
from edge.run import Edge
from tests.victims.radiance.test_split import equal
from tests.victims.test_checkpoints import DAMAGES
from victims.base import State
from victims.checkpoints import Checkpoints
from victims.radiance.networks import parts
from victims.radiance.settings import training
from victims.radiance.unsplit import Unsplit
from victims.radiance.victim import SPLITNERF
from wire.errors import SessionRefused
from wire.server import CloudServer, Opening

VICTIM = {
    "steps": 14, "rays": 40, "samples": 8, "levels": 3, "rows_log2": 8, "base": 4, "finest": 32, "chunk_points": 128,
    "side": 12, "views": 5, "seed": 3,
}  # fmt: skip
EVERY, DEATH = 4, 10
"""The cloud dies in step 10, when both ends hold the checkpoints 4 and 8."""


class Refusing(Tails):
    """A cloud that has lost what it had, ``times`` times over."""

    times = 0

    def open(self, opening: Opening) -> Handler:
        if self.times:
            self.times -= 1
            raise SessionRefused("STATE_LOST", "gone")
        return super().open(opening)


def trained(folder: Path, at_death: Callable[[], object] = lambda: None, refusals: int = 0) -> dict[str, object]:
    """A training whose cloud is another one from step 10 on; what the edge counted."""
    cloud = CloudConfig(victim="splitnerf", splits=["mid"], victim_settings=VICTIM, checkpoints=folder / "cloud")
    servers = [CloudServer(Refusing(cloud))]
    port = servers[0].start()

    class Dying(Edge):
        def _done(self, done: object) -> None:
            super()._done(done)  # type: ignore[arg-type]
            if done.frame == DEATH and len(servers) == 1:  # type: ignore[attr-defined]
                servers[0].stop(0)
                at_death()
                tails = Refusing(cloud)
                tails.times = refusals
                servers.append(CloudServer(tails, f"127.0.0.1:{port}"))
                servers[1].start()

    edge = Dying(
        EdgeConfig(
            address=f"127.0.0.1:{port}",
            victim="splitnerf",
            split="mid",
            victim_settings=VICTIM,
            folder=folder / "edge",
            checkpoint_every=EVERY,
            in_flight=1,
        )
    )
    try:
        return edge.run(threading.Event(), lambda _: None)
    finally:
        for server in servers:
            server.stop(0)


@pytest.fixture(scope="module")
def unbroken() -> dict[str, torch.Tensor]:
    """Every weight and moment of the same training in one process."""
    chosen = training(VICTIM)
    whole = Unsplit(*parts("mid", chosen), chosen)
    for sample in SPLITNERF.samples("procedural", VICTIM):
        whole.step(sample)
    return tensors(*whole.states())


def tensors(*states: State) -> dict[str, torch.Tensor]:
    return {name: tensor for state in states for name, tensor in state.tensors.items()}


def newest(folder: Path) -> Path:
    return max(folder.rglob("*.safetensors"), key=lambda path: int(path.stem))


def ended(folder: Path) -> dict[str, torch.Tensor]:
    """What both ends hold after the last step."""
    found = dict[str, torch.Tensor]()
    for end in ("cloud", "edge"):
        kept = newest(folder / end)
        assert kept.stem == "14"
        found |= load_file(kept)
    return found


@pytest.mark.parametrize(
    ("end", "damage"), [("cloud", "truncated"), ("cloud", "empty"), ("cloud", "garbage"), ("edge", "truncated")]
)
def test_both_go_back_to_the_newest_that_both_can_read(
    end: str, damage: str, tmp_path: Path, unbroken: dict[str, torch.Tensor]
) -> None:
    begun = list[int]()

    def at_death() -> None:
        path = newest(tmp_path / end)
        assert path.stem == "8"
        DAMAGES[damage](path)

    back_to = Checkpoints.back_to
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "back_to", lambda s, part, step: (begun.append(step), back_to(s, part, step))[1])
        counts = trained(tmp_path, at_death)
    assert begun == [0, 0, 4, 4]  # cloud and edge, at the beginning and in the rollback
    assert (counts["answered"], counts["rollbacks"], counts["failed"]) == (DEATH + 1 + 14 - 4, 1, 0)
    assert equal(ended(tmp_path), unbroken)


def test_a_cloud_that_holds_another_networks_state_goes_back_further(
    tmp_path: Path, unbroken: dict[str, torch.Tensor]
) -> None:
    """A file that can be read, but not taken."""

    def at_death() -> None:
        path = newest(tmp_path / "cloud")
        told = '{"state": {"done": 8}, "more": {}}'
        save_file({"weight.other": torch.zeros(2)}, path, {"eavesplit": told})

    assert trained(tmp_path, at_death)["rollbacks"] == 1
    assert equal(ended(tmp_path), unbroken)


def test_a_reopening_that_is_refused_is_tried_again(tmp_path: Path, unbroken: dict[str, torch.Tensor]) -> None:
    assert trained(tmp_path, refusals=3)["rollbacks"] == 3
    assert equal(ended(tmp_path), unbroken)


def test_a_cloud_that_never_takes_the_session_ends_it(tmp_path: Path) -> None:
    with pytest.raises(SessionRefused, match=r"^STATE_LOST: gone$"):
        trained(tmp_path, refusals=10_000)
