"""The inception score against its definition, over a network of the published file's form and none of its weights."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lab.metrics.base import scorer
from lab.runfolder import RunFolder
from lab.scores import score_run
from victims.base import Sample
from wire import arrays
from wire.errors import InputError
from wire.record import RecordWriter

RNG = np.random.default_rng(0)


class Stand(torch.nn.Module):
    """Called as the published file is; its classes depend on the mean colour alone."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.output = torch.nn.Linear(3, classes)

    def forward(
        self, img: torch.Tensor, return_features: bool = False, use_fp16: bool = False, no_output_bias: bool = False
    ) -> torch.Tensor:
        x = img.to(torch.float32).mean([2, 3]) / 16
        return (x @ self.output.weight.T if no_output_bias else self.output(x)).softmax(1)


def network(path: Path, classes: int = 1008) -> tuple[Path, np.ndarray]:
    """A file, and its weights (classes, 3)."""
    torch.manual_seed(0)
    made = Stand(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(made), str(path))
    return path, made.output.weight.detach().double().numpy()


def flat(*colour: int) -> np.ndarray:
    """uint8 (32, 32, 3) of one colour."""
    return np.full((32, 32, 3), colour, np.uint8)


ATTACKS = {
    "varied": [flat(250, 0, 0), flat(0, 250, 0), flat(0, 0, 250), flat(90, 90, 90)],
    "dull": [flat(90, 90, 90), flat(91, 90, 90), flat(90, 90, 89)],
}


def test_each_picture_gets_its_share_of_its_own_attacks_score(tmp_path: Path) -> None:
    file, weights = network(tmp_path / "inception.pt")
    run = RunFolder.create(tmp_path / "runs", "visual", {"seed": 1})
    with (
        RecordWriter(run.edge, max_bytes=1 << 30) as edge,
        RecordWriter(run.reconstructions, max_bytes=1 << 30) as made,
    ):
        for frame in range(4):
            edge.write("sample", arrays.pack({"image": flat(1, 2, 3)}, {"frame": frame, "name": str(frame)}), log_ns=1)
        for attack, pictures in ATTACKS.items():
            for frame, picture in enumerate(pictures):
                packed = arrays.pack({"image": picture}, {"session": "5e", "frames": (frame,), "attack": attack})
                made.write("reconstruction", packed, log_ns=1)
    scores = score_run(run, scorer("image", {"inception": str(file)}), seed=0)
    for attack, pictures in ATTACKS.items():
        each = []
        for picture in pictures:
            raised = np.exp(weights @ (picture[0, 0] / 16.0))
            each.append(raised / raised.sum())
        mean = sum(each) / len(each)
        shares = [sum(p * math.log(p / q) for p, q in zip(row, mean, strict=True) if p > 0) for row in each]
        found = scores.of(attack, "inception")
        assert list(found.values()) == pytest.approx(shares, rel=1e-4, abs=1e-6), attack
    values = {attack: np.mean([v or 0 for v in scores.of(attack, "inception").values()]) for attack in ATTACKS}
    assert 1 <= math.exp(values["dull"]) < math.exp(values["varied"]) <= 4  # pictures are its upper bound
    assert "inception" not in {m.name for m in scorer("image", {}).metrics}


def test_no_value_before_the_set_was_seen(tmp_path: Path) -> None:
    file, _ = network(tmp_path / "inception.pt")
    one = scorer("image", {"inception": str(file)})
    scored = one.score(Sample("one", {"image": flat(1, 2, 3)}, {}), {"image": flat(4, 5, 6)}, RNG)
    assert scored.values["inception"] is None


def test_another_network_is_never_called_inception(tmp_path: Path) -> None:
    file, _ = network(tmp_path / "ten.pt", classes=10)
    (tmp_path / "text.pt").write_text("no network")
    for path, why in ((file, r"answers with \(10,\)"), (tmp_path / "text.pt", ""), (tmp_path / "absent.pt", "absent")):
        measure = scorer("image", {"inception": str(path)})
        with pytest.raises(InputError, match=f"inception .*{why}.*; accepted: TensorFlow's Inception") as raised:
            measure.gather([{"image": flat(1, 2, 3)}])  # type: ignore[attr-defined]
        assert "\n" not in str(raised.value)
