"""The main job over real processes and sockets: nothing is lost, nothing bypasses the wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attacker.knowledge import KnowledgeCard
from lab.cell import run_cell
from lab.recorded import captured_frames, outcomes, payload, reconstructions, stages, truths
from lab.runfolder import RunFolder
from lab.stream import AttackChoice, Stream, StreamResult, StreamSettings
from lab.studies.base import Cell
from victims.base import silent
from victims.lidar import sparse
from victims.lidar.models import load_victim
from victims.lidar.presets import PRESETS
from victims.lidar.voxels import voxelize

SETTINGS = StreamSettings(
    victim="second",
    split="conv4.0",
    victim_settings={"preset": "street", "weights": "shipped", "view": "camera", "frames_per_street": 2},
    attacks=[AttackChoice("coordinates")],
    knowledge=KnowledgeCard(),
    frames=4,
    seed=5,
)


def stream(
    settings: StreamSettings, folder: Path, while_running: Callable[[Stream], None] | None = None
) -> StreamResult:
    with Stream(settings, folder) as running:
        if while_running is not None:
            threading.Thread(target=while_running, args=(running,), daemon=True).start()
        return running.run()


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StreamResult]:
    folder = tmp_path_factory.mktemp("plain")
    return folder, stream(SETTINGS, folder)


def test_every_frame_is_answered_captured_and_inverted_once(plain_run: tuple[Path, StreamResult]) -> None:
    folder, result = plain_run
    assert (result.edge["sent"], result.edge["answered"], result.edge["failed"]) == (4, 4, 0)
    assert (result.attacker["captured"], result.attacker["missed"]) == (4, 0)
    assert [r.frames for r in reconstructions(folder / "reconstructions")] == [(0,), (1,), (2,), (3,)]
    assert sorted(stages(folder / "edge")) == [0, 1, 2, 3]


def test_over_the_socket_equals_the_unsplit_network_bit_for_bit(plain_run: tuple[Path, StreamResult]) -> None:
    folder, _ = plain_run
    network, preset = load_victim("shipped"), PRESETS["street"]
    answers = dict(outcomes(folder / "edge"))
    for frame, sample in truths(folder / "edge"):
        with torch.inference_mode(), sparse.one_thread():
            whole = network.detect(network.backbone(voxelize(sample.arrays["points"], preset)), preset)[0]
        assert {k: v.tobytes() for k, v in answers[frame].items()} == {k: v.numpy().tobytes() for k, v in whole.items()}


def test_what_the_listener_captured_is_what_the_head_computed(plain_run: tuple[Path, StreamResult]) -> None:
    folder, _ = plain_run
    network, preset = load_victim("shipped"), PRESETS["street"]
    for frame, sample in truths(folder / "edge"):
        with torch.inference_mode(), sparse.one_thread():
            sites = network.backbone.head(voxelize(sample.arrays["points"], preset), "conv4.0")
        heard = payload(folder / "capture", frame)
        assert heard is not None
        assert torch.equal(heard.tensors["features"], sites.features)
        assert torch.equal(heard.tensors["coords"], sites.coords)
        made = next(r for r in reconstructions(folder / "reconstructions") if r.frame == frame)
        z, y, x = sites.coords[:, 1:].numpy().astype(np.int64).T
        centres = np.stack([4 * (2 * z + 1), 8 * y, 8 * x], axis=1)  # depth 3's window centres, in voxels
        metres = (centres[:, ::-1] + 0.5) * np.array(preset.voxel_size) + np.array(preset.range_xyz[:3])
        np.testing.assert_allclose(made.arrays["points"], metres, atol=1e-4)


def test_the_listener_never_saw_the_truth(plain_run: tuple[Path, StreamResult]) -> None:
    folder, result = plain_run
    guard = result.attacker["knowledge"]["guard"]
    assert str(folder / "edge") not in [*guard["read"], *guard["write"]]
    assert guard["audit_hook"] is True


def test_with_the_mirror_cut_reconstructions_stop(tmp_path: Path) -> None:
    result = stream(replace(SETTINGS, frames=2, mirror=False), tmp_path)
    assert result.edge["answered"] == 2
    assert result.attacker["captured"] == 0
    assert list(reconstructions(tmp_path / "reconstructions")) == []


def test_under_tls_the_wire_listener_has_sizes_and_times_only(tmp_path: Path) -> None:
    result = stream(replace(SETTINGS, frames=2, tls=True), tmp_path)
    assert result.edge["answered"] == 2
    assert result.attacker["captured"] == 0
    assert "TLS" in result.attacker["why"]
    assert result.attacker["encrypted_bytes"] > 0


@pytest.mark.parametrize("victim", ["cloud", "link", "attacker"])
def test_a_killed_process_comes_back_and_no_frame_is_lost(victim: str, tmp_path: Path) -> None:
    frames = 10

    def kill(running: Stream) -> None:
        edge = running.roles["edge"]
        edge.wait_ready()
        while edge.state().get("answered", 0) < 2:
            time.sleep(0.02)
        running.roles[victim].kill()

    result = stream(replace(SETTINGS, frames=frames, rate_hz=2.0), tmp_path, kill)
    assert result.restarts[victim] == 1
    assert (result.edge["sent"], result.edge["answered"], result.edge["failed"]) == (frames, frames, 0)
    answered = [frame for frame, _ in outcomes(tmp_path / "edge")]
    assert sorted(answered) == list(range(frames))  # each once
    rebuilt = [r.frame for r in reconstructions(tmp_path / "reconstructions")]
    assert len(rebuilt) == len(set(rebuilt)) == result.attacker["captured"]
    assert result.attacker["captured"] + result.attacker["missed"] == frames
    if victim != "attacker":
        assert result.attacker["missed"] == 0


def test_a_killed_edge_goes_on_where_it_was_and_repeats_no_finished_frame(tmp_path: Path) -> None:
    def kill(running: Stream) -> None:
        edge = running.roles["edge"]
        edge.wait_ready()
        while edge.state().get("answered", 0) < 3:
            time.sleep(0.02)
        edge.kill()

    result = stream(replace(SETTINGS, frames=8, rate_hz=2.0), tmp_path, kill)
    assert result.restarts["edge"] == 1
    assert [frame for frame, _ in outcomes(tmp_path / "edge")] == list(range(8))  # each once, in order
    names = [sample.name for _, sample in truths(tmp_path / "edge")]
    assert len(set(names)) == 8  # and no sample twice
    assert set(captured_frames(tmp_path / "capture")) == set(range(8))
    assert {r.frame for r in reconstructions(tmp_path / "reconstructions")} == set(range(8))


def test_a_wrong_split_is_refused_by_name_and_nothing_is_sent(tmp_path: Path) -> None:
    class Wrong(Stream):
        def _role(self, name: str, module: str, config: dict[str, Any], *, restart: bool = True) -> Any:
            if name == "cloud":
                config = {**config, "splits": ["conv_out"]}
            return super()._role(name, module, config, restart=restart)

    from wire.errors import RunError

    with Wrong(replace(SETTINGS, frames=1), tmp_path) as running, pytest.raises(RunError, match=r"BAD_SPLIT.*conv_out"):
        running.run()


def test_a_bad_scan_in_the_stream_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    points = np.random.default_rng(0).uniform([0, -10, -2, 0], [20, 10, 0, 1], (2000, 4)).astype("<f4")
    points.tofile(scans / "a.bin")
    (scans / "b.bin").write_bytes(b"\0" * 33)
    np.full((5, 4), 200, "<f4").tofile(scans / "c.bin")  # nothing in range: a normal frame
    points.tofile(scans / "d.bin")
    run = RunFolder.create(tmp_path / "runs", "trial", {"seed": 0})
    settings = replace(
        SETTINGS, source=str(scans), frames=0, victim_settings={"preset": "street", "weights": "shipped"}
    )
    cell = Cell("bad scan", settings)
    result = run_cell("trial", cell, run.cell(cell.id, {}), silent)
    assert result.summary["frames"]["answered"] == 3
    scores = result.summary["scores"]["coordinates"]
    assert scores["f1_15"]["n"] == 3
    assert [name for _, name in sorted((f, s.name) for f, s in truths(result.folder / "edge"))] == ["a", "c", "d"]
