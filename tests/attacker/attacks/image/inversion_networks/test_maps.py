"""Features of every kind become maps without losing or moving a number."""

from __future__ import annotations

import pytest
import torch

from attacker.attacks.image.inversion_networks.features import Maps, features_of
from wire.errors import InputError
from wire.payload import Payload


def test_tokens_lie_where_their_patches_were() -> None:
    tokens = torch.arange(2 * 10 * 3, dtype=torch.float32).reshape(2, 10, 3)  # a class token, then 3x3 patches
    maps = Maps((10, 3))
    folded = maps.fold(tokens)
    assert folded.shape == (2, maps.channels, maps.side, maps.side) == (2, 6, 3, 3)
    for row in range(3):
        for column in range(3):
            assert torch.equal(folded[:, :3, row, column], tokens[:, 1 + 3 * row + column])
            assert torch.equal(folded[:, 3:, row, column], tokens[:, 0])
    assert Maps((9, 3)).channels == 3


def test_maps_stay_and_vectors_and_tiny_maps_become_one_place() -> None:
    x = torch.randn(2, 5, 4, 4)
    assert torch.equal(Maps((5, 4, 4)).fold(x), x)
    assert Maps((7,)).fold(torch.zeros(2, 7)).shape == (2, 7, 1, 1)
    small = torch.randn(2, 5, 2, 2)
    assert torch.equal(Maps((5, 2, 2)).fold(small).flatten(1), small.flatten(1))


def payload(**tensors: torch.Tensor) -> Payload:
    return Payload("features", "dense", tensors, {"input": (8, 8)})


@pytest.mark.parametrize(
    ("payloads", "line"),
    [
        ([], "frame 4: 0 payloads of features; accepted: 1"),
        (
            [payload(other=torch.zeros(1, 3))],
            "frame 4: features are absent; accepted: (1, C, H, W), (1, T, D) or (1, K)",
        ),
        (
            [payload(features=torch.zeros(2, 3))],
            "frame 4: features are (2, 3); accepted: (1, C, H, W), (1, T, D) or (1, K)",
        ),
        ([payload(features=torch.full((1, 3), torch.nan))], "frame 4: features are not finite"),
    ],
)
def test_other_payloads_are_refused(payloads: list[Payload], line: str) -> None:
    with pytest.raises(InputError) as caught:
        features_of(payloads, "frame 4")
    assert str(caught.value) == line


def test_maps_that_are_not_square_are_refused() -> None:
    with pytest.raises(InputError, match=r"^features \(3, 8, 6\); accepted: square maps"):
        Maps((3, 8, 6))
