"""Truth and reconstructions joined: which rows there are, and that a killed scoring goes on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lab.metrics.base import scorer
from lab.metrics.points import METRICS, PointScorer
from lab.recorded import Truths, truths
from lab.runfolder import RunFolder
from lab.scores import read_rows, read_scores, score_run
from victims.lidar.presets import preset
from wire import arrays
from wire.errors import RunError
from wire.record import RecordWriter

MakeRun = Callable[..., RunFolder]
LIDAR = scorer("lidar", {"preset": "street"})


def test_a_row_for_every_frame_attack_and_metric(make_run: MakeRun) -> None:
    run = make_run()
    scores = score_run(run, LIDAR, seed=7)
    assert sorted(scores.attacks) == ["concretizer", "coordinates", "oracle"]
    assert len(scores.rows) == 10 * 3 * len(METRICS)
    assert scores.groups[3] == "street-1000003"
    assert read_scores(run) == scores
    for frame, value in scores.of("oracle", "f1_15").items():
        assert value == 1.0, frame
    concretizer, floor = scores.of("concretizer", "f1_15"), scores.of("coordinates", "f1_15")
    assert all((a or 0) > (b or 0) for a, b in zip(concretizer.values(), floor.values(), strict=True))


def test_rows_equal_the_scorer_on_the_arrays_themselves(make_run: MakeRun) -> None:
    run = make_run(frames=2)
    scores = score_run(run, LIDAR, seed=7)
    _, truth = next(iter(truths(run.edge)))
    best = PointScorer(preset("street")).oracle(truth)
    expected = LIDAR.score(truth, best, np.random.default_rng()).values
    assert {m.name: scores.of("oracle", m.name)[0] for m in METRICS} == expected


def test_every_row_names_the_defense_its_frame_left_under(make_run: MakeRun) -> None:
    noise = {"name": "feature_centric", "settings": {"strength": 0.5}}
    run = make_run(frames=6, swaps={2: noise, 4: {"name": "none", "settings": {}}})
    scores = score_run(run, LIDAR, seed=7)
    expected = {0: (0, "none"), 2: (1, "feature_centric strength=0.5"), 4: (2, "none")}
    assert {(row.frame, row.segment, row.defense) for row in scores.rows} == {
        (frame, *expected[frame - frame % 2]) for frame in range(6)
    }
    assert read_scores(run) == scores
    header, first = run.scores.read_text().splitlines()[:2]
    assert header == "frame,segment,defense,sample,group,attack,metric,value,note"
    assert first.startswith("0,0,none,street-1000000-0,street-1000000,")
    assert {row.frame for row in scores.within([1, 5]).rows} == {1, 5}


def test_a_record_without_the_table_of_segments_still_scores(make_run: MakeRun) -> None:
    run = make_run(frames=1)
    (run.edge / "segments.json").unlink()
    assert {(row.segment, row.defense) for row in score_run(run, LIDAR, seed=7).rows} == {(0, "")}


def test_an_empty_reconstruction_scores_zero_and_a_dropped_one_has_no_row(make_run: MakeRun) -> None:
    scores = score_run(make_run(skip=(("concretizer", 4),), empty=(("concretizer", 2),)), LIDAR, seed=7)
    f1, chamfer = scores.of("concretizer", "f1_15"), scores.of("concretizer", "chamfer")
    assert 4 not in f1
    assert f1[2] == 0.0
    assert chamfer[2] is None


class Counting(PointScorer):
    """Counts what is scored, and can stop half-way as a kill would."""

    def __init__(self, stop_after: int = 10_000) -> None:
        super().__init__(preset("street"))
        self.scored, self.stop_after = 0, stop_after

    def score(self, *arguments: object) -> object:  # type: ignore[override]
        if self.scored == self.stop_after:
            raise KeyboardInterrupt
        self.scored += 1
        return super().score(*arguments)  # type: ignore[arg-type]


def test_a_killed_scoring_repeats_nothing_and_ends_the_same(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(KeyboardInterrupt):
        score_run(run, Counting(stop_after=17), seed=7)  # type: ignore[arg-type]
    part = run.path / "scores.csv.part"
    part.write_bytes(part.read_bytes()[:-40])  # and the kill cut the last line: one frame is not whole
    rest = Counting()
    resumed = score_run(run, rest, seed=7)  # type: ignore[arg-type]
    assert rest.scored == 30 - 16
    assert not part.exists()
    run.scores.unlink()
    assert score_run(run, LIDAR, seed=7) == resumed


def test_scoring_a_finished_run_changes_nothing(make_run: MakeRun) -> None:
    run = make_run(frames=2)
    score_run(run, LIDAR, seed=7)
    before = run.scores.read_bytes()
    again = Counting()
    score_run(run, again, seed=7)  # type: ignore[arg-type]
    assert again.scored == 0
    assert run.scores.read_bytes() == before


def test_lines_that_were_cut_are_left_out(make_run: MakeRun) -> None:
    run = make_run(frames=1)
    score_run(run, LIDAR, seed=7)
    text = run.scores.read_text()
    run.scores.write_text(text[: text.rindex(",oracle,")])
    assert len(list(read_rows(run.scores))) == 3 * len(METRICS) - 1


def test_reconstructions_without_any_truth_are_an_error(make_run: MakeRun) -> None:
    run = make_run(frames=0)
    with RecordWriter(run.reconstructions, max_bytes=1 << 20) as heard:
        meta = {"session": "5e", "frames": (3,), "attack": "concretizer"}
        heard.write("reconstruction", arrays.pack({"points": np.zeros((1, 3), np.float32)}, meta), log_ns=0)
    with pytest.raises(RunError, match="1 reconstructions, but no truth"):
        score_run(run, LIDAR, seed=7)


def test_truths_are_found_in_any_order(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.recorded._KEPT", 2)
    by_frame = Truths(make_run().edge)
    for frame in (5, 4, 0, 9, 9, 1):
        sample = by_frame.get(frame)
        assert sample is not None
        assert sample.name == f"street-{1_000_000 + frame}-0"
        assert set(sample.truth) == {"boxes", "labels"}
    assert by_frame.get(10) is None
    assert by_frame.get(0) is not None
