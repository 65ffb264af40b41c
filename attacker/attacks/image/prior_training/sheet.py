"""The sample sheet: a row of samples for each class, from its class word alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from attacker.attacks.image.prior import Prior
from attacker.attacks.image.prior_training.captions import caption
from attacker.attacks.image.prior_training.measure import GUIDANCES, samples
from victims.image.cifar import CLASSES

COLUMNS = 4
_SCALE, _GAP, _MARGIN = 3, 4, 80


@torch.no_grad()
def write_sheet(path: Path, prior: Prior, steps: int, seed: int = 0) -> Path:
    """Write 40 samples of ``steps`` steps for each strength of guidance, class by row; returns ``path``."""
    side = prior.side * _SCALE
    width = _MARGIN + len(GUIDANCES) * (COLUMNS * (side + _GAP) + 4 * _GAP)
    sheet = Image.new("RGB", (width, len(CLASSES) * (side + _GAP) + 5 * _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    prompts = [caption(label, 0, template=1) for label in range(len(CLASSES)) for _ in range(COLUMNS)]
    for block, strength in enumerate(GUIDANCES):
        left = _MARGIN + block * (COLUMNS * (side + _GAP) + 4 * _GAP)
        draw.text((left, 2), f"guidance {strength:g}", fill="black")
        for i, image in enumerate(samples(prior, prompts, len(prompts), steps, strength, seed)):
            drawn = Image.fromarray(np.ascontiguousarray(image)).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(drawn, (left + i % COLUMNS * (side + _GAP), 5 * _GAP + i // COLUMNS * (side + _GAP)))
    for row, name in enumerate(CLASSES):
        draw.text((4, 5 * _GAP + row * (side + _GAP) + side // 2 - 6), name, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
    return path
