"""What the page shows of a training: the picture, the pixels that were named, norms per ray and sample."""

from __future__ import annotations

import numpy as np
import torch

from tests.victims.radiance.exchanging import SMALL, exchange
from victims.base import Sample
from victims.radiance.batch import training_samples
from victims.radiance.head import RadianceHead
from victims.radiance.networks import parts
from victims.radiance.pictures import held_out
from victims.radiance.room import room
from victims.radiance.tail import RadianceTail
from victims.radiance.view import VIEW
from victims.view import Image, Text, TrainingView, view
from wire.payload import Payload


def test_a_step_and_what_crosses_of_it() -> None:
    assert view("radiance") is VIEW
    sample = next(training_samples(room(0, side=16, views=5), SMALL))
    shown = VIEW.sample(sample)
    assert isinstance(shown, Image) and shown.pixels.shape == (16, 16, 3)
    chosen = np.isin(np.arange(256), sample.arrays["pixels"]).reshape(16, 16)
    image = sample.truth["image"]
    assert (shown.pixels[chosen] == image[chosen]).all()
    assert (shown.pixels[~chosen] == (image[~chosen] * 0.35).astype(np.uint8)).all()
    cloud, edge = parts("mid", SMALL)
    _, left = exchange(RadianceHead(edge, SMALL, 64), RadianceTail(cloud, SMALL), sample)
    named = VIEW.payload(left[0])
    assert isinstance(named, Image)
    assert set(np.flatnonzero(named.pixels[..., 0])) == set(sample.arrays["pixels"][:32])
    norms = VIEW.payload(left[3])
    assert isinstance(norms, Image) and norms.pixels.shape == (32, 12, 3)
    exact = left[3].tensors["gradients"].norm(dim=2)
    assert np.unravel_index(norms.pixels[..., 0].argmax(), (32, 12)) == np.unravel_index(int(exact.argmax()), (32, 12))
    assert isinstance(VIEW.payload(Payload("result", "acknowledgement", {})), Text)
    assert isinstance(VIEW.sample(Sample("x", {})), Text)


def test_a_view_that_is_asked_for_is_shown_as_it_was_photographed() -> None:
    asked = held_out(room(0, side=16, views=5), 0, 40)
    shown = VIEW.sample(asked)
    assert isinstance(VIEW, TrainingView) and VIEW.rebuildable(asked)
    assert not VIEW.rebuildable(next(training_samples(room(0, side=16, views=5), SMALL)))
    assert isinstance(shown, Image) and np.array_equal(shown.pixels, asked.truth["image"])


def test_reconstructions() -> None:
    made = VIEW.reconstruction({"image": np.array([[[0.5, 2.0, np.nan]]])})
    assert isinstance(made, Image) and made.pixels.tolist() == [[[128, 255, 0]]]
    depth = VIEW.reconstruction({"depth": np.array([[1.0, 3.0]])})
    assert isinstance(depth, Image) and depth.pixels.tolist() == [[[255] * 3, [0] * 3]]
    flat = VIEW.payload(Payload("gradients", "gradients", {"gradients": torch.zeros(2, 3, 4)}))
    assert isinstance(flat, Image) and flat.pixels.shape == (2, 3, 3)
