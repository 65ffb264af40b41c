"""A study of two small frames without a stream, for the tests of sweeps; as a script, a sweep of it to be killed.

Every run is noted in the file that ``log`` names. A trial with ``strength`` 13 fails, one with that of ``SWEPT_HANG``
stands still.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from attacker.knowledge import KnowledgeCard
from lab.metrics.base import scorer
from lab.recorded import calibration, defended
from lab.runfolder import RunFolder
from lab.scores import score_run
from lab.stream import AttackChoice, StreamSettings
from lab.studies.base import Cell, CellResult, Settings
from lab.studies.registry import STUDIES
from lab.summary import Listener, count_frames, summarize_run
from lab.tables import Sheet
from victims.base import Progress, silent
from wire import arrays
from wire.errors import InputError, RunError
from wire.record import RecordWriter

FRAMES = 2


class Swept:
    """One cell; ``options``: ``defense``, ``strength``, ``log``."""

    name = "swept"
    summary = "a study for tests"
    source = ""

    def cells(self, settings: Settings) -> Sequence[Cell]:
        """One cell; seed 1 with strength 1 is a pair that is wrong only together."""
        strength = float(settings.options.get("strength", 0.5))
        defense = settings.options.get("defense", "feature_centric")
        if settings.seed == 1 and strength == 1.0:
            raise InputError("seed 1 with strength 1; accepted: any other pair")
        stream = StreamSettings(
            victim="second",
            split=settings.splits[0] if settings.splits else "conv3.0",
            victim_settings={"preset": "street", "weights": "random", "view": "full"},
            attacks=[AttackChoice("coordinates")],
            knowledge=KnowledgeCard(),
            source=str(settings.options.get("log", "")),
            frames=FRAMES,
            seed=settings.seed,
            defense=defense,
            defense_settings={} if defense == "none" else {"strength": strength},
        )
        return [Cell(f"{stream.split}, {defense}", stream)]

    def run(self, cell: Cell, work: Path, progress: Progress) -> CellResult:
        """Write what a stream would have left, then score it."""
        strength = float(cell.stream.defense_settings.get("strength", 0))
        note(cell, "started", strength)
        if os.environ.get("SWEPT_HANG") == str(strength):
            time.sleep(120)
        if strength == 13:
            raise RunError("unlucky strength")
        progress(0.5, 1.0, "half")
        folder = RunFolder(work)
        record(folder, cell.stream.seed, strength)
        measure = scorer("lidar", {"preset": "street", "split": cell.stream.split})
        scores = score_run(folder, measure, cell.stream.seed)
        frames = count_frames(folder, Listener(captured=FRAMES, missed=0), ["coordinates"])
        described = {
            "study": self.name,
            "victim": "second",
            "split": cell.stream.split,
            "defense": {
                "name": cell.stream.defense,
                **cell.stream.defense_settings,
                "calibration": calibration(folder.edge),
                "measured": defended(folder.edge),
            },
            "link": dict(cell.stream.link),
            "knowledge": cell.stream.knowledge.to_dict(),
            "title": cell.title,
            "columns": {},
            "processes": {"edge": {"cpu_s": 1.0, "peak_mb": 1.0}},
        }
        summary = summarize_run(folder, measure, scores, frames, described, seed=cell.stream.seed)
        folder.write_summary(summary)
        note(cell, "ended", strength)
        return CellResult(cell, work, summary)

    def sheets(self, results: Sequence[CellResult]) -> Sequence[Sheet]:
        """None."""
        return []

    def paper(self, cell: Cell) -> Mapping[str, Mapping[str, float]]:
        """No paper."""
        return {}


def note(cell: Cell, what: str, strength: float) -> None:
    """One line in the log."""
    with open(cell.stream.source, "a", encoding="utf-8") as log:
        log.write(f"{what} {cell.stream.seed} {strength}\n")


def record(folder: RunFolder, seed: int, strength: float) -> None:
    """Truth, answers and reconstructions; the stronger the noise, the coarser the reconstruction."""
    with (
        RecordWriter(folder.edge, max_bytes=1 << 30) as edge,
        RecordWriter(folder.reconstructions, max_bytes=1 << 30) as heard,
    ):
        for frame in range(FRAMES):
            rng = np.random.default_rng([seed, frame])
            scan = np.column_stack(
                [rng.uniform(1, 24, 600), rng.uniform(-10, 10, 600), rng.uniform(-2, 1, 600), rng.random(600)]
            )
            scan = scan.astype(np.float32)
            truth = {"points": scan, "truth.boxes": np.zeros((0, 7), np.float32), "truth.labels": np.zeros(0, np.int64)}
            edge.write(
                "sample",
                arrays.pack(truth, {"frame": frame, "name": f"street-{frame}-0", "digest": f"{seed}-{frame}"}),
                log_ns=frame,
            )
            found = {
                "boxes": np.zeros((0, 7), np.float32),
                "labels": np.zeros(0, np.int64),
                "scores": np.zeros(0, np.float32),
            }
            edge.write("outcome", arrays.pack(found, {"frame": frame}), log_ns=frame)
            stages = {
                "frame": frame,
                "total": 10.0,
                "payload_bytes": 1000,
                "wire_up": 1100,
                "wire_down": 90,
                "error": None,
            }
            edge.write("stages", json.dumps(stages).encode(), log_ns=frame)
            coarse = np.float32(0.2 + strength)
            points = np.unique(np.round(scan[:, :3] / coarse), axis=0) * coarse
            meta = {"session": "5e", "frames": (frame,), "attack": "coordinates"}
            heard.write("reconstruction", arrays.pack({"points": points.astype(np.float32)}, meta), log_ns=frame)


STUDY = Swept()


if __name__ == "__main__":
    from lab.sweep import sweep

    STUDIES["swept"] = "__main__:STUDY"
    sweep("swept", Settings(options={"log": sys.argv[2]}), sys.argv[3:], Path(sys.argv[1]), None, silent)
