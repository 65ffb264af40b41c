"""Networks of equal size for every output, of the right shapes, that treat frames alike."""

from __future__ import annotations

import pytest
import torch

from attacker.attacks.image.inversion_networks.network import InversionNetwork, Shape, parameters

FEATURES = {
    "resnet20 layer1.2": ((16, 32, 32), 32),
    "resnet20 layer2.2": ((32, 16, 16), 32),
    "resnet20 layer3.2": ((64, 8, 8), 32),
    "resnet20 avgpool": ((64, 1, 1), 32),
    "a small vit": ((65, 96), 32),
    "resnet18 L16": ((512, 7, 7), 224),
    "resnet50 L36": ((1024, 14, 14), 224),
    "vit-b L4": ((197, 768), 224),
    "clip": ((512,), 224),
}


@pytest.mark.parametrize("name", FEATURES)
def test_pixels_and_latents_of_any_prior_take_equal_parameters(name: str) -> None:
    features, side = FEATURES[name]
    made = [(3, side, side), (4, side // 2, side // 2), (4, side // 8, side // 8), (16, side // 8, side // 8)]
    with torch.device("meta"):
        counts = [parameters(InversionNetwork(Shape(features, side, shape))) for shape in made]
    assert max(counts) / min(counts) < 1.02, counts


@pytest.mark.parametrize("made", [(3, 32, 32), (4, 16, 16), (4, 5, 5)])
@pytest.mark.parametrize("features", [(16, 32, 32), (6, 13, 13), (64, 1, 1), (17, 12), (9,)])
def test_outputs_have_the_shape_that_is_asked_for(features: tuple[int, ...], made: tuple[int, int, int]) -> None:
    network = InversionNetwork(Shape(features, 32, made, frames=2, width=4))
    assert network(torch.randn(3, 2, *features)).shape == (3, 2, *made)


def test_frames_share_one_network_and_begin_apart() -> None:
    torch.manual_seed(0)
    shape = Shape((8, 8, 8), 16, (3, 16, 16), frames=3, width=4)
    several = InversionNetwork(shape).eval()
    single = InversionNetwork(Shape((8, 8, 8), 16, (3, 16, 16), width=4), several.middle).eval()
    single.load_state_dict({k: v for k, v in several.state_dict().items() if not k.startswith("mix.")})
    x = torch.randn(2, 3, 8, 8, 8)
    apart = torch.cat([single(x[:, k : k + 1]) for k in range(3)], 1)
    assert torch.allclose(several(x), apart, atol=1e-5)
    # One pointwise layer over all channels of all frames (equation 13) is all that is added.
    assert parameters(several) - parameters(single) == 24 * 24 + 24
    several.mix.weight.data.normal_()
    moved = x.clone()
    moved[:, 2] += 1
    assert not torch.allclose(several(moved)[:, 0], several(x)[:, 0], atol=1e-3)


def test_channels_are_standardised_and_silent_ones_not_blown_up() -> None:
    network = InversionNetwork(Shape((3, 8, 8), 16, (3, 16, 16), width=4)).eval()
    shift, scale = torch.tensor([5.0, -3.0, 0.0]), torch.tensor([10.0, 2.0, 0.0])
    x = torch.randn(4, 1, 3, 8, 8)
    plain = network(x * torch.tensor([1.0, 1.0, 0.0]).view(3, 1, 1))
    network.standardise(shift, scale)
    moved = network(x * scale.view(3, 1, 1) + shift.view(3, 1, 1))
    assert torch.allclose(plain, moved, atol=1e-4)
    level = float((scale.square().mean()).sqrt())
    assert float(network.deviation[2]) == pytest.approx(0.05 * level, rel=1e-4)
