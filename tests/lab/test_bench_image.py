"""The bench of image attacks: memory by hand, the loop does the batch's work, and the whole of it at a tiny size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attacker.attacks.image.prior import load_prior
from lab import bench_image, bench_memory
from lab.bench_image import AGAIN, BATCHED, LOOP, Work
from lab.bench_memory import Memory, peak_bytes
from tests.contract.tiny_prior import TINY, write_tiny_prior
from victims.base import silent
from victims.image.victim import CIFAR_RESNET20
from wire.errors import InputError, RunError

PAGE = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_prior(tmp_path_factory.mktemp("prior") / "tiny")


def test_the_peak_counts_what_lives_at_once() -> None:
    def three_of_which_two_at_once() -> None:
        first = torch.empty(PAGE, dtype=torch.uint8)
        second = torch.empty(2 * PAGE, dtype=torch.uint8)
        del first
        third = torch.empty(PAGE // 2, dtype=torch.uint8)
        del second, third

    assert peak_bytes(three_of_which_two_at_once) == 3 * PAGE
    assert peak_bytes(lambda: None) == 0


def test_the_slope_is_in_latents() -> None:
    assert bench_memory.slope({4: 100, 8: 140, 16: 220}) == pytest.approx(10.0)
    assert Memory(5, {4: 100, 8: 140, 16: 220}, {}).slope == pytest.approx(2.0)


def test_recomputation_keeps_a_latent_a_step(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One latent more for one step more, not a call's activations."""
    bench_memory.main([str(folder), "4", "2", "4", "6"])
    found = bench_memory.parsed(capfd.readouterr().out)
    prior = load_prior(folder)
    assert found.latents == 4 * 4 * int(np.prod(prior.latent))
    assert 0.5 < found.slope < 1.5
    assert bench_memory.slope(found.kept) > 0.5 * 4 * prior.call_bytes()


def test_a_measurement_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^measuring memory ended with exit code 1: .*prior nowhere: no such folder"):
        bench_memory.measure(Path("nowhere"), 4, (2,))


def test_the_loop_does_what_the_batch_does(folder: Path, tmp_path: Path) -> None:
    work = Work(CIFAR_RESNET20, "layer1.0", load_prior(folder), folder, 3, 2, tmp_path)
    together, alone = work.batch(), work.loop()
    assert together.shape == (3, 32, 32, 3)
    assert np.abs(together.astype(int) - alone.astype(int)).max() <= 1  # the rounding of larger kernels


def test_the_whole_bench_at_a_tiny_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_image, "ASKED", dict.fromkeys(bench_image.ASKED, 2))
    monkeypatch.setattr(bench_memory, "measure", lambda *_: Memory(100, {4: 900, 8: 1300}, {4: 5000, 8: 9000}))
    before = torch.get_num_threads()
    found = bench_image.bench_image("cifar-resnet20", 3, silent, pictures=2, steps=1, parameters=replace(TINY))
    assert torch.get_num_threads() == before
    rows = found.details["diffusion"]
    assert {name: len(values) for name, values in rows.items()} == {BATCHED: 3, AGAIN: 3, LOOP: 3}
    by_hand = sorted(a["CPU seconds"] / b["CPU seconds"] for a, b in zip(rows[LOOP], rows[BATCHED], strict=True))
    assert found.comparisons[0].ratio.median == by_hand[1]
    assert "peak memory over steps: 1.00 times the latents' bytes a step, aim at most 1.5: held" in found.gates
    assert len(found.gates) == 5
    assert found.write(tmp_path, 3).is_file()


def test_what_cannot_be_measured_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^--set itterations: no option of this bench; there are: prior, pictures"):
        bench_image.asked("cifar-resnet20", 3, silent, (), {"itterations": 2})
    with pytest.raises(InputError, match="looks at no pictures"):
        bench_image.asked("second", 3, silent, (), {})
    with pytest.raises(InputError, match=r"^bench attack: several --split"):
        bench_image.asked("cifar-resnet20", 3, silent, ("layer1.0", "layer1.1"), {})
