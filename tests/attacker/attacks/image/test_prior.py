"""The sampler against arithmetic by hand, its gradient against finite differences, and what it costs in calls."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from attacker.attacks.image import prior as room
from attacker.attacks.image.prior import Prior, load_prior, normalise
from wire.errors import InputError

WORDS = ["a photo of a cat, dark blue background", "a photo, white background"]


class Calls:
    """Counts the U-Net's calls inside a block."""

    def __init__(self, prior: Prior) -> None:
        self.prior, self.count = prior, 0

    def __enter__(self) -> Calls:
        self.hook = self.prior.unet.register_forward_hook(self._one)
        return self

    def _one(self, *_: Any) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.hook.remove()


def by_hand(prior: Prior, noise: Tensor, text: Tensor, steps: int) -> Tensor:
    """DDIM, equation 12 of Song et al. with sigma 0, on noise levels computed here."""
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000, dtype=np.float32))
    times = [round(1000 - i * 1000 / steps) - 1 for i in range(steps)]
    x = noise
    for time in times:
        v = prior.unet(x, time, text, return_dict=False)[0]
        a = float(kept[time])
        clean = a**0.5 * x - (1 - a) ** 0.5 * v
        noisy = a**0.5 * v + (1 - a) ** 0.5 * x
        before = time - 1000 // steps
        b = float(kept[before]) if before >= 0 else 1.0
        x = b**0.5 * clean + (1 - b) ** 0.5 * noisy
    return x


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_sampling_is_ddim_by_hand(tiny: Prior, steps: int) -> None:
    noise, text = tiny.noise(2, 3), tiny.embed(WORDS)
    with torch.no_grad():
        found, wanted = tiny.sample(noise, text, steps=steps), by_hand(tiny, noise, text, steps)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_sampling_repeats_bit_for_bit_whatever_was_asked_between(tiny: Prior) -> None:
    noise = tiny.noise(2, 3).requires_grad_()
    first = tiny.generate(noise, steps=4)
    torch.manual_seed(99)
    tiny.sample(noise, steps=3)
    again = tiny.generate(noise, steps=4)
    assert torch.equal(first, again)
    assert torch.equal(tiny.noise(2, 3), noise) and not torch.equal(tiny.noise(2, 4), noise)


def test_a_picture_of_a_batch_is_the_picture_alone(tiny: Prior) -> None:
    noise, text = tiny.noise(2, 5), tiny.embed(WORDS)
    with torch.no_grad():
        both, second = tiny.generate(noise, text, steps=2), tiny.generate(noise[1:], text[1:], steps=2)
    assert torch.allclose(both[1:], second, atol=1e-10)
    assert both.shape == (2, 3, 32, 32)


def test_gradient_is_that_of_finite_differences(tiny: Prior) -> None:
    noise = tiny.noise(1, 6).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 3, 32, 32, generator=generator, dtype=torch.float64)

    def value(v: Tensor) -> Tensor:
        return (tiny.generate(normalise(v), steps=3) * weights).sum()

    (gradient,) = torch.autograd.grad(value(noise), noise)
    for seed in range(3):
        way = torch.randn(noise.shape, generator=generator.manual_seed(seed), dtype=torch.float64)
        with torch.no_grad():
            slope = (value(noise + 1e-6 * way) - value(noise - 1e-6 * way)) / 2e-6
        assert float((gradient * way).sum()) == pytest.approx(float(slope), rel=1e-4)


def test_recomputed_calls_give_the_same_gradient(tiny: Prior) -> None:
    noise, text = tiny.noise(2, 7).requires_grad_(), tiny.embed(WORDS).requires_grad_()
    found = []
    for recompute, calls in ((False, 3), (True, 6)):
        with Calls(tiny) as counted:
            loss = tiny.generate(noise, text, steps=3, checkpointing=recompute).square().sum()
            found.append(torch.autograd.grad(loss, (noise, text)))
        assert counted.count == calls
    for plain, recomputed in zip(*found, strict=True):
        assert torch.allclose(plain, recomputed, rtol=1e-10, atol=1e-14)


