"""The sites and the noise of ``distributed``, on the bytes that leave."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from defenses.base import Calibration
from defenses.distributed import Distributed
from defenses.feature_centric import FeatureCentric
from tests.contract.defense import fingerprint, tensor_bytes, turn
from tests.defenses.conftest import voxels
from victims.lidar.layouts import sparse_voxels
from wire.errors import InputError
from wire.payload import Payload

RMS = 0.37
RISK = 1e-6


def leaving(payload: Payload, frame: int = 0, **chosen: float) -> tuple[np.ndarray, np.ndarray]:
    """(coords int32 (N, 4), features float32 (N, C)) from the bytes that leave."""
    left = Distributed(chosen, Calibration(RMS)).protect([payload], turn(frame)).parts[0]
    sparse_voxels(left)  # still a valid payload of its layout: in the grid, no repeats, canonical order
    raw = tensor_bytes(left)
    channels = payload.tensors["features"].shape[1]
    return np.frombuffer(raw["coords"], "<i4").reshape(-1, 4), np.frombuffer(raw["features"], "<f4").reshape(
        -1, channels
    )


@settings(deadline=None, max_examples=60)
@given(
    grid=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)),
    batches=st.integers(1, 3),
    share=st.floats(0, 1),
    fill=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_filled_sites(grid: tuple[int, int, int], batches: int, share: float, fill: float, seed: int) -> None:
    total = batches * grid[0] * grid[1] * grid[2]
    clean = voxels(round(share * total), 3, grid, batches, seed)
    came = [tuple(site) for site in clean.tensors["coords"].tolist()]
    seen = max((site[0] for site in came), default=0) + 1
    empty = seen * grid[0] * grid[1] * grid[2] - len(came)
    coords, features = leaving(clean, frame=seed, fill=fill)
    left = [tuple(site) for site in coords.tolist()]
    assert left == sorted(left)
    assert len(set(left)) == len(left) == len(came) + round(fill * empty)
    assert set(came) <= set(left)
    # active sites carry what feature_centric would have sent, so the two defenses differ by the filled sites only
    twin = FeatureCentric({}, Calibration(RMS)).protect([clean], turn(seed)).parts[0].tensors["features"].numpy()
    where = {site: row for row, site in enumerate(left)}
    assert np.array_equal(features[[where[site] for site in came]], twin)


def test_filled_values_are_plain_noise(make_voxels: Callable[..., Payload]) -> None:
    clean = make_voxels(count=300, channels=64)
    coords, features = leaving(clean, fill=1.0, strength=2.0)
    came = {tuple(site) for site in clean.tensors["coords"].tolist()}
    filled = features[[tuple(site) not in came for site in coords.tolist()]].astype(np.float64)
    sigma, n = 2.0 * RMS, filled.size
    assert filled.shape == (1700, 64)
    low, high = stats.chi2.ppf([RISK / 2, 1 - RISK / 2], n) / n
    assert sigma**2 * low < np.mean(filled**2) < sigma**2 * high
    assert abs(filled.mean()) < stats.norm.isf(RISK / 2) * sigma / np.sqrt(n)
    assert stats.kstest(filled.ravel(), "norm", args=(0, sigma)).pvalue > RISK


def test_every_empty_site_is_as_likely_as_another(make_voxels: Callable[..., Payload]) -> None:
    clean = make_voxels(count=20, channels=1, grid=(2, 5, 6))
    frames, empty, filled = 1500, 40, 10
    came = {tuple(site) for site in clean.tensors["coords"].tolist()}
    counts: dict[tuple[int, ...], int] = {}
    for frame in range(frames):
        for site in map(tuple, leaving(clean, frame, fill=filled / empty)[0].tolist()):
            if site not in came:
                counts[site] = counts.get(site, 0) + 1
    # counts of sampling without repetition: variance frames * p * (1-p) each, correlation -1/(empty-1); this scaled sum
    # is chi-squared with empty - 1 degrees of freedom
    p = filled / empty
    observed = np.array([counts[site] for site in sorted(counts)])
    assert observed.size == empty
    statistic = np.sum((observed - frames * p) ** 2) / (frames * p * (1 - p)) * (empty - 1) / empty
    assert stats.chi2.ppf(RISK, empty - 1) < statistic < stats.chi2.isf(RISK, empty - 1)


def test_sites_are_drawn_anew_for_every_frame_and_repeat_with_the_seed(make_voxels: Callable[..., Payload]) -> None:
    clean = make_voxels()
    drawn = [leaving(clean, frame, fill=0.3)[0].tobytes() for frame in range(4)]
    assert len(set(drawn)) == 4
    assert drawn[2] == leaving(clean, 2, fill=0.3)[0].tobytes()


def test_without_fill_it_is_feature_centric_and_without_strength_none(make_voxels: Callable[..., Payload]) -> None:
    clean = make_voxels()
    bare = Distributed({"fill": 0}, Calibration(RMS)).protect([clean], turn())
    twin = FeatureCentric({}, Calibration(RMS)).protect([clean], turn())
    assert fingerprint(bare.parts[0]) == fingerprint(twin.parts[0])
    assert bare.record == twin.record
    off = Distributed({"strength": 0, "fill": 1}).protect([clean], turn())
    assert fingerprint(off.parts[0]) == fingerprint(clean)
    assert off.record["sites"] == 0


def test_the_record_states_sites_energy_and_bytes(make_voxels: Callable[..., Payload]) -> None:
    record = Distributed({"fill": 0.25}, Calibration(RMS)).protect([make_voxels()], turn()).record
    sites = 400 + 400  # a quarter of 2000 - 400 empty ones
    assert record == {
        "sigma": RMS, "sites": sites, "values": sites * 16, "energy": pytest.approx(RMS**2 * sites * 16),
        "bytes": sites * (16 + 4 * 16),
    }  # fmt: skip


def test_an_empty_payload_is_filled(make_voxels: Callable[..., Payload]) -> None:
    coords, features = leaving(make_voxels(count=0), fill=0.05)
    assert coords.shape == (100, 4)
    assert features.shape == (100, 16)
    assert set(coords[:, 0].tolist()) == {0}


def test_memory_follows_the_filling_and_not_the_grid(make_voxels: Callable[..., Payload]) -> None:
    grid = (21, 800, 704)  # the first split point: 11.8 million sites, 95 MB as a list of numbers
    clean = Payload("features", "sparse_voxels", make_voxels().tensors, {**make_voxels().meta, "grid": grid})
    tracemalloc.start()
    coords, _ = leaving(clean, fill=0.01)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(coords) == 400 + round(0.01 * (21 * 800 * 704 - 400))
    assert peak < 60e6  # 118 k sites of 80 bytes are 9.5 MB


def test_a_filling_above_the_cap_is_refused_before_anything_is_made(make_voxels: Callable[..., Payload]) -> None:
    grid = (21, 800, 704)
    clean = Payload("features", "sparse_voxels", make_voxels(channels=32).tensors, {**make_voxels().meta, "grid": grid})
    with pytest.raises(InputError) as caught:
        Distributed({"fill": 1}, Calibration(RMS)).protect([clean], turn())
    assert str(caught.value) == (
        "defense distributed: fill 1 adds 11826800 sites of 32 channels and makes a payload of 1624 MiB; "
        "accepted: up to 256 MiB; lower fill"
    )
