"""The descent on problems whose answer is known, its independence of neighbours, and what a kill leaves."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attacker.attacks.image import descent_state
from attacker.attacks.image.basis import waves
from attacker.attacks.image.course import log_spaced
from attacker.attacks.image.descent import Descended, Plan, Variable, descend
from attacker.attacks.image.descent_state import Shelf
from attacker.attacks.image.invert import invert
from wire.errors import InputError


def pictures(number: int, seed: int = 0, side: int = 8) -> Tensor:
    return torch.rand(number, 3, side, side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def head() -> nn.Module:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU())
    return net.double().requires_grad_(False)


class Killed(BaseException):
    """What ends a process, for a test."""


def run(head, heard, plan, shelf=None, kill_at=None) -> Descended:
    def progress(done: float, total: float, note: str = "") -> None:
        if kill_at is not None and done >= kill_at:
            raise Killed

    start = torch.full_like(pictures(len(heard)), 0.5)
    return descend(Variable(start, lambda x: x), head, heard, plan, shelf=shelf, progress=progress)


def test_a_linear_head_gives_the_picture_away():
    """As many independent measurements as pixels: the picture is the only optimum."""
    torch.manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(192, 192, dtype=torch.float64))[0]
    secret = pictures(3)

    def head(x: Tensor) -> Tensor:
        return x.flatten(1) @ mixing

    found = invert(head, head(secret), size=8, tv=0.0, iterations=200, lr=0.1)
    assert (found.pictures - secret).abs().max() < 1e-3
    assert found.iterations == 200
    assert [meta["loss_feature"] < 1e-6 for meta in found.meta] == [True] * 3


def test_total_variation_pulls_towards_its_closed_form():
    """The identity as head and pictures of two pixels: the optimum solves a 2x2 system."""
    secret = torch.tensor([0.2, 0.9], dtype=torch.float64).expand(1, 3, 2).reshape(1, 3, 1, 2).clone()
    found = invert(lambda x: x, secret, size=1, tv=0.5, iterations=0, loss="sum", start="grey")
    assert found.pictures.shape == (1, 3, 1, 1)
    start = torch.full_like(secret, 0.5)
    plan = Plan(iterations=250, tv=0.5, loss="sum")
    got = descend(Variable(start, lambda x: x), lambda x: x, secret, plan).variable[0, :, 0]
    # sum over channels of |x - z|^2 + 0.5 * sum over channels of (b - a)^2 / 6: per channel (weight 0.5 / 6)
    weight = 0.5 / 6
    system = np.array([[1 + weight, -weight], [-weight, 1 + weight]])
    assert got.numpy() == pytest.approx(np.tile(np.linalg.solve(system, [0.2, 0.9]), (3, 1)), abs=1e-3)


@pytest.mark.parametrize("group", [1, 2])
def test_pictures_of_a_batch_do_not_mix(head, group):
    secret = pictures(4)
    heard = head(secret)
    settings = {"size": 8, "iterations": 40, "start": "noise", "group": group}
    together = invert(head, heard, frames=[4, 5, 8, 9], **settings)
    other = heard.clone()
    other[:2] = head(pictures(2, seed=9))
    beside_others = invert(head, other, frames=[0, 1, 8, 9], **settings)
    alone = invert(head, heard[2:], frames=[8, 9], **settings)
    assert torch.allclose(together.pictures[2:], beside_others.pictures[2:], atol=1e-9)
    assert torch.allclose(together.pictures[2:], alone.pictures, atol=1e-9)
    assert not torch.allclose(together.pictures[:2], beside_others.pictures[:2], atol=1e-2)


def test_frames_of_a_group_are_drawn_together(head):
    """Two different pictures in one group end nearer to each other; in two groups as if there were none."""
    heard = head(pictures(2))

    def apart(frames, **settings) -> float:
        found = invert(head, heard, size=8, iterations=60, frames=frames, temporal=5.0, **settings).pictures
        return float((found[0] - found[1]).abs().mean())

    free = apart([4, 5])
    assert apart([4, 5], group=2) < 0.9 * free
    assert apart([5, 6], group=2) == free
    assert apart([4, 5], group=2, tied="raw") < apart([4, 5], group=2)


def test_the_kept_iterate_has_the_lowest_total_loss(head):
    heard = head(pictures(3))
    plan = Plan(iterations=60, lr=3.0, schedule="constant")  # so fast that it overshoots
    best = run(head, heard, plan)
    last = run(head, heard, Plan(iterations=60, lr=3.0, schedule="constant", keep="last"))
    course = best.course.curve[..., 0]
    assert torch.equal(best.total.float(), course.min(0).values)
    assert torch.equal(last.total.float(), course[-1])
    assert (best.total < last.total).all()
    assert torch.equal(best.pictures, best.variable)


def test_the_learning_rate_falls_along_a_cosine_to_two_percent():
    plan = Plan(iterations=100, lr=0.5)
    assert plan.rate(0) == 0.5
    assert plan.rate(100) == pytest.approx(0.01)
    assert plan.rate(50) == pytest.approx((0.5 + 0.01) / 2)
    assert Plan(lr=0.5, schedule="constant").rate(99) == 0.5


def test_snapshots_and_curve_are_the_course(head):
    heard = head(pictures(2))
    found = invert(head, heard, size=8, iterations=100)
    arrays = found.arrays(1)
    assert arrays["image"].shape == (8, 8, 3) and arrays["image"].dtype == np.uint8
    places = arrays["snapshot_iteration"]
    assert places.dtype == np.int64 and set(places) == set(log_spaced(100, 12)) and 10 <= len(places) <= 14
    assert arrays["snapshots"].shape == (len(places), 8, 8, 3)
    assert np.array_equal(arrays["snapshots"][-1], arrays["image"])
    assert np.array_equal(arrays["snapshots"][0], np.full((8, 8, 3), 128))
    assert (np.diff(arrays["snapshot_cpu_s"]) >= 0).all()
    assert arrays["snapshot_cpu_s"][-1] <= found.cpu_s / 2
    curve = arrays["curve"]
    assert curve.dtype == np.float32 and curve.shape == (len(arrays["curve_iteration"]), 3)
    assert np.allclose(curve[:, 0], curve[:, 1] + curve[:, 2], atol=1e-6)
    # the first point, by hand: a grey picture has no variation
    gray = head(torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64))
    first = ((gray - heard[1]) ** 2).sum() / (heard[1] ** 2).sum()
    assert curve[0].tolist() == pytest.approx([float(first), float(first), 0.0], abs=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (4, 5), (5, 4)])
def test_waves_reach_every_picture(size):
    """The way from coefficients to pixels has full rank, and its slowest wave is the mean."""
    start = torch.full((1, 1, *size), 0.25, dtype=torch.float64)
    variable, back = waves(start)
    assert torch.equal(back(variable), start)
    slopes = torch.autograd.functional.jacobian(back, variable).reshape(start.numel(), -1)
    assert torch.linalg.matrix_rank(slopes) == start.numel()
    variable[..., 0, 0, 0] = 1.0
    assert (back(variable) - back(variable).mean()).abs().max() < 1e-12
    # by hand: waves of frequency f weigh 1 / f, the mean as the slowest possible, 1 / side
    down, right = np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1])
    weight = 1 / np.maximum(np.hypot(down[:, None], right), 1 / max(size))
    wanted = weight[0, 0] / weight.mean() / np.sqrt(start.numel())
    assert float((back(variable) - start).mean()) == pytest.approx(wanted)


def test_waves_do_not_mix_pictures_and_can_be_tied(head):
    heard = head(pictures(3))
    settings = {"size": 8, "iterations": 30, "basis": "waves"}
    together = invert(head, heard, frames=[4, 5, 8], group=2, **settings).pictures
    assert torch.allclose(together[2:], invert(head, heard[2:], frames=[8], **settings).pictures, atol=1e-9)
    free = invert(head, heard, frames=[4, 5, 8], **settings).pictures
    tied = invert(head, heard, frames=[4, 5, 8], group=2, temporal=5.0, **settings).pictures
    assert (tied[0] - tied[1]).abs().mean() < 0.9 * (free[0] - free[1]).abs().mean()


def test_log_spacing_has_both_ends_and_bounds():
    assert log_spaced(0, 12) == {0}
    assert log_spaced(50, 0) == set()
    assert log_spaced(1000, 5) == {0, 1, 10, 100, 1000}
    assert max(log_spaced(7, 100)) == 7


@pytest.mark.parametrize("kill_at", [0, 7, 20])
def test_a_killed_descent_goes_on_bit_for_bit(head, tmp_path: Path, monkeypatch, kill_at):
    monkeypatch.setattr(descent_state, "SAVE_EVERY_S", 0.0)
    heard, plan = head(pictures(2)), Plan(iterations=20)
    whole = run(head, heard, plan)
    shelf = Shelf(tmp_path / "descent.safetensors")
    with pytest.raises(Killed):
        run(head, heard, plan, shelf, kill_at)
    evaluated = []

    def counting(x: Tensor) -> Tensor:
        evaluated.append(1)
        return head(x)

    resumed = run(counting, heard, plan, shelf)
    assert len(evaluated) == 20 - kill_at
    for name in ("variable", "pictures", "total", "feature"):
        assert torch.equal(getattr(whole, name), getattr(resumed, name)), name
    for name in ("snapshots", "iteration", "curve", "curve_iteration"):
        assert torch.equal(getattr(whole.course, name), getattr(resumed.course, name)), name
    assert (resumed.course.cpu_s.diff() >= 0).all()


def test_what_cannot_be_read_is_begun_anew(head, tmp_path: Path):
    path = tmp_path / "descent.safetensors"
    heard, plan = head(pictures(1)), Plan(iterations=5)
    for broken in (b"", b"garbage" * 9):
        path.write_bytes(broken)
        assert torch.equal(run(head, heard, plan, Shelf(path)).variable, run(head, heard, plan).variable)


def test_no_iteration_is_the_start(head):
    found = invert(head, head(pictures(1)), size=8, iterations=0)
    assert torch.equal(found.pictures, torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64))
    assert math.isfinite(found.meta[0]["loss_total"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attack": "guess"}, "attack 'guess' does not exist here; accepted: direct, decoder, diffusion"),
        ({"attack": "decoder"}, "attack decoder needs a prior over pictures; accepted: a diffusers folder"),
        ({"frames": [1]}, "2 pictures' features with 1 frame numbers; accepted: one each"),
        ({"start": "mean"}, "start mean is of public pictures, and none were given; accepted: grey, noise"),
    ],
)
def test_what_is_not_accepted_is_one_line(head, arguments, message):
    with pytest.raises(InputError) as caught:
        invert(head, head(pictures(2)), size=8, **arguments)
    assert str(caught.value) == message
