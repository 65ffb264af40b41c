"""The trained attack: it learns, it resumes, and it restores what was sent and nothing else."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.spatial import cKDTree

from attacker.attacks.base import CapturedFrame, CapturedPart, Grants, SessionInfo
from attacker.attacks.lidar.concretizer import Concretizer, load_chain
from attacker.attacks.lidar.thresholds import f1
from attacker.attacks.lidar.train import Recipe
from victims.base import silent
from victims.lidar.presets import PRESETS
from victims.lidar.weights import WeightsError
from wire.errors import InputError
from wire.payload import Payload

RECIPE = Recipe(scans=10, held=1, alone=(16, 0, 0, 0), checkpoint_every=5)
LOW, HIGH = np.array(PRESETS["street"].range_xyz[:3]), np.array(PRESETS["street"].range_xyz[3:])


def session(split: str = "conv2.0") -> SessionInfo:
    return SessionInfo("5e55", "second", split, "00", ("sparse_voxels",))


def in_range(points: np.ndarray) -> np.ndarray:
    return points[((points[:, :3] >= LOW) & (points[:, :3] < HIGH)).all(1), :3]


@pytest.fixture(scope="module")
def fitted(scans, victim_weights, tmp_path_factory):
    """Weights for conv2.0 after a few steps."""
    grants = Grants(files={"weights": victim_weights}, settings={"split": "conv2.0"})
    return Concretizer(recipe=RECIPE).fit(scans, grants, tmp_path_factory.mktemp("fit"), silent)


def test_it_restores_the_scan_that_was_sent_and_not_the_one_it_is_filed_under(fitted, capture, streamed):
    inverter = Concretizer().open(session(), Grants(files={"inverter": fitted}))
    frames = [capture(points, "conv2.0", number) for number, points in enumerate(streamed)]
    right = inverter.observe(frames)
    assert [r.frames for r in right] == [(0,), (1,)]
    truth = [in_range(points) for points in streamed]
    own = [f1(r.arrays["points"], t, 0.15) for r, t in zip(right, truth, strict=True)]
    unrelated = [f1(truth[1], truth[0], 0.15), f1(truth[0], truth[1], 0.15)]
    # Payloads of other frames under the right frame numbers.
    swapped = [dataclasses.replace(a, parts=b.parts) for a, b in zip(frames, frames[::-1], strict=True)]
    wrong = [f1(r.arrays["points"], t, 0.15) for r, t in zip(inverter.observe(swapped), truth, strict=True)]
    assert min(own) > 0.97
    for score, floor in zip(wrong, unrelated, strict=True):
        assert score == pytest.approx(floor, abs=0.1)
        assert score < 0.6


def test_points_are_centres_of_distinct_voxels_in_range(fitted, capture, streamed):
    (found,) = (
        Concretizer().open(session(), Grants(files={"inverter": fitted})).observe([capture(streamed[0], "conv2.0", 0)])
    )
    points = found.arrays["points"].astype(np.float64)
    index = (points - LOW) / (0.05, 0.05, 0.1) - 0.5
    assert np.allclose(index, index.round(), atol=1e-3)
    assert len(np.unique(index.round(), axis=0)) == len(points) == found.meta["voxels"]
    assert ((points > LOW) & (points < HIGH)).all()
    assert 0 < found.meta["kept_f0"] <= found.meta["generated_f0"]
    assert found.meta["threshold_f0"] == load_chain(fitted).thresholds[0]


def test_the_rules_are_switches(fitted, capture, streamed):
    frame = capture(streamed[0], "conv2.0", 0)
    metas = {}
    for prune in (True, False):
        for cover in (True, False):
            granted = Grants(files={"inverter": fitted}, settings={"prune": prune, "cover": cover})
            (found,) = Concretizer().open(session(), granted).observe([frame])
            metas[prune, cover] = found
            assert (found.meta["prune"], found.meta["cover"]) == (prune, cover)
    assert metas[False, True].meta["generated_f0"] > metas[True, True].meta["generated_f0"]
    assert metas[True, True].meta["kept_f0"] >= metas[True, False].meta["kept_f0"]
    plain, ruled = metas[True, False].arrays["points"], metas[True, True].arrays["points"]
    assert cKDTree(ruled).query(plain)[0].max() < 1e-6  # covering only adds


def test_a_switch_that_is_neither_on_nor_off_is_refused(fitted):
    with pytest.raises(InputError, match="cover is 'no'; accepted: true or false"):
        Concretizer().open(session(), Grants(files={"inverter": fitted}, settings={"cover": "no"}))


def test_an_empty_payload_gives_an_empty_reconstruction(fitted):
    payload = Payload(
        "features",
        "sparse_voxels",
        {"coords": torch.zeros(0, 4, dtype=torch.int32), "features": torch.zeros(0, 32)},
        {"grid": (21, 256, 256), "stride": (2, 2, 2), "range": PRESETS["street"].range_xyz, "voxel": (0.1, 0.05, 0.05)},
    )
    frame = CapturedFrame("5e55", 0, 0, [CapturedPart("up", 0, 0, 1, payload, 0, 1)])
    for switch in (True, False):
        attack = Concretizer(prune=switch, cover=switch)
        (found,) = attack.open(session(), Grants(files={"inverter": fitted})).observe([frame])
        assert found.arrays["points"].shape == (0, 3)


def test_a_killed_training_resumes_to_the_same_weights(fitted, scans, victim_weights, tmp_path):
    class Killed(Exception):
        pass

    def kill(done: float, total: float, note: str = "") -> None:
        if done >= 10:
            raise Killed

    grants = Grants(files={"weights": victim_weights}, settings={"split": "conv2.0"})
    with pytest.raises(Killed):
        Concretizer(recipe=RECIPE).fit(scans, grants, tmp_path, kill)
    steps: list[float] = []
    path = Concretizer(recipe=RECIPE).fit(scans, grants, tmp_path, lambda done, total, note="": steps.append(done))
    assert steps == [10]  # from the checkpoint at step 5
    assert path.read_bytes() == fitted.read_bytes()


def test_training_without_the_victims_weights_or_with_too_few_scans_is_refused(scans, victim_weights, tmp_path):
    with pytest.raises(InputError, match="none were granted"):
        Concretizer().fit(scans, Grants(), tmp_path, silent)
    grants = Grants(files={"weights": victim_weights}, settings={"split": "conv2.0"})
    with pytest.raises(InputError, match=r"2 scans .* at least 5"):
        Concretizer().fit(scans[:2], grants, tmp_path, silent)


def test_a_split_point_it_is_not_trained_for_is_named(fitted, capture, streamed):
    with pytest.raises(InputError, match=re.escape("'conv4'; accepted: conv2.0, conv3.0, conv4.0, conv_out")):
        Concretizer().open(session("conv4"), Grants())
    inverter = Concretizer().open(session(), Grants(files={"inverter": fitted}))
    with pytest.raises(InputError, match="payload at depth 2; these weights accept 1"):
        inverter.observe([capture(streamed[0], "conv3.0", 0)])


def test_files_that_hold_no_chain_are_refused(tmp_path):
    (tmp_path / "text").write_text("no weights")
    save_file({"a": torch.zeros(1)}, tmp_path / "other")
    for name, message in (("text", "not readable"), ("other", "no inversion network")):
        with pytest.raises(WeightsError, match=message):
            load_chain(tmp_path / name)
    with pytest.raises(WeightsError, match="not readable"):
        load_chain(tmp_path / "absent")
