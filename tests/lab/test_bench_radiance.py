"""The ends of ``bench radiance``: that they train, and what a step moves."""

from __future__ import annotations

import pytest

from cloud.config import CloudConfig
from cloud.service import Tails
from lab.bench import ratio
from lab.bench_radiance import AGAIN, ATTACKED, DIRECT, GATE_SPEED, UNSPLIT, _gate, bench_radiance
from lab.bench_radiance_ends import split, whole
from victims.base import silent
from wire.errors import InputError
from wire.server import CloudServer

SMALL = {"rays": 64, "samples": 8, "levels": 2, "rows_log2": 6, "side": 12, "views": 5, "steps": 9}


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("bfloat16", 2)])
def test_a_step_moves_embeddings_down_and_gradients_up(precision: str, size: int) -> None:
    settings = {**SMALL, "precision": precision}
    tails = Tails(CloudConfig(victim="splitnerf", splits=["mid"], victim_settings=settings))
    server = CloudServer(tails)
    try:
        found = split(settings, f"127.0.0.1:{server.start()}")(3)
    finally:
        server.stop(1)
    tensors = 3 * 64 * 8 * 64 * size
    distances, pixels = 3 * 64 * 8 * 4, 3 * 64 * 4
    assert tensors + pixels < found["bytes_up"] < tensors + pixels + 6000  # heads and acknowledgements beside them
    assert tensors + distances < found["bytes_down"] < tensors + distances + 6000
    assert found["wall_s"] > 0


def test_the_unsplit_network_moves_nothing_and_the_source_ends() -> None:
    steps = whole(SMALL)
    assert steps(4)["bytes_up"] == 0.0
    assert steps(99)["wall_s"] > 0  # five are left


def test_the_gate_is_a_ratio_of_speeds() -> None:
    found = {
        name: [{"wall_s": wall}] * 3 for name, wall in ((UNSPLIT, 1.0), (AGAIN, 1.0), (DIRECT, 1.25), (ATTACKED, 4))
    }
    null = ratio(found, AGAIN, UNSPLIT, "wall_s")
    assert _gate(found, null).endswith(f"at least {GATE_SPEED} of the unsplit network's: held (0.80)")
    with pytest.raises(InputError, match="--rounds 2; accepted: 3 or more"):
        bench_radiance(2, silent)
