"""Publishing a trained inverter: half precision, a card row of what was counted, the mean picture beside."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from attacker.attacks.image.inversion_networks.trained import load_trained
from lab.inverters import InverterTraining, train_inverter
from lab.studies.demo_image import MEAN
from victims.image import cifar
from wire.errors import InputError

QUERIES = 32


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """CIFAR-10's training file with as many grey and coloured pictures, which JPEG keeps as they are."""
    rng = np.random.default_rng(0)
    files = []
    for colour in rng.integers(0, 256, (QUERIES, 1, 1, 3), np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(np.broadcast_to(colour, (32, 32, 3)).copy()).save(buffer, "JPEG", quality=95, subsampling=0)
        files.append(buffer.getvalue())
    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(
        folder / cifar.FILES["jpeg-train"],
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offset=np.cumsum([0, *map(len, files)]),
        labels=np.arange(QUERIES) % 10,
    )
    return folder


def test_a_published_inverter_is_counted_halved_and_has_its_row(data: Path, tmp_path: Path) -> None:
    into = tmp_path / "weights"
    settings = InverterTraining(
        weights="random", data=str(data), queries=QUERIES, epochs=1, width=4, publish=True, into=str(into),
        defense="feature_centric", strength=0.5,
    )  # fmt: skip
    card = train_inverter("inversion-direct", "layer3.0", tmp_path / "work", settings, lambda *_: None)
    name = "inversion-direct-aware-cifar-resnet20-layer3.0.safetensors"
    (row,) = [line for line in card.read_text().splitlines() if name in line]
    assert "feature_centric strength=0.5" in row
    assert f"| {QUERIES} |" in row
    with safe_open(into / name, framework="np") as file:
        kinds = {str(file.get_tensor(key).dtype) for key in list(file.keys()) if key != "queried"}
    assert kinds <= {"float16", "int64"}
    whole, _ = load_trained(tmp_path / "work" / "work" / "inverter.safetensors")
    half, told = load_trained(into / name)
    assert told.queries == QUERIES
    for key, tensor in whole.state_dict().items():
        assert np.allclose(half.state_dict()[key], tensor, rtol=1e-3, atol=1e-6)
    with np.load(into / MEAN) as stored:
        mean = cifar.read(data, "jpeg-train").images.astype(float).mean(0)
        assert np.abs(stored["images"][0] - mean).max() <= 0.5 + 1e-9


def test_data_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--set data=nowhere: accepted: the folder with CIFAR-10's array files$"):
        train_inverter("inversion-direct", "layer3.0", tmp_path, InverterTraining(data="nowhere"), lambda *_: None)