def test_memory_decides_whether_calls_are_recomputed(tiny: Prior, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = tiny.noise(2, 8).requires_grad_()
    needed = tiny.call_bytes() * 2 * 3
    for limit, calls in ((needed, 3), (needed - 1, 6)):
        monkeypatch.setattr(room, "MEMORY_BYTES", limit)
        with Calls(tiny) as counted:
            tiny.sample(noise, steps=3).sum().backward()
        assert counted.count == calls


class _Heap(ctypes.Structure):
    """mallinfo2 of the GNU C library."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in ("a", "b", "c", "d", "mapped", "e", "f", "used", "g", "h"))


def test_recomputing_keeps_a_latent_a_step_and_little_more(tiny: Prior) -> None:
    """Bytes that the C library has handed out, behind samplings of 4 and 8 steps: the slope is that of the latents."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("this C library does not count its heap")
    libc.mallinfo2.restype = _Heap

    def in_use() -> int:
        gc.collect()
        heap = libc.mallinfo2()
        return int(heap.used + heap.mapped)

    noise = tiny.noise(8, 0).requires_grad_()
    kept = {}
    for steps in (4, 8, 4, 8):  # the first two also pay for what stays: schedulers, buffers of kernels
        before = in_use()
        end = tiny.sample(noise, steps=steps, checkpointing=True)
        kept[steps] = in_use() - before
        del end
    slope = (kept[8] - kept[4]) / 4
    assert noise.nbytes <= slope * 1.01 and slope <= 1.5 * noise.nbytes


def test_bytes_of_a_call_are_what_a_second_picture_adds(tiny: Prior) -> None:
    """Counted anew on batches of one and two: the difference is what one picture keeps, weights not among it."""

    def kept(pictures: int) -> int:
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            out = tiny.unet(tiny.noise(pictures, 0).requires_grad_(), 0, tiny.no_text(pictures), return_dict=False)
        del out
        return sum(storages.values())

    assert tiny.call_bytes() == pytest.approx(kept(2) - kept(1), rel=0.02)


class AsNoise(nn.Module):
    """A U-Net that says the noise where the inner one says the velocity: eps = sqrt(a) v + sqrt(1 - a) x."""

    def __init__(self, inner: Any, kept: Tensor) -> None:
        super().__init__()
        self.inner, self.kept = inner, kept

    def forward(self, x: Tensor, time: int, text: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        a = self.kept[time].double()
        return (a.sqrt() * self.inner(x, time, text, return_dict=return_dict)[0] + (1 - a).sqrt() * x,)


def test_noise_and_velocity_predictions_agree(tiny: Prior) -> None:
    # From the middle level on: at the last one the noise says nothing of the picture, and the division blows up.
    settings = {"prediction_type": "epsilon", "timestep_spacing": "leading"}
    velocity = replace(
        tiny, scheduler=DDIMScheduler.from_config(tiny.scheduler.config, timestep_spacing="leading"), _schedulers={}
    )
    noise_unet = AsNoise(tiny.unet, tiny.scheduler.alphas_cumprod)
    epsilon = replace(
        tiny, unet=noise_unet, scheduler=DDIMScheduler.from_config(tiny.scheduler.config, **settings), _schedulers={}
    )
    start, text = tiny.noise(1, 9), tiny.embed(WORDS[:1])
    with torch.no_grad():
        assert torch.allclose(
            velocity.sample(start, text, steps=2), epsilon.sample(start, text, steps=2), rtol=1e-3, atol=1e-4
        )


def test_guidance_is_a_step_away_from_no_text(tiny: Prior) -> None:
    noise, text = tiny.noise(1, 10), tiny.embed(WORDS[:1])
    with torch.no_grad():
        free, told = tiny.sample(noise, steps=1), tiny.sample(noise, text, steps=1)
        guided = tiny.sample(noise, text, steps=1, guidance=3.0)
    assert torch.allclose(guided, free + 3 * (told - free), atol=1e-5)  # one DDIM step is linear in what the U-Net says
    assert float((told - free).abs().max()) > 1e-3


def test_normaliser_knows_nothing_of_scale_and_shift_and_neighbours(tiny: Prior) -> None:
    v = tiny.noise(3, 11)
    assert torch.allclose(normalise(5 * v + 2), normalise(v), atol=1e-6)
    assert torch.allclose(normalise(v)[1:2], normalise(v[1:2]))
    assert torch.allclose(normalise(v).square().mean((1, 2, 3)), torch.ones(3, dtype=torch.float64), atol=1e-6)


def test_no_text_is_zeros_and_not_an_empty_prompt(tiny: Prior) -> None:
    empty = tiny.embed([""])
    assert tiny.no_text(1).shape == empty.shape and float(tiny.no_text(1).abs().max()) == 0
    assert float(empty.abs().max()) > 0.1
    noise = tiny.noise(1, 1)
    with torch.no_grad():
        assert torch.equal(tiny.sample(noise, steps=1), tiny.sample(noise, tiny.no_text(1), steps=1))


def test_a_prompt_that_is_too_long_is_one_line(tiny: Prior) -> None:
    prompt = "a photo of a cat, dark blue background, light gray cat, dark green ship"
    with pytest.raises(InputError) as caught:
        tiny.embed(["a photo", prompt])
    assert str(caught.value) == (f"prompt {prompt!r} has 19 tokens with its start and end; tiny accepts at most 16")
    assert tiny.embed(["a photo of a cat, dark blue background, light gray"]).shape == (1, 16, 64)


def test_words_that_were_never_learned_are_named(tiny: Prior) -> None:
    assert tiny.spelled_out("a photo of a zebra, dark blue background") == ["zebra"]


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_steps_have_bounds(tiny: Prior, steps: int) -> None:
    with pytest.raises(InputError, match=f"^{steps} sampling steps; tiny accepts 1 to 1000$"):
        tiny.sample(tiny.noise(1, 0), steps=steps)


def test_noise_of_another_shape_is_refused(tiny: Prior) -> None:
    with pytest.raises(InputError, match=r"^noise is \(1, 4, 8, 8\); tiny accepts \(pictures, 4, 16, 16\)$"):
        tiny.sample(torch.zeros(1, 4, 8, 8, dtype=torch.float64))
    with pytest.raises(InputError, match=r"^2 embeddings for 1 pictures; accepted: one for each$"):
        tiny.sample(tiny.noise(1, 0), tiny.embed(WORDS))


def test_latents_have_the_scale_of_the_folder(tiny: Prior) -> None:
    pictures = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    inner = tiny.autoencoder.module.encoder(pictures * 2 - 1)
    assert torch.allclose(tiny.autoencoder.encode(pictures), inner * 1.7)
    decoded = tiny.autoencoder.module.decoder(inner)
    assert torch.allclose(tiny.autoencoder.decode(inner * 1.7), (decoded + 1) / 2)


def test_digest_is_of_the_weights(tiny: Prior, tiny_folder: Path) -> None:
    again = load_prior(tiny_folder, dtype=torch.float64)
    assert again.digest() == tiny.digest()
    next(again.unet.parameters()).data.flatten()[0] += 1
    assert again.digest() != tiny.digest()
