"""Point metrics against tiny clouds worked by hand, a brute-force O(n^2) twin, and what must hold for any cloud."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lab.metrics import points
from lab.metrics.base import Declarations, scorer
from victims.base import Sample
from victims.lidar.presets import Preset
from wire.errors import InputError

GRID = Preset("small", (0.0, -4.0, -1.0, 8.0, 4.0, 1.0), (0.5, 0.5, 0.5))
SCORER = points.PointScorer(GRID)


def cloud(*rows: tuple[float, float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32).reshape(-1, 3)


def sample(xyz: np.ndarray, name: str = "scan") -> Sample:
    return Sample(name, {"points": np.hstack([xyz, np.zeros((len(xyz), 1))]).astype(np.float32)})


def score(true: np.ndarray, rebuilt: np.ndarray) -> dict[str, float | None]:
    return dict(SCORER.score(sample(true), {"points": rebuilt}, np.random.default_rng(0)).values)


def test_hand_worked_distances() -> None:
    # true: a=(1,0,0), b=(2,0,0). rebuilt: (1.1,0,0) is .1 from a; (5,0,0) is 3 from b.
    # rebuilt -> true: .1, 3; true -> rebuilt: .1, .9.
    got = score(cloud((1, 0, 0), (2, 0, 0)), cloud((1.1, 0, 0), (5, 0, 0)))
    assert got["chamfer_rebuilt"] == pytest.approx((0.1 + 3) / 2)
    assert got["chamfer_true"] == pytest.approx((0.1 + 0.9) / 2)
    assert got["chamfer"] == pytest.approx((1.55 + 0.5) / 2)
    assert got["hausdorff"] == pytest.approx(3)
    assert got["hd95"] == pytest.approx(0.1 + 0.95 * 2.9)  # linear between the two order statistics
    assert got["f1_05"] == 0.0
    assert got["precision_15"] == 0.5
    assert got["recall_15"] == 0.5
    assert got["f1_15"] == 0.5
    assert got["restored_per_true"] == 1.0


def test_the_threshold_itself_counts() -> None:
    got = score(cloud((1, 0, 0)), cloud((1.15, 0, 0)))
    assert (got["f1_10"], got["f1_15"]) == (0.0, 1.0)


def test_several_rebuilt_points_may_match_one_but_precision_and_recall_differ() -> None:
    # three rebuilt around one of two true points: precision 1, recall 1/2, F1 2/3; three points per two voxels.
    got = score(
        cloud((1.25, 0.25, 0.25), (6.25, 0.25, 0.25)), cloud((1.25, 0.25, 0.25), (1.3, 0.25, 0.25), (1.25, 0.3, 0.25))
    )
    assert (got["precision_15"], got["recall_15"]) == (1.0, 0.5)
    assert got["f1_15"] == pytest.approx(2 / 3)
    assert got["restored_per_true"] == pytest.approx(1.5)
    # two true voxels, one rebuilt voxel, one in common: 2 * 1 / (2 + 1)
    assert got["occupancy_f1"] == pytest.approx(2 / 3)


def test_points_out_of_range_count_in_the_whole_scan_only() -> None:
    got = score(cloud((1, 0, 0), (20, 0, 0)), cloud((1, 0, 0)))
    assert got["f1_15"] == 1.0
    assert got["hausdorff"] == 0.0
    assert got["f1_15_whole"] == pytest.approx(2 / 3)  # precision 1, recall 1/2


def test_the_borders_of_the_range_are_the_victims() -> None:
    inside = SCORER.in_range(cloud((0, -4, -1), (8, 0, 0), (7.99, 3.99, 0.99), (-0.01, 0, 0)))
    assert inside.tolist() == [True, False, True, False]


def test_a_rebuilt_voxel_outside_the_grid_is_a_wrong_voxel() -> None:
    got = score(cloud((1.25, 0.25, 0.25)), cloud((1.25, 0.25, 0.25), (30, 0, 0), (30.1, 0, 0)))
    assert got["occupancy_f1"] == pytest.approx(2 * 1 / (1 + 2))  # both strays share one voxel


@pytest.mark.parametrize(
    ("true", "rebuilt", "f1", "distance"),
    [(cloud(), cloud(), 1.0, 0.0), (cloud((1, 0, 0)), cloud(), 0.0, None), (cloud(), cloud((1, 0, 0)), 0.0, None)],
)
def test_empty_clouds(true: np.ndarray, rebuilt: np.ndarray, f1: float, distance: float | None) -> None:
    got = score(true, rebuilt)
    assert [got[k] for k in ("f1_15", "precision_30", "recall_05", "occupancy_f1")] == [f1] * 4
    assert [got[k] for k in ("chamfer", "hausdorff", "hd95")] == [distance] * 3


def test_points_that_are_not_finite_are_unmatched_and_noted() -> None:
    scored = SCORER.score(
        sample(cloud((1, 0, 0))), {"points": cloud((1, 0, 0), (np.nan, 0, 0))}, np.random.default_rng(0)
    )
    assert scored.values["precision_15"] == 0.5
    assert scored.values["recall_15"] == 1.0
    assert scored.notes == ("1 rebuilt points not finite",)


def test_a_scan_nothing_of_which_is_rebuilt_but_nonsense_scores_zero() -> None:
    scored = SCORER.score(sample(cloud()), {"points": cloud((np.nan, 0, 0))}, np.random.default_rng(0))
    assert scored.values["f1_15"] == 0.0
    assert scored.values["chamfer"] is None


clouds = hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(0, 3.875, width=16))


@settings(max_examples=60, deadline=None)
@given(clouds, clouds)
def test_equals_brute_force(true: np.ndarray, rebuilt: np.ndarray) -> None:
    inside = (true[:, 2] < 1) & (true >= 0).all(axis=1)
    true = true[inside]
    if not len(true):
        return
    table = np.sqrt(((rebuilt[:, None].astype(float) - true[None].astype(float)) ** 2).sum(axis=2))
    to_true, to_rebuilt = table.min(axis=1), table.min(axis=0)
    got = score(true, rebuilt)
    assert got["chamfer"] == pytest.approx((to_true.mean() + to_rebuilt.mean()) / 2, abs=1e-9)
    assert got["hausdorff"] == pytest.approx(max(to_true.max(), to_rebuilt.max()))
    for suffix, t in points.DISTANCES.items():
        p, r = (to_true <= t + 1e-6).mean(), (to_rebuilt <= t + 1e-6).mean()
        assert got[f"f1_{suffix}"] == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)


@settings(max_examples=60, deadline=None)
@given(clouds, clouds)
def test_symmetry_and_identity(a: np.ndarray, b: np.ndarray) -> None:
    a, b = a[a[:, 2] < 1], b[b[:, 2] < 1]
    forth, back = score(a, b), score(b, a)
    for name in ("chamfer", "hausdorff", "hd95", "f1_15", "occupancy_f1"):
        assert forth[name] == pytest.approx(back[name]), name
    assert forth["precision_30"] == pytest.approx(back["recall_30"])
    same = score(a, a)
    assert (same["f1_05"], same["occupancy_f1"], same["chamfer"], same["hausdorff"]) == (1.0, 1.0, 0.0, 0.0)


def test_a_preimage_is_scored_from_a_sample_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    true = rng.uniform((0, -4, -1), (8, 4, 1), (400, 3)).astype(np.float32)
    rebuilt = rng.uniform((0, -4, -1), (8, 4, 1), (20_000, 3)).astype(np.float32)
    full = score(true, rebuilt)
    monkeypatch.setattr(points, "QUERY_LIMIT", 5_000)
    scored = SCORER.score(sample(true), {"points": rebuilt}, np.random.default_rng(1))
    assert scored.notes == ("precision and distances from 5000 of 20000 rebuilt points",)
    share = full["precision_30"]
    assert share is not None
    error = np.sqrt(share * (1 - share) / 5_000)
    assert scored.values["precision_30"] == pytest.approx(share, abs=4 * error)
    assert scored.values["recall_30"] == full["recall_30"]  # this direction uses every point
    assert scored.values["occupancy_f1"] == full["occupancy_f1"]


def test_the_oracle_is_one_point_at_the_centre_of_each_true_voxel() -> None:
    rebuilt = SCORER.oracle(sample(cloud((0.1, 0.1, 0.1), (0.4, 0.4, 0.4), (7.9, -3.9, -0.9), (9, 0, 0))))["points"]
    assert sorted(map(tuple, rebuilt.tolist())) == [(0.25, 0.25, 0.25), (7.75, -3.75, -0.75)]


@settings(max_examples=30, deadline=None)
@given(clouds)
def test_the_oracle_fills_exactly_the_true_voxels(true: np.ndarray) -> None:
    got = score(true, SCORER.oracle(sample(true))["points"])
    assert got["occupancy_f1"] == 1.0
    assert got["restored_per_true"] in (1.0, None)


def test_groups_are_streets_or_single_scans() -> None:
    assert SCORER.group(sample(cloud(), "street-1000007-3")) == "street-1000007"
    assert SCORER.group(sample(cloud(), "000008")) == "000008"
    assert SCORER.group(Sample("000008", {}, meta={"group": "drive-5"})) == "drive-5"


def test_registry_builds_by_modality_and_names_what_exists() -> None:
    built = scorer("lidar", {"preset": "street"})
    assert set(Declarations.of(built).by_name) >= {"f1_15", "agreement", "ap_car_70"}
    with pytest.raises(InputError, match="'sonar'; there are image, lidar"):
        scorer("sonar", {})
    with pytest.raises(InputError, match="no LiDAR preset 'moon'"):
        scorer("lidar", {"preset": "moon"})
    with pytest.raises(InputError, match="metric 'f2' is unknown"):
        Declarations.of(built)["f2"]


def test_a_reconstruction_without_points_is_named() -> None:
    with pytest.raises(InputError, match="reconstruction: `points`"):
        SCORER.score(sample(cloud()), {"image": np.zeros((2, 2))}, np.random.default_rng(0))
