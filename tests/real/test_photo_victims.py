"""The published detector and segmenter on real pictures, against what the data's own README says they find there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from victims.base import Sample
from victims.image.espnet import CLASSES
from victims.image.pictures import read_picture, squeezed
from victims.image.published import ESPNET, ESPNET_512, ESPNET_FULL, FASTESTDET
from victims.image.victim import ImageVictim

pytestmark = pytest.mark.real


def answered(chosen: ImageVictim, split: str, weights: Path, picture: Path) -> dict[str, np.ndarray]:
    """What the edge ends with, the features having gone through head and tail."""
    cut = chosen.cut(split, {"weights": str(weights)})
    exchange = cut.head().exchange(Sample("x", {"image": squeezed(read_picture(picture), chosen.size)}))
    tail, parts = cut.tail(), next(exchange)
    with pytest.raises(StopIteration) as end:
        exchange.send(iter([tail.reply(part) for part in parts]))
    return dict(end.value.value.arrays)


@pytest.mark.parametrize(("number", "name", "score"), [(5, "motorbike", 0.73), (14, "person", 0.78)])
def test_fastestdet_finds_what_is_there(real_data: Path, number: int, name: str, score: float) -> None:
    weights = real_data / "weights" / "fastestdet"
    picture = real_data / "images" / "photos" / f"kodim{number:02d}_384.png"
    found = answered(FASTESTDET, "backbone.stage2.3", weights / "fastestdet_coco_280epoch.pth", picture)
    names = (weights / "coco_names.txt").read_text().splitlines()
    # The README's scores are of the uncropped pictures.
    assert names[int(found["classes"][0])] == name and abs(float(found["scores"][0]) - score) < 0.1
    assert ((found["boxes"] >= 0) & (found["boxes"] <= 1)).all()


@pytest.mark.parametrize(
    ("chosen", "split", "file"),
    [(ESPNET, "b2", "encoder"), (ESPNET_512, "level3_0", "encoder"), (ESPNET_FULL, "conv", "decoder")],
)
def test_espnet_sees_sky_above_and_road_below(real_data: Path, chosen: ImageVictim, split: str, file: str) -> None:
    picture = real_data / "video" / "drive_half_second" / "008.png"
    found = answered(chosen, split, real_data / "weights" / "espnet" / f"{file}_p2_q8.pth", picture)["class_map"]
    sky, road = found == CLASSES.index("sky"), found == CLASSES.index("road")
    # README: sky 39 %, road 35 %, with another resampling.
    assert abs(float(sky.mean()) - 0.39) < 0.02 and abs(float(road.mean()) - 0.35) < 0.08
    quarter = len(found) // 4
    assert sky[:quarter].mean() > 0.8 and road[-quarter:].mean() > 0.5 and not sky[-quarter:].any()
