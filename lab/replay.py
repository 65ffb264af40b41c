"""Attack a capture again, without a stream: the attacker's own guarded process reads what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attacker.knowledge import KnowledgeCard
from attacker.registry import attack as find
from lab.metrics.base import scorer
from lab.runfolder import RunFolder
from lab.scores import Scores, score_run
from lab.stream import AttackChoice
from lab.studies.lidar import TRAINED_ON, aware, concretizer
from lab.supervisor import Role
from victims.base import Progress
from victims.registry import victim
from wire import record
from wire.errors import InputError, RunError

DEFAULT = ("coordinates", "concretizer")


def replay(capture: Path, names: Sequence[str], root: Path, seed: int, device: str, progress: Progress) -> Path:
    """Invert ``capture`` (a capture folder, a cell's folder or a run with one cell) with the named attacks.

    Returns the new run folder under ``root``: ``reconstructions/``, and ``scores.csv`` where the truth lies beside the
    capture. InputError for a folder without a capture or an attack that has no weights for its split point; RunError
    when the attacker gave up.
    """
    source = _source(capture)
    said = _session(source / "capture")
    split, name = str(said["split"]), str(said["victim"])
    choices = [_choice(n, split) for n in names or DEFAULT]
    knows = any(find(c.name).needs.defense == "aware" for c in choices)
    card = KnowledgeCard("wire", "white", "aware" if knows else "unaware", data=TRAINED_ON)
    run = RunFolder.create(root, "attack", {"seed": seed, "capture": str(capture), "attacks": [c.row for c in choices]})
    config = {
        "capture": source / "capture",
        "control": "127.0.0.1:0",
        "folder": run.path,
        "attacks": [c.role() for c in choices],
        "knowledge": card.to_dict(),
        "mode": "lossless",
        "seed": seed,
        "device": device,
    }
    role = Role("attacker", "attacker", config, run.path / "roles", restart=False)
    role.start()
    frames = int(said["frames"]) * len(choices)
    try:
        while role.wait(0.2) is None:
            progress(int(role.state().get("reconstructions", 0)), max(frames, 1), "inverting")
    finally:
        role.stop()
    if role.returncode not in (0, 3):
        raise RunError(f"the attacker ended with exit code {role.returncode}: {role.last_words()}")
    if (source / "edge").is_dir():
        (run.path / "edge").symlink_to((source / "edge").resolve())  # made after the attacker has gone
        settings = _victim_settings(source)
        measure = scorer(victim(name).modality, {"victim": name, "split": split, **settings})
        scores = score_run(run, measure, seed, progress)
        run.write("result.txt", "\n".join(_lines(scores)) + "\n")
    return run.path


def _source(path: Path) -> Path:
    """The folder that holds ``capture/``."""
    for candidate in (path, path.parent if path.name == "capture" else path):
        if record.segments(candidate / "capture"):
            return candidate
    cells = [cell for cell in sorted(path.glob("cells/*")) if record.segments(cell / "capture")]
    if len(cells) == 1:
        return cells[0]
    if cells:
        raise InputError(f"{path}: has {len(cells)} captures; give one of: {', '.join(str(c) for c in cells)}")
    raise InputError(f"{path}: no capture in it; expected a run folder, or a folder of NNNN.mcap written by a listener")


def _session(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    frames = 0
    for item in record.read(folder):
        if item.topic == "session":
            found = item.json()
        frames += item.topic == "frame"
    if not found:
        raise InputError(f"{folder}: the capture holds no session (was the stream encrypted?)")
    return {**found, "frames": frames}


def _choice(name: str, split: str) -> AttackChoice:
    if name == "concretizer":
        return concretizer(split)
    if name == "concretizer-aware":
        return aware(split)
    find(name)  # a name that does not exist is answered with those that do
    return AttackChoice(name)


def _victim_settings(source: Path) -> dict[str, Any]:
    if not (source / "run.toml").is_file():
        return {}
    stream = RunFolder.open(source).config.get("stream", {})
    return dict(stream.get("victim_settings", {}))


def _lines(scores: Scores) -> list[str]:
    lines = []
    for attack in scores.attacks:
        values = [v for v in scores.of(attack, "f1_15").values() if v is not None]
        if values:
            lines.append(f"{attack}: F1 at 15 cm {sum(values) / len(values):.3f} over {len(values)} frames")
    return lines
