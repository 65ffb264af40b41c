"""What the studies of inversion by queries hold apart: by digest, past a picture that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from attacker.knowledge import KnowledgeCard
from lab.stream import StreamSettings
from lab.studies.black_box import keep_asked_apart
from victims.base import Sample
from victims.image.pictures import read_picture
from wire.errors import InputError


@pytest.fixture
def streamed(tmp_path: Path) -> StreamSettings:
    """Of a folder whose second picture is broken, the first two that can be read."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "c", "d"):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"no picture")
    return StreamSettings(
        victim="cifar-resnet20",
        split="layer1.2",
        victim_settings={"weights": "random"},
        attacks=[],
        knowledge=KnowledgeCard(),
        source=str(folder),
        frames=2,
    )


def trained_on(path: Path, *pictures: Path) -> Path:
    """A trained file as far as its digests."""
    digests = [bytes.fromhex(Sample("", {"image": read_picture(one)}).digest())[:8] for one in pictures]
    save_file({"queried": torch.tensor([list(one) for one in digests], dtype=torch.uint8)}, path)
    return path


def test_a_picture_that_was_asked_about_is_found_behind_a_broken_one(streamed: StreamSettings, tmp_path: Path) -> None:
    folder = Path(streamed.source)
    keep_asked_apart(streamed, {"inverter": trained_on(tmp_path / "d", folder / "d.png")})  # the third: not streamed
    with pytest.raises(InputError, match=r"^inverter: c was asked about and is streamed; accepted: other pictures$"):
        keep_asked_apart(streamed, {"inverter": trained_on(tmp_path / "c", folder / "c.png", folder / "d.png")})
