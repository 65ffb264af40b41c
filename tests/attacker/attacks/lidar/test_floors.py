"""`coordinates` and `preimage`: what the site list alone gives away."""

import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.attacks.lidar.coordinates import Coordinates
from attacker.attacks.lidar.preimage import Preimage
from victims.lidar.presets import PRESETS
from victims.lidar.voxels import voxelize
from wire.errors import InputError
from wire.payload import Payload

LOW, SIZE = np.array([0.0, -12.8, -3.0]), np.array([0.05, 0.05, 0.1])


def session(split: str) -> SessionInfo:
    return SessionInfo("5e55", "second", split, "00", ("sparse_voxels",))


def empty(split_stride: tuple[int, int, int], grid: tuple[int, int, int], channels: int) -> CapturedFrame:
    import torch

    payload = Payload(
        "features",
        "sparse_voxels",
        {"coords": torch.zeros(0, 4, dtype=torch.int32), "features": torch.zeros(0, channels)},
        {"grid": grid, "stride": split_stride, "range": PRESETS["street"].range_xyz, "voxel": (0.1, 0.05, 0.05)},
    )
    return CapturedFrame("5e55", 0, 0, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])


# Voxel index of the window's centre (z, y, x), from the four layers' strides and paddings by hand.
CENTRES = {
    "conv2.0": lambda z, y, x: (2 * z, 2 * y, 2 * x),
    "conv3.0": lambda z, y, x: (4 * z, 4 * y, 4 * x),
    "conv4.0": lambda z, y, x: (4 * (2 * z + 1), 8 * y, 8 * x),
    "conv_out": lambda z, y, x: (16 * z + 12, 8 * y, 8 * x),
}


@pytest.mark.parametrize("split", CENTRES)
def test_sites_become_points_at_their_windows_centres(split, capture, streamed):
    frame = capture(streamed[0], split, 7)
    coords = frame.parts[0].payload.tensors["coords"].numpy()[:, 1:]
    (found,) = Coordinates().open(session(split), Grants()).observe([frame])
    voxel = np.stack(CENTRES[split](*coords.T), axis=1)[:, ::-1]
    assert found.frames == (7,)
    assert found.arrays["points"].dtype == np.float32
    assert np.allclose(found.arrays["points"], LOW + (voxel + 0.5) * SIZE, atol=1e-4)


@pytest.mark.parametrize("split", ["conv2.0", "conv3.0", "conv3"])
def test_the_preimage_holds_every_true_voxel(split, capture, streamed):
    (found,) = Preimage().open(session(split), Grants()).observe([capture(streamed[0], split, 0)])
    true = voxelize(streamed[0], PRESETS["street"]).coords.numpy()[:, :0:-1]
    distance, _ = cKDTree(found.arrays["points"]).query(LOW + (true + 0.5) * SIZE)
    assert distance.max() < 1e-3
    assert not found.meta["sampled"]
    assert found.meta["voxels"] == len(found.arrays["points"]) > len(true)


def test_a_large_preimage_is_a_seeded_sample_that_says_so(capture, streamed):
    frame = capture(streamed[0], "conv3.0", 3)
    (whole,) = Preimage().open(session("conv3.0"), Grants()).observe([frame])
    one, two = (Preimage(500).open(session("conv3.0"), Grants()).observe([frame])[0] for _ in range(2))
    assert one.meta["sampled"]
    assert one.meta["voxels"] == whole.meta["voxels"]
    assert np.array_equal(one.arrays["points"], two.arrays["points"])
    assert len(one.arrays["points"]) == len(np.unique(one.arrays["points"], axis=0)) == 500
    assert cKDTree(whole.arrays["points"]).query(one.arrays["points"])[0].max() < 1e-5


@pytest.mark.parametrize("attack", [Coordinates(), Preimage()])
def test_an_empty_payload_gives_an_empty_reconstruction(attack):
    (found,) = attack.open(session("conv3.0"), Grants()).observe([empty((4, 4, 4), (11, 128, 128), 64)])
    assert found.arrays["points"].shape == (0, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": (3, 3, 3)}, r"stride \(3, 3, 3\); accepted: \(2, 2, 2\)"),
        ({"grid": (11, 64, 128)}, r"grid \(11, 64, 128\) .* give \(11, 128, 128\)"),
        ({"voxel": (0.1, 0.05)}, "voxel .* accepted: 3 numbers in metres"),
    ],
)
def test_a_payload_that_contradicts_itself_is_refused(change, message, capture, streamed):
    frame = capture(streamed[0], "conv3.0", 0)
    payload = frame.parts[0].payload
    wrong = dataclasses.replace(payload, meta={**payload.meta, **change})
    part = dataclasses.replace(frame.parts[0], payload=wrong)
    with pytest.raises(InputError, match=message):
        Coordinates().open(session("conv3.0"), Grants()).observe([dataclasses.replace(frame, parts=[part])])


def test_a_frame_without_features_is_refused():
    with pytest.raises(InputError, match="frame 4: 0 sparse_voxels payloads"):
        Coordinates().open(session("conv3.0"), Grants()).observe([CapturedFrame("5e55", 0, 4, [])])
