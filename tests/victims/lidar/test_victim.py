"""SECOND's halves as victims: what leaves, what comes back, and that nothing is lost by cutting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from victims.base import Cut, Outcome, Sample, validate
from victims.lidar import sparse
from victims.lidar.backbone import SPLITS
from victims.lidar.models import load_victim
from victims.lidar.presets import PRESETS
from victims.lidar.street import STREAM_SEEDS, street_scan
from victims.lidar.victim import SECOND_VICTIM, scan_sample
from victims.lidar.voxels import voxelize
from victims.registry import victim
from wire.errors import DecodeError, InputError
from wire.payload import Payload

SETTINGS = {"preset": "street", "weights": "random"}


@pytest.fixture(scope="module")
def sample() -> Sample:
    return scan_sample(street_scan(STREAM_SEEDS[7], azimuth_deg=(-60, 60)), "full")


@pytest.fixture(scope="module")
def whole(sample: Sample) -> dict[str, torch.Tensor]:
    network, preset = load_victim("random"), PRESETS["street"]
    with torch.inference_mode(), sparse.one_thread():
        return network.detect(network.backbone(voxelize(sample.arrays["points"], preset)), preset)[0]


def turn(cut: Cut, sample: Sample) -> tuple[Payload, Outcome]:
    exchange = cut.head().exchange(sample)
    (payload,) = next(exchange)
    validate(payload)
    reply = cut.tail().reply(payload)
    validate(reply)

    def replies() -> Iterator[Payload]:
        yield reply

    with pytest.raises(StopIteration) as end:
        exchange.send(replies())
    return payload, end.value.value


@pytest.mark.parametrize("split", SPLITS)
def test_head_and_tail_equal_the_whole_network_bit_for_bit(
    split: str, sample: Sample, whole: dict[str, torch.Tensor]
) -> None:
    payload, outcome = turn(SECOND_VICTIM.cut(split, SETTINGS), sample)
    assert payload.layout == "sparse_voxels" and payload.role == "features"
    assert payload.tensors["features"].shape[1] == SPLITS[split].channels
    for name, tensor in whole.items():
        assert outcome.arrays[name].tobytes() == tensor.numpy().tobytes()


def test_a_frame_with_no_point_in_range_is_a_normal_frame() -> None:
    for points in (np.zeros((0, 4), np.float32), np.full((3, 4), -50, np.float32)):
        payload, outcome = turn(SECOND_VICTIM.cut("conv3.0", SETTINGS), Sample("empty", {"points": points}))
        assert payload.tensors["coords"].shape == (0, 4)
        assert set(outcome.arrays) == {"boxes", "scores", "labels"}


def test_both_ends_agree_by_digest_and_differ_when_anything_does() -> None:
    cut = SECOND_VICTIM.cut("conv3.0", SETTINGS)
    again = SECOND_VICTIM.cut("conv3.0", SETTINGS)
    assert (cut.weights_sha256, cut.config_sha256) == (again.weights_sha256, again.config_sha256)
    assert SECOND_VICTIM.cut("conv3.0", {**SETTINGS, "preset": "kitti"}).config_sha256 != cut.config_sha256


def test_the_stream_is_the_same_for_the_same_seed_and_has_its_own_streets() -> None:
    settings = {"seed": 3, "frames": 3, "frames_per_street": 2}
    first, again = (list(SECOND_VICTIM.samples("procedural", settings)) for _ in range(2))
    assert [s.digest() for s in first] == [s.digest() for s in again]
    seeds = [int(s.name.split("-")[1]) for s in first]
    assert all(seed in STREAM_SEEDS for seed in seeds)
    assert seeds[0] == seeds[1] != seeds[2]


def test_wrong_names_are_answered_with_the_right_ones() -> None:
    with pytest.raises(InputError, match="conv_out"):
        SECOND_VICTIM.cut("conv9", SETTINGS)
    with pytest.raises(InputError, match="kitti"):
        SECOND_VICTIM.cut("conv2.0", {"preset": "moon"})
    with pytest.raises(InputError, match="second"):
        victim("third")
    with pytest.raises(InputError, match="camera"):
        SECOND_VICTIM.samples("procedural", {"view": "sideways"})


def good(split: str = "conv3.0") -> Payload:
    meta = {"grid": (11, 128, 128), "stride": (4, 4, 4), "range": (0.0,) * 6, "voxel": (0.1, 0.05, 0.05)}
    coords = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 2]], dtype=torch.int32)
    return Payload("features", "sparse_voxels", {"coords": coords, "features": torch.ones(2, 64)}, meta)


def spoil(**change: object) -> Payload:
    base = good()
    tensors, meta = dict(base.tensors), dict(base.meta)
    for key, value in change.items():
        (tensors if isinstance(value, torch.Tensor) else meta)[key] = value  # type: ignore[index]
    return Payload(base.role, base.layout, tensors, meta)


def test_a_sound_payload_is_valid() -> None:
    validate(good())


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (spoil(features=torch.full((2, 64), float("nan"))), "128 of 128 values of features are not finite"),
        (spoil(coords=torch.tensor([[0, 0, 0, 2], [0, 0, 0, 1]], dtype=torch.int32)), "not in the order"),
        (spoil(coords=torch.tensor([[0, 0, 0, 1], [0, 0, 0, 1]], dtype=torch.int32)), "repeat"),
        (spoil(coords=torch.tensor([[0, 0, 0, 1], [0, 0, 0, 128]], dtype=torch.int32)), "outside the grid"),
        (spoil(coords=torch.tensor([[0, -1, 0, 1], [0, 0, 0, 1]], dtype=torch.int32)), "outside the grid"),
        (spoil(features=torch.ones(3, 64)), "2 coords but 3 features"),
        (spoil(features=torch.ones(2, 64, dtype=torch.float64)), "float64"),
        (spoil(coords=torch.zeros(2, 4)), "coords is torch.float32"),
        (spoil(more=torch.zeros(1)), "accepted: coords, features"),
        (spoil(grid=(11, 128)), "meta grid"),
        (spoil(grid=(11, 128, 1 << 30)), "meta grid"),
        (spoil(voxel=(0.1, 0.05, float("inf"))), "meta voxel"),
    ],
)
def test_a_bad_payload_is_named(payload: Payload, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        validate(payload)


def test_a_tail_refuses_another_split_points_payload() -> None:
    tail = SECOND_VICTIM.cut("conv3.0", SETTINGS).tail()
    with pytest.raises(DecodeError, match="accepted"):
        tail.reply(spoil(features=torch.ones(2, 32)))
    with pytest.raises(DecodeError, match="accepted"):
        tail.reply(spoil(grid=(11, 64, 64)))
