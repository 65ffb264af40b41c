"""What docs/victims.md says about a network of your own: cut into plain modules, and streamed from a folder of pictures
over real sockets, past one that cannot be read."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attacker.knowledge import KnowledgeCard
from lab.recorded import outcomes, truths
from lab.stream import Stream, StreamSettings
from victims.image.preprocessing import IMAGENET, pictures_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "victims.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


def test_the_page_cuts_a_network_in_two(capsys: pytest.CaptureFixture[str]) -> None:
    held: dict[str, object] = {}
    exec(compile(blocks("python")[0], str(PAGE), "exec"), held)
    assert capsys.readouterr().out == "('0', '1', '2', '3')\n"
    features, answer, network = held["features"], held["answer"], held["network"]
    assert isinstance(features, torch.Tensor) and features.shape == (1, 8, 16, 16) and float(features.min()) >= 0
    assert isinstance(network, torch.nn.Sequential)
    torch.testing.assert_close(answer, network[2:](features))


def test_the_page_streams_it_and_a_bad_picture_does_not_end_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, pictures = tmp_path / "package", tmp_path / "pictures"
    metadata = package / "mine-1.0.dist-info"
    metadata.mkdir(parents=True)
    pictures.mkdir()
    (package / "mine.py").write_text(blocks("python")[1])
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    table = blocks("toml")[0].replace('[project.entry-points."eavesplit.victims"]', "[eavesplit.victims]")
    (metadata / "entry_points.txt").write_text(table.replace('"', ""))
    rng = np.random.default_rng(0)
    for name in ("a", "c", "d"):
        Image.fromarray(rng.integers(0, 256, (40, 32, 3), np.uint8)).save(pictures / f"{name}.png")
    (pictures / "b.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    monkeypatch.setenv("PYTHONPATH", str(package))
    monkeypatch.syspath_prepend(str(package))
    settings = StreamSettings(
        victim="mine",
        split="1",
        victim_settings={},
        attacks=[],
        knowledge=KnowledgeCard(),
        source=str(pictures),
        frames=4,
    )
    with Stream(settings, tmp_path / "run") as running:
        result = running.run()
    counts = {key: result.edge[key] for key in ("sent", "answered", "failed", "unreadable")}
    assert counts == {"sent": 3, "answered": 3, "failed": 0, "unreadable": 1}
    network = runpy.run_path(str(package / "mine.py"))["NETWORK"]
    answers, seen = dict(outcomes(tmp_path / "run" / "edge")), dict(truths(tmp_path / "run" / "edge"))
    assert [sample.name for _, sample in sorted(seen.items())] == ["a", "c", "d"]
    for frame, sample in seen.items():
        with torch.inference_mode():
            whole = network(IMAGENET.normalised(pictures_of(sample.arrays["image"][None])))
        np.testing.assert_allclose(answers[frame]["logits"], whole.numpy(), atol=1e-5)
