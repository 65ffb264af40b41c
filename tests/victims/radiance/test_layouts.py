"""What may cross: an allow-list of names, shapes and values; everything else is refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from victims.base import validate
from victims.radiance import layouts
from wire.errors import DecodeError
from wire.payload import Payload

PART = {"step": 3, "part": 0, "parts": 2}
RAYS = Payload(
    "rays",
    layouts.RAYS,
    {"pose": torch.eye(3, 4), "pixels": torch.tensor([0, 11], dtype=torch.int32)},
    {
        **PART,
        "train": True,
        "view": 1,
        "size": (3, 4),
        "focal": (2.0, 2.0),
        "centre": (2.0, 1.5),
        "near": 0.1,
        "box": (-1.0, -1.0, -0.5, 1.0, 1.0, 0.5),
    },
)
EMBEDDINGS = Payload(
    "embeddings", layouts.EMBEDDINGS, {"embeddings": torch.zeros(2, 3, 4), "distances": torch.ones(2, 3)}, PART
)
GRADIENTS = Payload("gradients", layouts.GRADIENTS, {"gradients": torch.zeros(2, 3, 4, dtype=torch.bfloat16)}, PART)
ACKNOWLEDGEMENT = Payload("result", layouts.ACKNOWLEDGEMENT, {}, PART)


def tensors(payload: Payload, **changed: torch.Tensor) -> Payload:
    return replace(payload, tensors={**payload.tensors, **changed})


def meta(payload: Payload, **changed: Any) -> Payload:
    return replace(payload, meta={**payload.meta, **changed})


@pytest.mark.parametrize("payload", [RAYS, EMBEDDINGS, GRADIENTS, ACKNOWLEDGEMENT])
def test_what_is_valid_and_that_nothing_may_be_added_or_left_out(payload: Payload) -> None:
    validate(payload)
    with pytest.raises(DecodeError, match=r"tensors are .*image.*; accepted: "):
        validate(tensors(payload, image=torch.zeros(4, 4, 3)))
    for key in payload.meta:
        with pytest.raises(DecodeError, match=r"meta are .*; accepted: .*"):
            validate(replace(payload, meta={k: v for k, v in payload.meta.items() if k != key}))
    with pytest.raises(DecodeError, match=r"part 2 of 2$"):
        validate(meta(payload, part=2))
    with pytest.raises(DecodeError, match=r"meta step is -1; accepted: a whole number from 0 to "):
        validate(meta(payload, step=-1))


def nan(tensor: torch.Tensor) -> torch.Tensor:
    broken = tensor.clone()
    broken.view(-1)[1] = torch.nan
    return broken


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (
            tensors(RAYS, pose=2 * torch.eye(3, 4)),
            "rays: the pose is no rigid transform: "
            "its axes miss unit length or right angles by 3; accepted: at most 0.01",
        ),
        (
            tensors(RAYS, pose=torch.eye(4)),
            "rays: pose is torch.float32 (4, 4); accepted: torch.float32 (3, 4)",
        ),
        (
            tensors(RAYS, pixels=torch.tensor([0, 12], dtype=torch.int32)),
            "rays: pixels run from 0 to 12; accepted: 0 to 11",
        ),
        (
            tensors(RAYS, pixels=torch.tensor([0.5])),
            "rays: pixels is torch.float32 (1,); accepted: torch.int32 (R,), R from 1 to 65536",
        ),
        (meta(RAYS, train=1), "rays: meta train is 1; accepted: true, false"),
        (meta(RAYS, size=(3, 0)), "rays: meta size is (3, 0); accepted: height and width, from 1 to 16384"),
        (meta(RAYS, focal=(2.0, 0.0)), "rays: meta focal is (2.0, 0.0); accepted: 2 numbers from 0.001 to 1e+06"),
        (meta(RAYS, near=float("nan")), "rays: meta near is nan; accepted: a number from 0 to 100"),
        (
            meta(RAYS, box=(1.0, -1.0, -0.5, 0.0, 1.0, 0.5)),
            "rays: meta box is (1.0, -1.0, -0.5, 0.0, 1.0, 0.5); accepted: a lower corner below an upper corner",
        ),
        (
            tensors(EMBEDDINGS, embeddings=nan(torch.zeros(2, 3, 4))),
            "embeddings: 1 of 24 values of embeddings are not finite or beyond 1e+18",
        ),
        (
            tensors(EMBEDDINGS, distances=torch.ones(2, 4)),
            "embeddings: distances is torch.float32 (2, 4); accepted: torch.float32 (2, 3)",
        ),
        (
            tensors(EMBEDDINGS, distances=torch.tensor([[1.0, 2, 3], [3, 2, 1]])),
            "embeddings: distances descend along a ray; accepted: ascending ones",
        ),
        (
            tensors(GRADIENTS, gradients=torch.zeros(2, 3, 65)),
            "gradients: gradients is torch.float32 (2, 3, 65); "
            "accepted: torch.float32 or torch.bfloat16 (R, S, E), at most (65536, 4096, 64)",
        ),
        (
            tensors(GRADIENTS, gradients=nan(torch.zeros(2, 3, 4, dtype=torch.bfloat16))),
            "gradients: 1 of 24 values of gradients are not finite or beyond 1e+18",
        ),
        (
            tensors(GRADIENTS, gradients=torch.full((1, 1, 2), -torch.inf)),
            "gradients: 2 of 2 values of gradients are not finite or beyond 1e+18",
        ),
    ],
)
def test_what_is_refused(payload: Payload, line: str) -> None:
    with pytest.raises(DecodeError) as caught:
        validate(payload)
    assert str(caught.value) == line


@given(
    st.sampled_from([RAYS, EMBEDDINGS, GRADIENTS, ACKNOWLEDGEMENT]),
    st.sampled_from(sorted(RAYS.meta)),
    st.one_of(st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.tuples(st.floats(), st.floats())),
)
def test_any_meta_value_is_valid_or_refused(payload: Payload, key: str, value: Any) -> None:
    changed, line = meta(payload, **{key: value}), None
    try:
        validate(changed)
    except DecodeError as error:
        line = str(error)
    if line is None:
        assert type(value) is type(payload.meta[key]) and np.isfinite(np.array(value)).all()
    else:
        assert line.startswith(f"{payload.layout}: ") and "\n" not in line
